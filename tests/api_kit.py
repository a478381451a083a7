"""The HTTP API in process: a built server without sockets, asked by httpx or listened to as ASGI."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from ccflare.app import App, build
from ccflare.clock import SystemClock
from ccflare.records import Account, Attempt, Credentials, Exchange, Secret
from ccflare.settings import load
from ccflare.store import Batch, Store, open_store
from ccflare.usage import Usage

KEY = "sk-ant-api03-known-secret-of-a-test-0123456789"
ACCESS = "sk-ant-oat01-known-access-token-0123456789"
REFRESH = "sk-ant-ort01-known-refresh-token-0123456789"
SECRETS = (KEY, ACCESS, REFRESH)
NOW_MS = 1_790_000_000_000
JSON = {"content-type": "application/json"}


@dataclass(slots=True)
class Api:
    """A server's API with a database of its own."""

    app: App
    directory: Path
    client: httpx.AsyncClient

    async def get(self, target: str, **more: Any) -> httpx.Response:
        """Ask."""
        return await self.client.get(target, **more)

    async def send(self, method: str, target: str, body: object = None) -> httpx.Response:
        """Ask for a change."""
        return await self.client.request(method, target, json={} if body is None else body)

    async def store(self, question: Callable[[Store], Any]) -> Any:
        """Ask the store, as the API does."""
        return await self.app.desks[0].ask(question)

    async def add(self, name: str, **more: Any) -> str:
        """Add an account by the API and return its id."""
        answer = await self.send("POST", "/api/accounts", {"name": name, "api_key": KEY, **more})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def accounts(self) -> dict[str, dict[str, Any]]:
        """Return the accounts by name."""
        return {account["name"]: account for account in (await self.get("/api/accounts")).json()}


@contextlib.asynccontextmanager
async def running(directory: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> AsyncIterator[Api]:
    """Build a server whose files are all in the directory, with its journal running."""
    monkeypatch.setenv("ccflare_CONFIG_PATH", str(directory / "ccflare.json"))
    monkeypatch.setenv("HOME", str(directory))
    loaded = load({"log_dir": directory / "logs", **settings}, {"ccflare_CONFIG_PATH": str(directory / "ccflare.json")})
    path = loaded.settings.db_path
    open_store(path).close()
    app = build(loaded.settings, SystemClock(), lambda: open_store(path), {"log_dir": directory / "logs"})
    app.journal.leads = lambda: False  # the kit's history is of one day, and no test waits for that to become too old
    app.journal.start()
    app.readiness.listening = True
    transport = httpx.ASGITransport(app=app.asgi)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        try:
            yield Api(app, directory, client)
        finally:
            app.exchanges.close()
            app.log_lines.close()
            await app.journal.close()
            for desk in app.desks:
                desk.close()
            await app.transport.aclose()


def exchange(number: int, **more: Any) -> Exchange:
    """Return an exchange; later numbers came later."""
    values: dict[str, Any] = {
        "id": f"x{number:06d}",
        "timestamp_ms": NOW_MS + number * 1000,
        "method": "POST",
        "path": "/v1/messages",
        "account_id": "acc-oauth",
        "status_code": 200,
        "success": True,
        "response_time_ms": 100 + number,
        "first_byte_ms": 50,
        "own_ms": 0.25,
        "model": "claude-sonnet-5-5",
        "usage": Usage(input_tokens=10, output_tokens=20, cache_read_input_tokens=5),
        "cost_microusd": 1234,
        "streamed": True,
        "attempts": (Attempt("acc-oauth", "deliver", 200, 100),),
    }
    return Exchange(**values | more)


OAUTH = Account(
    id="acc-oauth",
    name="subscription",
    kind="oauth",
    created_at_ms=NOW_MS,
    expires_at_ms=NOW_MS + 3_600_000,
    rate_limit_status="allowed_warning",
    rate_limit_reset_ms=NOW_MS + 60_000,
)
OAUTH_CREDENTIALS = Credentials("acc-oauth", None, Secret(ACCESS), Secret(REFRESH))


async def add_oauth(api: Api) -> None:
    """Add the account that served the kit's exchanges."""
    await api.store(lambda store: store.add_account(OAUTH, OAUTH_CREDENTIALS))
    await api.store(lambda store: store.write(Batch(accounts=[OAUTH])))


@dataclass(slots=True)
class Listener:
    """A program that follows a stream, without a socket. `stuck`: it reads nothing more."""

    head: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    ended: bool = False
    stuck: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, app: Any, target: str, headers: dict[str, str] | None = None, method: str = "GET") -> None:
        """Ask for the stream and take what it sends until its end."""
        path, _, query = target.partition("?")
        pairs = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": pairs}
        await app(scope, self._nothing, self._take)

    async def _nothing(self) -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _take(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.head = {"status": message["status"]}
            self.head |= {name.decode(): value.decode() for name, value in message["headers"]}
            return
        if self.stuck.is_set() and message.get("more_body"):
            await asyncio.Event().wait()
        self.text += message.get("body", b"").decode()
        self.ended = not message.get("more_body", False)

    def events(self) -> list[dict[str, str]]:
        """Return the events so far as their fields, without the one that tells where the stream begins."""
        return [fields for fields in self._blocks() if fields["event"] != "start"]

    @property
    def begins_behind(self) -> int:
        """The id that the stream begins behind."""
        [start] = [fields for fields in self._blocks() if fields["event"] == "start"]
        assert start["data"] == "{}"
        return int(start["id"])

    def _blocks(self) -> list[dict[str, str]]:
        blocks = [block for block in self.text.split("\n\n") if block.startswith("id:")]
        return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]

    async def until(self, words: str) -> None:
        """Wait until something was heard."""
        async with asyncio.timeout(5):
            while words not in self.text:  # noqa: ASYNC110  # what is polled has no event
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def listening(
    api: Api, target: str, headers: dict[str, str] | None = None
) -> AsyncIterator[tuple[Listener, "asyncio.Task[None]"]]:
    """Follow a stream until the block ends; it has begun when the block begins."""
    listener = Listener()
    task = asyncio.create_task(listener.run(api.app.asgi, target, headers))
    try:
        await listener.until("retry:")
        yield listener, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
