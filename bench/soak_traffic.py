"""The mixed traffic of a soak: what clients ask, which fault they ask for with it, and what must come of it."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

DEADLINE_S = 30.0
KEY = "sk-ant-api03-soak-client"
MODELS = ("claude-sonnet-5-5", "claude-opus-5-5", "claude-haiku-5-5")
LONG_BYTES = 300_000


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of request. `outcomes`: what clients may see of it, a status or `cut`; anything else is an error."""

    weight: float
    outcomes: frozenset[str] = frozenset({"200"})
    fault: str = ""
    stream: bool = False
    target: str = "/v1/messages"
    long: bool = False
    leaves: bool = False
    """The client goes away in the middle."""
    slow: bool = False
    """The client reads slowly."""


KINDS: Mapping[str, Kind] = {
    "plain": Kind(30),
    "stream": Kind(30, stream=True),
    "compressed": Kind(5, fault="gzip"),
    "long": Kind(3, long=True),
    "count": Kind(4, target="/v1/messages/count_tokens"),
    "paced": Kind(3, fault="paced", stream=True),
    "slow reader": Kind(3, stream=True, slow=True),
    "leaver": Kind(5, fault="slow-stream", stream=True, leaves=True),
    "cut": Kind(3, frozenset({"cut"}), "disconnect-mid", stream=True),
    "reset": Kind(1, frozenset({"cut"}), "reset-mid", stream=True),
    "refused": Kind(3, frozenset({"400"}), "400"),
    "broken": Kind(1, frozenset({"500"}), "500"),
    "overloaded once": Kind(3, fault='{"fail_first": {"key": "%d", "action": "529"}}'),
    "broken once": Kind(3, fault='{"fail_first": {"key": "%d", "action": "500"}}'),
    "limited account": Kind(3, fault='{"preset": "429", "only_accounts": ["key-6"]}'),
}


@dataclass(slots=True)
class Traffic:
    """Clients that ask at a steady mean rate until they are told to stop."""

    port: int
    per_second: float
    seed: int = 1
    asked: Counter[str] = field(default_factory=Counter)
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    """What came of it, by kind and outcome."""
    unexpected: list[str] = field(default_factory=list)
    _over: bool = False
    _number: int = 0

    def stop(self) -> None:
        """Ask for nothing more."""
        self._over = True

    async def run(self, clients: int) -> None:
        """Ask over so many connections at once."""
        await asyncio.gather(*(self._client(random.Random(self.seed * 1000 + n), clients) for n in range(clients)))

    async def _client(self, rng: random.Random, clients: int) -> None:
        """Ask, and now and then do so over a new connection."""
        connection: _Connection | None = None
        while not self._over:
            await asyncio.sleep(rng.expovariate(self.per_second / clients))
            name = rng.choices(list(KINDS), [kind.weight for kind in KINDS.values()])[0]
            self._number += 1
            self.asked[name] += 1
            try:
                async with asyncio.timeout(DEADLINE_S):
                    connection = connection or await _connect(self.port)
                    outcome = await connection.ask(_request(KINDS[name], self._number, rng), KINDS[name])
            except (OSError, EOFError) as error:
                outcome = "cut" if connection is not None and connection.answering else repr(error)
            except TimeoutError:
                outcome = "no end"
            self._note(name, outcome)
            if connection is not None and (outcome not in {"200", "400", "500"} or rng.random() < 0.05):
                await connection.close()
                connection = None
        if connection is not None:
            await connection.close()

    def _note(self, name: str, outcome: str) -> None:
        self.seen[name, outcome] += 1
        expected = {"left"} if KINDS[name].leaves else KINDS[name].outcomes
        if outcome not in expected:
            self.unexpected.append(f"{name}: {outcome}")


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.answering = False
        """A head has come, and not yet the end."""

    async def ask(self, request: bytes, kind: Kind) -> str:
        """Send a request and read its answer; return what came of it."""
        self.answering = False
        self._writer.write(request)
        status, fields = await self._head()
        self.answering = True
        if kind.leaves and status == 200:
            await self._reader.readuntil(b"message_start")
            return "left"
        if fields.get("transfer-encoding") == "chunked":
            await self._chunks(slow=kind.slow)
        else:
            await self._reader.readexactly(int(fields.get("content-length", "0")))
        self.answering = False
        return str(status)

    async def close(self) -> None:
        """Go away."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def _head(self) -> tuple[int, dict[str, str]]:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in head[1:] if line)
        return int(head[0].split(" ")[1]), {name.lower(): value.strip().lower() for name, _, value in pairs}

    async def _chunks(self, *, slow: bool) -> None:
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            await self._reader.readexactly(size + 2)
            if slow:
                await asyncio.sleep(0.05)
        await self._reader.readuntil(b"\r\n")


async def _connect(port: int) -> _Connection:
    return _Connection(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 20))


def _request(kind: Kind, number: int, rng: random.Random) -> bytes:
    text = f"Hello {number}." + (" All of it again." * (LONG_BYTES // 17) if kind.long else "")
    asked: dict[str, object] = {"model": rng.choice(MODELS), "messages": [{"role": "user", "content": text}]}
    if not kind.target.endswith("count_tokens"):
        asked |= {"max_tokens": rng.choice((16, 64, 256)), "stream": kind.stream}
    body = json.dumps(asked).encode()
    fields = [
        f"POST {kind.target} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {KEY}",
        "anthropic-version: 2023-06-01",
        "Content-Type: application/json",
        f"X-Claude-Code-Session-Id: soak-{number % 500}",
        f"Content-Length: {len(body)}",
        *([f"X-Fake: {kind.fault.replace('%d', str(number))}"] if kind.fault else []),
    ]
    return "\r\n".join(fields).encode() + b"\r\n\r\n" + body
