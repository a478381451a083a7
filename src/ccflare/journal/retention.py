"""What has become too old or too much is deleted, all the time and in steps that hold nobody up."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from typing import TypeAlias

from ccflare.errors import StoreBusy, StoreError
from ccflare.journal.trouble import Trouble
from ccflare.journal.watch import WatchedStore
from ccflare.settings import Settings
from ccflare.store import Store

log = logging.getLogger("ccflare.async-db-writer")

_DAY_MS = 86_400_000
_SLOW_S = 0.01
"""A step that took longer is halved."""
_QUICK_S = 0.003
_FIRST, _LARGEST = 32, 512
_SHARE = 0.1
"""What retention may take of the writer's time when nobody waits for it."""
_KEPT_PAGES = 256
"""Unused pages that stay in the file: they are about to be used again."""
_SIGN_INS_MS = _DAY_MS


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept for how long. A day is 24 hours."""

    payload_days: int = 7
    payload_bytes: int = 1024 * 1024 * 1024
    """What all payloads may take, compressed."""
    request_days: int = 365
    """Payloads go with their exchanges at the latest."""

    @classmethod
    def of(cls, settings: Settings) -> "Retention":
        """Return what the settings say."""
        return cls(settings.data_retention_days, settings.payload_budget_bytes, settings.request_retention_days)

    @property
    def payload_ms(self) -> int:
        """How long payloads are kept."""
        return min(self.payload_days, self.request_days) * _DAY_MS


@dataclass(frozen=True, slots=True)
class Removed:
    """How many of each kind were removed."""

    payloads: int = 0
    requests: int = 0
    rollups: int = 0
    sign_ins: int = 0
    pages: int = 0
    """By which the file has become smaller."""
    complete: bool = True
    """False: there is more, and it goes on."""

    def plus(self, kind: str, count: int) -> "Removed":
        """Return the sum."""
        return Removed(**(asdict(self) | {kind: getattr(self, kind) + count}))

    def since(self, before: "Removed", *, complete: bool) -> "Removed":
        """Return the difference."""
        now, then = asdict(self), asdict(before)
        return Removed(**{kind: now[kind] - then[kind] for kind in _KINDS}, complete=complete)


Step: TypeAlias = Callable[[Store, Retention, int, int], int]
"""Remove at most so many of a kind at an instant (ms); return how many. 0: there is nothing left to do."""


def _payloads(store: Store, rules: Retention, now_ms: int, at_most: int) -> int:
    before_ms = now_ms - rules.payload_ms
    return store.payloads.forget(before_ms=before_ms, budget_bytes=rules.payload_bytes, at_most=at_most)


def _requests(store: Store, rules: Retention, now_ms: int, at_most: int) -> int:
    return store.history.forget(now_ms - rules.request_days * _DAY_MS, at_most)


def _rollups(store: Store, _rules: Retention, now_ms: int, at_most: int) -> int:
    return store.rollups.forget(now_ms, at_most)


def _sign_ins(store: Store, _rules: Retention, now_ms: int, at_most: int) -> int:
    return store.leftovers.forget_sign_ins(before_ms=now_ms - _SIGN_INS_MS, at_most=at_most)


def _pages(store: Store, _rules: Retention, _now_ms: int, at_most: int) -> int:
    return store.leftovers.give_back(at_most_pages=at_most, keep_pages=_KEPT_PAGES)


_KINDS: dict[str, Step] = {
    "payloads": _payloads,
    "requests": _requests,
    "rollups": _rollups,
    "sign_ins": _sign_ins,
    "pages": _pages,
}


class Sweep:
    """Goes round the kinds, one step at a time. Belongs to the writer's thread, but for `ask` and `removed`."""

    def __init__(
        self, store: WatchedStore, rules: Callable[[], Retention], every_s: float, leads: Callable[[], bool]
    ) -> None:
        self.removed = Removed()
        """Everything so far."""
        self._store = store
        self._rules = rules
        self._every_s = every_s
        self._leads = leads
        """Says whether it is this process that looks by itself, of several that serve as one."""
        self._due_at = 0.0
        self._trouble = Trouble()
        self._kinds = list(_KINDS)
        self._kind = 0
        self._at_most = dict.fromkeys(_KINDS, _FIRST)
        self._removed_in_round = 0
        self._hurried = False
        self._asked: deque[Future[None]] = deque()
        self._answering: list[Future[None]] = []

    def ask(self) -> "Future[None]":
        """Have a whole round made at once; any thread may ask."""
        done: Future[None] = Future()
        self._asked.append(done)
        return done

    def hurry(self) -> None:
        """Have a round begin now, at its usual pace; any thread may say so."""
        self._hurried = True

    @property
    def due_at(self) -> float:
        """The monotonic second of the next step."""
        if self._trouble:
            return self._trouble.retry_at
        if self._asked or self._answering:
            return 0.0
        if not self._leads():
            return math.inf
        return 0.0 if self._hurried else self._due_at

    def step(self) -> None:
        """Remove a few of one kind. A failing store puts it off."""
        if self._hurried:
            self._hurried, self._kind = False, 0
        self._begin_asked()
        began = time.monotonic()
        try:
            removed = self._remove(self._kinds[self._kind])
            if not removed:
                self._go_on()
        except StoreError as error:
            if not isinstance(error, StoreBusy):
                self._store.close()  # it may be the connection that is broken
            self._hit(error)
            return
        except Exception as error:
            log.exception("Failed to execute DB job")
            self._hit(error)
            return
        self._trouble.over(time.monotonic())
        if removed or self._kind:
            took_s = time.monotonic() - began
            self._due_at = time.monotonic() + took_s * (1 / _SHARE - 1)

    def refuse(self, error: Exception) -> None:
        """Tell who waits that it cannot be done now. What is too old is deleted later all the same."""
        self._begin_asked()
        told = error if isinstance(error, StoreError) else StoreError("the database job failed; the log says why")
        for done in self._answering:
            done.set_exception(told)
        self._answering.clear()

    def end(self) -> None:
        """Tell who waits that nothing more happens."""
        self.refuse(StoreBusy("the server is stopping"))

    def _hit(self, error: Exception) -> None:
        self._trouble.hit(error, time.monotonic(), "what is too old waits to be deleted")
        self.refuse(error)

    def _begin_asked(self) -> None:
        while self._asked:
            done = self._asked.popleft()
            if done.set_running_or_notify_cancel():
                self._answering.append(done)
            self._kind = 0

    def _remove(self, kind: str) -> int:
        at_most, began = self._at_most[kind], time.monotonic()
        removed = _KINDS[kind](self._store.here(), self._rules(), int(time.time() * 1000), at_most)
        took_s = time.monotonic() - began
        if took_s > _SLOW_S:
            self._at_most[kind] = max(1, at_most // 2)
        elif took_s < _QUICK_S and removed == at_most:
            self._at_most[kind] = min(_LARGEST, at_most * 2)
        if removed:
            self.removed = self.removed.plus(kind, removed)
            self._removed_in_round += removed
        return removed

    def _go_on(self) -> None:
        """Turn to the next kind; after the last one, rest."""
        self._kind = (self._kind + 1) % len(self._kinds)
        if self._kind:
            return
        if self._removed_in_round:
            self._store.here().leftovers.checkpoint()  # the file becomes smaller only now
            self._removed_in_round = 0
        self._due_at = time.monotonic() + self._every_s
        for done in self._answering:
            done.set_result(None)
        self._answering.clear()
