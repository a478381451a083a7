"""The server of a soak: what is done to it beside the traffic, and how it is looked at."""

import asyncio
import json
import sys
import time
import urllib.request
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.machine import use_of
from bench.servers import environ
from bench.soak_traffic import DEADLINE_S
from ccflare.demo.upstream import SimulatedUpstream

LOOK_EVERY_S = 5.0
CHANGE_EVERY_S = 15.0
POLL_EVERY_S = 2.0
ROTATE_EVERY_S = 60.0
PAGES = ("/health", "/api/accounts", "/api/requests?limit=50", "/api/analytics?range=24h", "/api/stats")
DEFECTS = ("Traceback", "never retrieved", "never awaited", "by a defect", "Exception in callback", " ERROR ")
"""Words that a sound server does not write when nothing but the upstream has faults."""
COMMAND = (sys.executable, "-m", "ccflare")


@dataclass(frozen=True, slots=True)
class Look:
    """How the server is at one moment."""

    minute: float
    memory_mb: float
    descriptors: int
    upstream_connections: int
    threads: int
    tasks: int
    blocks: int
    """Of memory, that the interpreter has handed out."""
    waiting: int
    """Exchanges that are not in the database yet."""
    in_flight: int


@dataclass
class Soak:
    """A run: its parts, what was looked at, and what went wrong."""

    upstream: SimulatedUpstream
    home: Path
    port: int
    pid: int
    looks: list[Look] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    log_lines: Counter[str] = field(default_factory=Counter)
    began: float = field(default_factory=time.monotonic)
    changes: int = 0
    polls: int = 0
    rotations: int = 0
    upstream_asked: int = 0

    @property
    def database(self) -> Path:
        """The server's."""
        return self.home / "ccflare.db"

    async def look(self) -> None:
        """Look at the server every few seconds, and take what the upstream remembers."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.upstream.books.entries.clear()
            health = await self.get("/health")
            self.looks.append(self.seen(json.loads(health)))

    def seen(self, health: dict[str, Any]) -> Look:
        """Return how the server is, with what `/health` has said."""
        within = json.loads((self.home / "observed").read_text().splitlines()[-1])
        process = Path(f"/proc/{self.pid}")
        return Look(
            minute=(time.monotonic() - self.began) / 60,
            memory_mb=use_of(self.pid).resident_bytes / 1e6,
            descriptors=len(list((process / "fd").iterdir())),
            upstream_connections=self.upstream.open_connections,
            threads=len(list((process / "task").iterdir())),
            tasks=within["tasks"],
            blocks=within["blocks"],
            waiting=health["writer"]["queued"],
            in_flight=health["in_flight"],
        )

    async def get(self, path: str) -> bytes:
        """Ask the server for a page."""

        def fetch() -> bytes:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=DEADLINE_S) as answer:
                data: bytes = answer.read()
            return data

        self.polls += 1
        try:
            return await asyncio.to_thread(fetch)
        except OSError as error:
            self.faults.append(f"GET {path}: {error!r}")
            return b"{}"

    async def poll(self) -> None:
        """Be a dashboard."""
        while True:
            for path in PAGES:
                await self.get(path)
            await asyncio.sleep(POLL_EVERY_S)

    async def follow(self) -> None:
        """Be a page that follows requests, and is loaded again now and then."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(20):
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    try:
                        writer.write(b"GET /api/requests/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
                        while await reader.read(1 << 16):
                            pass
                    finally:
                        writer.close()

    async def change(self) -> None:
        """Pause, resume, add, remove: what an operator does at the command line."""
        url = self.upstream.url
        steps = (
            (("--pause", "key-1"), b""),
            (("--resume", "key-1"), b""),
            (("--add-account", "visitor", "--api-key", "-", "--base-url", url), self._key("visitor")),
            (("accounts", "remove", "visitor", "--yes"), b""),
        )
        while True:
            for arguments, given in steps:
                await asyncio.sleep(CHANGE_EVERY_S)
                await self.command(*arguments, given=given)
                self.changes += 1

    def _key(self, name: str) -> bytes:
        return self.upstream.accounts[name].api_key.encode()

    async def command(self, *arguments: str, given: bytes = b"") -> None:
        """Run the command line."""
        process = await asyncio.create_subprocess_exec(
            *COMMAND, *arguments, env=environment(self.home), stdin=-1, stdout=-1, stderr=-1
        )
        said, complained = await process.communicate(given)
        if process.returncode:
            self.faults.append(f"ccflare {' '.join(arguments)}: {(said + complained).decode()[-300:]}")

    async def rotate(self) -> None:
        """Move the log away under the server, as logrotate does, and see what is in it."""
        while True:
            await asyncio.sleep(ROTATE_EVERY_S)
            self.take_log()
            self.rotations += 1

    def take_log(self) -> None:
        """Read what was logged, and remove it."""
        for path in sorted((self.home / "logs").glob("app.log*")):
            moved = path.with_name(f"taken-{path.name}")
            path.rename(moved)
            for line in moved.read_text(errors="replace").splitlines():
                self._heed(line)
            moved.unlink()

    def _heed(self, line: str) -> None:
        self.log_lines["all"] += 1
        for sign in DEFECTS:
            if sign in line:
                self.log_lines[sign] += 1
                self.faults.append(f"log: {line[:200]}")


def environment(home: Path) -> dict[str, str]:
    """Return what the server and the command line are started with."""
    own = {
        "HOME": str(home), "TMPDIR": str(home), "CCFLARE_CONFIG_PATH": str(home / "ccflare.json"),
        "CCFLARE_DB_PATH": str(home / "ccflare.db"), "CCFLARE_LOG_DIR": str(home / "logs"), "LOG_LEVEL": "DEBUG",
        "RETRY_DELAY_MS": "20", "CCFLARE_PAYLOAD_BUDGET_BYTES": str(8 << 20),
    }  # fmt: skip
    return environ() | own
