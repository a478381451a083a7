"""A server of prices on loopback, and the chore that fetches from it, on a clock that jumps."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ccflare import renewal
from ccflare.desk import Desk
from ccflare.pricing import BUNDLED, PriceTable
from ccflare.settings import Settings
from ccflare.store import open_store
from ccflare.transport import Transport
from flow.scripted import JumpingClock

HOUR_S = 3600.0
MODEL = "claude-sonnet-5"


def document(dollars: float = 2.5) -> bytes:
    """Return a document of models.dev that states a price for every bundled model, one of them a new one."""
    models = {
        name: {"cost": {"input": price.rates.input / 1e6, "output": price.rates.output / 1e6}}
        for name, price in BUNDLED.models.items()
    }
    models[MODEL]["cost"]["input"] = dollars
    return json.dumps({"anthropic": {"models": models}}).encode()


@dataclass
class Reply:
    """What the server says once."""

    body: bytes = field(default_factory=document)
    status: int = 200
    coding: str | None = None
    location: str | None = None
    silent: bool = False

    def bytes(self) -> bytes:
        head = [f"HTTP/1.1 {self.status} X", f"content-length: {len(self.body)}", "connection: close"]
        if self.coding is not None:
            head.append(f"content-encoding: {self.coding}")
        if self.location is not None:
            head.append(f"location: {self.location}")
        return "\r\n".join([*head, "", ""]).encode() + self.body


class Publisher:
    """A server of prices on loopback."""

    def __init__(self) -> None:
        self.replies: list[Reply] = [Reply()]
        """In order; the last one repeats."""
        self.heads: list[str] = []
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
            reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
            if reply.silent:
                await reader.read()
            writer.write(reply.bytes())
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return  # the other side had enough
        finally:
            writer.close()


class Enough(Exception):
    """The time of a test is over."""


class BoundedClock(JumpingClock):
    """Ends the chore when its time is over. It is later than the day on which the bundled prices were stated."""

    until = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.at: dict[float, Callable[[], Awaitable[Any]]] = {}
        """What happens meanwhile, by the time passed."""

    def now(self) -> float:
        return datetime(2030, 1, 1, tzinfo=UTC).timestamp() + self.passed

    async def sleep(self, seconds: float) -> None:
        if self.passed + seconds > self.until:
            raise Enough
        await super().sleep(seconds)
        for instant in [instant for instant in self.at if instant <= self.passed]:
            await self.at.pop(instant)()


class Process:
    """The chore of one server."""

    def __init__(self, clock: BoundedClock, directory: Path, url: str) -> None:
        self.clock = clock
        self.settings = Settings(pricing_url=url)
        self.desk = Desk(lambda: open_store(directory / "x.db"))
        self.transport = Transport()
        self.applied: list[PriceTable] = []

    async def run(self, hours: float) -> None:
        """Have the chore run for so long."""
        self.clock.until = self.clock.passed + hours * HOUR_S
        parts = renewal.Parts(self.transport, self.clock, random.Random(1), self.desk)
        with pytest.raises(Enough):
            await renewal.renew_prices(parts, lambda: self.settings, self.applied.append)

    def change(self, **settings: Any) -> None:
        self.settings = msgspec.structs.replace(self.settings, **settings)

    async def kept(self) -> tuple[bytes, int] | None:
        return await self.desk.ask(lambda store: store.prices.kept())

    def price(self) -> int | None:
        """Return the input price in use, None when it is still the bundled one."""
        return self.applied[-1].models[MODEL].rates.input if self.applied else None

    async def close(self) -> None:
        await self.transport.aclose()
        self.desk.close()


@dataclass
class Scene:
    """A publisher, and servers on one store."""

    publisher: Publisher
    directory: Path
    clock: BoundedClock = field(default_factory=BoundedClock)
    processes: list[Process] = field(default_factory=list)

    def process(self) -> Process:
        self.processes.append(Process(self.clock, self.directory, self.publisher.url))
        return self.processes[-1]


@asynccontextmanager
async def prices_published(directory: Path) -> AsyncIterator[Scene]:
    """Have a server of prices, and in the end close everything."""
    publisher = Publisher()
    server = await asyncio.start_server(publisher.answer, "127.0.0.1", 0)
    publisher.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api.json"
    scene = Scene(publisher, directory)
    try:
        yield scene
    finally:
        for process in scene.processes:
            await process.close()
        server.close()
