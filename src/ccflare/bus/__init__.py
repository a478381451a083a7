"""What the workers of one server tell each other, and what they ask: small frames through their supervisor.

Facts that make routing better travel here; what must not be lost is in the store. So the rule: nobody ever waits for
this bus longer than a deadline, what it has no room for is dropped and counted, and whatever it carries is put right
by the store within a second.

Three ways to use it. `publish` tells all other workers something, `listen` says who is called with it. `gather` asks
all of them a question and returns what came in time; `answer` says who answers, and is also asked by the own process
when `gather` is used through `everybody`. `claim` agrees on one value for a key.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeAlias

GATHER_S: Final = 0.25
"""How long a question to the other workers may take: half a dozen wake-ups of a busy loop."""
CLAIM_S: Final = 0.05
"""How long a request may wait for an agreement before it goes on alone."""

Hear: TypeAlias = Callable[[bytes, int], None]
"""Is called with what a worker has published, and that worker's number."""
Reply: TypeAlias = Callable[[bytes], "bytes | asyncio.Future[bytes]"]
"""Returns the answer to a question. It runs on the event loop: what takes long, a thread makes."""


class Colleagues(Protocol):
    """The other workers of this server, as one of them sees them."""

    number: int
    """This worker's own number: rises with every worker that is started. 0: there never is another one."""
    workers: int
    """How many workers there are to be."""
    started_at: float | None
    """The monotonic second of the whole server's start; None: this process's own."""
    leads: bool
    """Whether this worker is the one that does what only one has to do: fetch prices, delete what is too old."""

    def publish(self, topic: str, body: bytes) -> None:
        """Tell all others. Never waits; dropped when too much waits already."""
        ...

    def listen(self, topic: str, hear: Hear) -> None:
        """Have something called with whatever others publish on a topic; one listener for each topic."""
        ...

    def on_change(self, changed: Callable[[int, bool], None]) -> None:
        """Have something called when another worker has come (True) or gone, with its number."""
        ...

    def answer(self, topic: str, reply: Reply) -> None:
        """Say how this worker answers a question."""
        ...

    def gather(self, topic: str, body: bytes = b"", within_s: float = GATHER_S) -> Awaitable[list[bytes]]:
        """Ask all others and return the answers that came in time, in no order. Alone: none, at once."""
        ...

    def claim(self, key: str, value: str, instead_of: str = "") -> Awaitable[str]:
        """Agree with all others on a value for a key; return the one that was claimed first, or one's own.

        A value that has failed, which others may not know yet, is replaced when it is named as `instead_of`.
        Waits for `CLAIM_S` at most. To be released as often as it was claimed.
        """
        ...

    def reclaim(self, key: str, value: str) -> None:
        """Change the value of a key for whoever claims it from now on."""
        ...

    def release(self, key: str) -> None:
        """Give a claim back; a key that nobody claims any more is free."""
        ...


async def everybody(colleagues: Colleagues, topic: str, own: bytes, within_s: float = GATHER_S) -> list[bytes]:
    """Return what all workers, this one first, say to a question: the place where numbers of all are collected.

    `own` is this worker's answer; the others give theirs by `colleagues.answer(topic, ...)`. With one process there
    is nobody to wait for. A worker that does not answer within `within_s` seconds is missing.
    """
    return [own, *await colleagues.gather(topic, within_s=within_s)]


class Alone:
    """The colleagues of a server that is one process: none."""

    number = 0
    workers = 1
    started_at: float | None = None
    leads = True

    def publish(self, topic: str, body: bytes) -> None:
        """Tell nobody."""

    def listen(self, topic: str, hear: Hear) -> None:
        """Hear nothing."""

    def on_change(self, changed: Callable[[int, bool], None]) -> None:
        """Stay alone."""

    def answer(self, topic: str, reply: Reply) -> None:
        """Be asked by nobody."""

    async def gather(self, topic: str, body: bytes = b"", within_s: float = GATHER_S) -> list[bytes]:
        """Return no answer."""
        return []

    async def claim(self, key: str, value: str, instead_of: str = "") -> str:
        """Return one's own value."""
        return value

    def reclaim(self, key: str, value: str) -> None:
        """Do nothing."""

    def release(self, key: str) -> None:
        """Do nothing."""
