"""Refreshers on one database, each of which stands for a process, with a token endpoint and time to hurry."""

import asyncio
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from ccflare.clock import Clock
from ccflare.credentials import Keyring
from ccflare.desk import Desk
from ccflare.errors import TokenRefused
from ccflare.oauth import Tokens
from ccflare.records import Account, Credentials, Grant, Secret
from ccflare.refresh import Ground, Refresher
from ccflare.store import Store, open_store

T = TypeVar("T")

HOUR_MS = 3_600_000
GONE = TokenRefused("invalid_grant", "invalid_grant: Refresh token not found or invalid (status 400)")


class Time:
    """A time that only passes by hand, however busy the machine is. Sleeping is short, whatever is asked for."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.jumped = 0.0
        self._began = time.time(), time.monotonic()

    def now(self) -> float:
        return self._began[0] + self.ahead + self.jumped

    def monotonic(self) -> float:
        return self._began[1] + self.ahead

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))

    async def pass_until(self, asking: "asyncio.Task[T]") -> T:
        """Let second after second pass until something is done that waits for its time; return what it brought."""
        while not asking.done():
            await asyncio.sleep(0.01)
            self.ahead += 1
        return await asking


class Endpoint:
    """Rotates tokens as upstream does: `rt-a-0` gives `at-a-1` and `rt-a-1`, and is dead then."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.used: list[str] = []
        self.life_ms: int | None = 8 * HOUR_MS
        self.omits = False
        self.trouble: list[Exception] = []
        """Raised one after the other, before anything is rotated."""
        self.open = asyncio.Event()
        """Nothing is answered before it is set."""
        self.open.set()
        self.asked = asyncio.Event()

    async def refresh(self, refresh_token: Secret) -> Tokens:
        self.used.append(refresh_token.reveal())
        self.asked.set()
        await self.open.wait()
        if self.trouble:
            raise self.trouble.pop(0)
        kind, name, number = refresh_token.reveal().split("-")
        if self.used.count(refresh_token.reveal()) > 1 and not self.omits:
            raise GONE
        expires = None if self.life_ms is None else int(self.clock.now() * 1000) + self.life_ms
        new = f"{name}-{int(number) + 1 if not self.omits else len(self.used)}"
        return Tokens(Secret(f"at-{new}"), None if self.omits else Secret(f"{kind}-{new}"), expires)


class Process:
    """What one server process has of all this."""

    def __init__(self, world: "World", name: str) -> None:
        self.keyring = Keyring()
        self.desk = Desk(lambda: open_store(world.path, busy_timeout_s=0.05), name)
        ground = Ground(world.endpoint, self.desk, world.clock, name)
        self.refresher = Refresher(ground, self.keyring, random.Random(name))
        self._world = world
        self.look()

    def look(self) -> None:
        """See what is in the store, as the journal's watch does."""
        with self._world.store() as store:
            self.load(store.accounts(), store.credentials())

    def load(self, accounts: list[Account], credentials: dict[str, Credentials]) -> None:
        self.keyring.load(credentials, accounts)
        self.refresher.load(accounts)

    async def fresh(self, name: str = "a", refused: str | None = None) -> str | None:
        account = Account(id=name, name=name, kind="oauth", created_at_ms=1)
        found = await self.refresher.fresh(account, None if refused is None else Secret(refused))
        return None if found is None else found.reveal()

    def trouble(self, name: str = "a") -> str:
        return self.refresher.trouble(self.account(name))

    @staticmethod
    def account(name: str = "a") -> Account:
        return Account(id=name, name=name, kind="oauth", created_at_ms=1)

    async def close(self) -> None:
        await self.refresher.close(0.2)
        await asyncio.to_thread(self.desk.close)


class World:
    """One database, one token endpoint, any number of processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Time()
        self.endpoint = Endpoint(self.clock)
        self.processes: list[Process] = []

    @contextmanager
    def store(self) -> Iterator[Store]:
        with closing(open_store(self.path)) as store:
            yield store

    def now_ms(self) -> int:
        return int(self.clock.now() * 1000)

    def add(self, name: str = "a", *, ends_in_ms: int | None = -1, access: bool = True, **fields: object) -> None:
        """An account whose tokens are number 0 and end at a moment, in the past where it is negative."""
        ends = None if ends_in_ms is None else self.now_ms() + ends_in_ms
        account = msgspec.structs.replace(
            Account(id=name, name=name, kind="oauth", created_at_ms=1, expires_at_ms=ends), **fields
        )
        token = Secret(f"at-{name}-0") if access else None
        with self.store() as store:
            store.add_account(account, Credentials(name, access_token=token, refresh_token=Secret(f"rt-{name}-0")))

    def process(self) -> Process:
        self.processes.append(Process(self, f"p{len(self.processes)}"))
        return self.processes[-1]

    def stored(self, name: str = "a") -> Grant:
        with self.store() as store:
            return store.tokens.read(name)

    def stored_account(self, name: str = "a") -> Account:
        with self.store() as store:
            return next(account for account in store.accounts() if account.name == name)

    def stored_refresh_token(self, name: str = "a") -> str | None:
        token = self.stored(name).credentials.refresh_token
        return None if token is None else token.reveal()

    def lease_ends_ms(self, name: str = "a") -> int:
        """When the lease on an account's tokens ends; 0 where there is none."""
        with closing(sqlite3.connect(self.path)) as db:
            found = db.execute("SELECT until FROM token_leases WHERE account_id = ?", (name,)).fetchone()
        return 0 if found is None else int(found[0])

    @contextmanager
    def locked(self) -> Iterator[None]:
        """While another program holds the database's lock."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")


async def until(condition: Callable[[], object], what: str) -> None:
    give_up = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < give_up, what
        await asyncio.sleep(0.005)


@contextmanager
def chore(process: Process) -> Iterator[None]:
    """While `keep_fresh` runs."""
    task = asyncio.create_task(process.refresher.keep_fresh())
    try:
        yield
    finally:
        task.cancel()
