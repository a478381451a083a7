"""A scripted upstream, a client that only remembers, and a clock that jumps: what the exchange loop needs to run."""

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from ccflare.bus import Alone, Colleagues
from ccflare.client_keys import ClientKeys
from ccflare.credentials import Keyring
from ccflare.door import Door
from ccflare.errors import TransportError
from ccflare.payload import Captured
from ccflare.pool import Pool
from ccflare.providers import PROVIDERS
from ccflare.proxy import Parts, Proxy
from ccflare.records import Account, Credentials, Exchange, Secret
from ccflare.settings import Settings
from ccflare.slowdown import Slowdown
from ccflare.transport import HeaderSection, Response, Transport
from ccflare.wire import ByteBudget, Headers, HeadMemory, Origin, OutgoingRequest, Sink, pairs_of

NOW = 1_700_000_000.0
MESSAGE = b'{"id":"msg_1","type":"message","usage":{"input_tokens":1,"output_tokens":1}}'


class JumpingClock:
    """Time that passes only by sleeping, or by hand."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.slept: list[float] = []

    def now(self) -> float:
        return NOW + self.passed

    def monotonic(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.passed += seconds
        await asyncio.sleep(0)


@dataclass
class Answer:
    """What the scripted upstream answers once. `cut` ends the body with an error, `reset` says how."""

    status: int = 200
    body: bytes = MESSAGE
    headers: Headers = field(default_factory=list)
    content_type: bytes = b"application/json"
    cut: TransportError | None = None
    forever: bool = False
    """The body never ends."""
    rest: bytes = b""
    """Arrives in a piece of its own, behind `body`."""
    early: bool = False
    """The request's body is not sent yet, and is so when the test calls `body_is_sent`."""

    def response(self) -> "ScriptedResponse":
        return ScriptedResponse(self)


def error(status: int, kind: str = "api_error", message: str = "no", headers: Headers | None = None) -> Answer:
    """Return an error in the API's shape."""
    body = msgspec.json.encode({"type": "error", "error": {"type": kind, "message": message}})
    return Answer(status, body, headers or [])


def stream(*events: bytes, cut: TransportError | None = None, forever: bool = False) -> Answer:
    """Return an event stream."""
    return Answer(200, b"".join(events), content_type=b"text/event-stream", cut=cut, forever=forever)


class ScriptedResponse:
    """Acts as `transport.Response`."""

    def __init__(self, answer: Answer) -> None:
        self.status, self.reason = answer.status, b""
        self.headers = [(b"content-type", answer.content_type), *answer.headers]
        self.section = HeaderSection.of(self.headers)
        whole = answer.cut is None and not answer.forever and b"stream" not in answer.content_type
        self.content_length = len(answer.body) if whole else None
        self.discarded = False
        self.resumed = 0
        self._answer = answer
        self._left = [part for part in (answer.body[:7], answer.body[7:], answer.rest) if part]

    def ready(self) -> bytes:
        return b""

    async def read(self) -> bytes:
        await asyncio.sleep(0)
        while self._left:
            part = self._left.pop(0)
            if part:
                return part
        if self._answer.cut is not None:
            raise self._answer.cut
        if self._answer.forever:
            await asyncio.Event().wait()
        return b""

    async def read_within(self, seconds: float) -> bytes | None:
        if self._answer.forever and not self._left:
            await asyncio.sleep(seconds)
            return None
        return await self.read()

    async def relay(self, sink: Sink) -> None:
        while part := await self.read():
            sink.write(part)

    def resume(self) -> None:
        self.resumed += 1

    def when_sent(self, call: Callable[[], None]) -> None:
        self.body_is_sent = call
        if not self._answer.early:
            call()

    def discard(self) -> None:
        self.discarded = True


@dataclass
class Sent:
    """A request that reached the scripted upstream."""

    origin: Origin
    method: bytes
    target: bytes
    headers: Headers
    body: bytes
    first_byte_s: float
    exchange_s: float
    once: bool = False

    @property
    def key(self) -> str:
        return dict(self.headers).get(b"x-api-key", b"").decode()

    @property
    def token(self) -> str:
        return dict(self.headers).get(b"authorization", b"").removeprefix(b"Bearer ").decode()


class ScriptedTransport:
    """Acts as `Transport`: `script(key, nth request)` says what happens."""

    def __init__(self, clock: JumpingClock) -> None:
        self.clock = clock
        self.script: dict[str, list[Answer | TransportError]] = {}
        self.sent: list[Sent] = []
        self.responses: list[ScriptedResponse] = []
        self.hang = False
        self.takes_s = 0.0
        """What each request takes of the clock."""
        self.reached = asyncio.Event()

    async def open(
        self,
        origin: Origin,
        request: OutgoingRequest,
        *,
        first_byte_s: float,
        exchange_s: float,
        once: bool = False,
    ) -> Response:
        body = request.body
        sent = Sent(origin, request.method, request.target, request.headers, b"", first_byte_s, exchange_s, once)
        if isinstance(body, bytes | bytearray):
            sent.body = bytes(body)
        elif not self._is_out_of_reach(sent):
            sent.body = b"".join([piece async for piece in body])
        self.sent.append(sent)
        self.reached.set()
        self.clock.passed += self.takes_s
        if self.hang:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        script = self._script_of(sent)
        answer = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(answer, TransportError):
            raise answer
        response = answer.response()
        self.responses.append(response)
        return cast("Response", response)

    def _script_of(self, sent: Sent) -> list[Answer | TransportError]:
        return self.script.get(sent.token) or self.script.get(sent.key) or [Answer()]

    def _is_out_of_reach(self, sent: Sent) -> bool:
        """Whether no connection comes about, so that nothing of a body is asked for."""
        answer = self._script_of(sent)[0]
        return isinstance(answer, TransportError) and answer.kind.startswith("connect")


class Client:
    """Acts as `wire.Inbound`."""

    def __init__(
        self,
        body: bytes = b"",
        *,
        method: bytes = b"POST",
        target: bytes = b"/v1/messages",
        headers: Headers | None = None,
        too_long: bool = False,
    ) -> None:
        self.method, self.target, self.headers = method, target, headers or [(b"x-api-key", b"dummy")]
        self.fields = {name.lower(): value for name, value in self.headers}
        self.memory = HeadMemory()
        self.client, self.http_version, self.gone = "127.0.0.1", "1.1", False
        self.length: int | None = len(body)
        self.status: int | None = None
        self.answer_headers: Headers = []
        self.answer = bytearray()
        self.ended: str | None = None
        self.started = asyncio.Event()
        self.flushed = asyncio.Event()
        self._budget: ByteBudget | None = None
        self._body, self._too_long = body, too_long

    async def read_body(self, limit: int, budget: ByteBudget | None = None) -> bytes | bytearray | None:
        await asyncio.sleep(0)
        if self._too_long or len(self._body) > limit or (budget and not budget.take(len(self._body))):
            return None
        self._budget = budget
        return self._body

    def release_body(self) -> None:
        if self._budget is not None:
            self._budget.give(len(self._body))
            self._budget = None

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        yield self._body[:3]
        yield self._body[3:]

    def start(self, status: int, reason: bytes, lines: bytes, length: int | None) -> None:
        assert self.status is None, "two answers"
        self.status, self.answer_headers = status, pairs_of(lines)
        self.started.set()

    def flush(self) -> None:
        assert self.status is not None
        self.flushed.set()

    def write(self, data: bytes) -> bool:
        assert self.ended is None
        self.answer += data
        return True

    def on_drain(self, resume: Callable[[], None]) -> None:
        self.resume = resume

    def finish(self) -> None:
        assert self.ended is None
        self.ended = "clean"

    def abort(self, *, reset: bool = False) -> None:
        self.ended = "reset" if reset else "cut"

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.answer_headers if key.lower() == name), None)

    @property
    def json(self) -> Any:
        return msgspec.json.decode(bytes(self.answer))


class World:
    """A proxy over accounts `a`, `b`, ... whose keys are `key-a`, `key-b`, ..."""

    def __init__(self, names: str = "ab", colleagues: Colleagues | None = None, /, **settings: Any) -> None:
        self.clock = JumpingClock()
        self.transport = ScriptedTransport(self.clock)
        self.pool = Pool(session_ms=3_600_000)
        self.door = Door(ClientKeys(), Slowdown(self.clock.monotonic, self.clock.sleep))
        keyring = Keyring()
        accounts = [Account(id=name, name=name, created_at_ms=n, priority=n) for n, name in enumerate(names)]
        keyring.load({name: Credentials(name, api_key=Secret(f"key-{name}")) for name in names}, accounts)
        self.pool.load(accounts, self.now_ms)
        self.rows: list[Exchange] = []
        self.captured: list[Captured | None] = []
        parts = Parts(
            self.pool, keyring, cast("Transport", self.transport), PROVIDERS["anthropic"], self.clock,
            random.Random(1), self.record, door=self.door, colleagues=colleagues or Alone(),
        )  # fmt: skip
        self.proxy = Proxy(parts, Settings(**settings))

    @property
    def now_ms(self) -> int:
        return int(self.clock.now() * 1000)

    def record(self, exchange: Exchange, captured: Captured | None = None, /) -> None:
        """Keep what the journal would."""
        self.rows.append(exchange)
        self.captured.append(captured)

    def script(self, **answers: list[Answer | TransportError]) -> None:
        """Say what each account answers; the last entry repeats."""
        self.transport.script |= {
            f"key-{name}" if name != "nobody" else "dummy": list(given) for name, given in answers.items()
        }

    async def ask(
        self,
        client: Client | None = None,
        body: bytes = b'{"model":"claude-x","messages":[{"role":"user","content":"hi"}]}',
    ) -> Client:
        """Serve one request to its end."""
        client = client or Client(body)
        async with asyncio.timeout(5):
            await self.proxy.serve(client)
        return client

    @contextlib.asynccontextmanager
    async def busy(self, client: Client | None = None) -> AsyncIterator["asyncio.Task[Client]"]:
        """Have one request wait for its answer while the block runs; then its client leaves."""
        hung, self.transport.hang = self.transport.hang, True
        self.transport.reached.clear()
        task = asyncio.create_task(self.ask(client))
        await self.transport.reached.wait()
        self.transport.hang = hung
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def states(self) -> dict[str, str]:
        return {standing.account.name: standing.state for standing in self.pool.states(self.now_ms)}

    def assert_quiet(self) -> None:
        """Nothing is left: no exchange, no account in flight, no answer undiscarded."""
        assert self.proxy.in_flight == 0
        assert all(standing.in_flight == 0 for standing in self.pool.states(self.now_ms))
        assert all(response.discarded for response in self.transport.responses)
