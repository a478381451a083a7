"""The pool under any interleaving of requests, outcomes, reloads and time."""

from collections import Counter

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ccflare.limits import CoolAccount, LimitAccount, Reading, RefuseCredential, SetAside, Window
from ccflare.pool import Ask, Pool
from ccflare.records import Account, state_of

NAMES = ("a", "b", "c", "d")
MODELS = ("claude-opus-4-1", "claude-opus-5", "claude-haiku-4-5", "opus", None)
SESSION_MS = 600_000
CACHE_MS = 100_000
ASKS = st.builds(Ask, st.sampled_from(["s", "t", "u", None]), st.sampled_from(MODELS))
NAME = st.sampled_from(NAMES)
DELAYS = st.none() | st.integers(-1000, 500_000)


class PoolMachine(RuleBasedStateMachine):
    """Drives a pool and keeps a simple model of what must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 1_800_000_000_000
        self.pool = Pool(session_ms=SESSION_MS, cache_life_ms=CACHE_MS, max_sessions=50)
        self.stored = {name: Account(id=name, name=name, created_at_ms=0) for name in NAMES}
        self.running: list[tuple[str, Ask]] = []
        self.bound: dict[str, tuple[str | None, int]] = {}
        self.pool.load(self.stored.values(), self.now_ms)

    def usable(self, name: str, model: str | None) -> bool:
        standing = {s.account.id: s for s in self.pool.states(self.now_ms)}.get(name)
        if standing is None or state_of(standing.account, self.now_ms) != "active":
            return False
        return not any(
            model is not None and (aside.model in model.split("-") if aside.family else aside.model == model)
            for aside in standing.asides
        )

    def limited_until(self, name: str) -> int:
        standings = self.pool.states(self.now_ms)
        return max((s.account.limited_until_ms or 0 for s in standings if s.account.id == name), default=0)

    # What happens.

    @rule(ms=st.sampled_from([0, 1, 4_999, 5_000, 60_000, CACHE_MS, SESSION_MS]))
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms

    @rule(ask=ASKS, index=st.integers(0, 3))
    def start(self, ask: Ask, index: int) -> None:
        candidates = list(self.pool.candidates(ask, self.now_ms))
        if candidates:
            name = candidates[min(index, len(candidates) - 1)].id
            self.pool.begin(name, ask)
            self.running.append((name, ask))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), served=st.booleans())
    def stop(self, data: st.DataObject, served: bool) -> None:
        name, ask = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        if served:
            usable_before = {other: self.usable(other, ask.model) for other in NAMES}
            self.pool.served(ask, name, self.now_ms)
            if ask.session is not None and name in self.stored:
                self.note_binding(ask, name, usable_before)
        self.pool.end(name, ask)

    def note_binding(self, ask: Ask, name: str, usable: dict[str, bool]) -> None:
        assert ask.session is not None
        home, since = self.bound.get(ask.session, (name, -SESSION_MS))
        if self.now_ms >= since + SESSION_MS:
            self.bound[ask.session] = name, self.now_ms
        elif home is None or (home != name and not usable[home]):
            # It may have moved or not: not followed until it must have ended, however often it has moved.
            self.bound[ask.session] = None, self.now_ms

    @rule(name=NAME, delay=DELAYS, ask=ASKS, kind=st.sampled_from([LimitAccount, CoolAccount]))
    def limited(self, name: str, delay: int | None, ask: Ask, kind: type) -> None:
        self.pool.apply(name, kind(None if delay is None else self.now_ms + delay, "r"), ask, self.now_ms)

    @rule(name=NAME, delay=DELAYS, ask=ASKS, family=st.booleans())
    def set_aside(self, name: str, delay: int | None, ask: Ask, family: bool) -> None:
        model = "opus" if family else ask.model
        until_ms = None if delay is None else self.now_ms + delay
        others = [m for m in MODELS if m != model and not (family and m is not None and "opus" in m.split("-"))]
        before = {other: self.usable(name, other) for other in others}
        was_limited_ms = self.limited_until(name)
        self.pool.apply(name, SetAside(model, until_ms, "r", family=family), ask, self.now_ms)
        if model is not None:
            assert before == {other: self.usable(name, other) for other in others}
        else:
            assert self.limited_until(name) <= max(was_limited_ms, self.now_ms + 60_000)

    @rule(name=NAME, ask=ASKS)
    def refused(self, name: str, ask: Ask) -> None:
        self.pool.apply(name, RefuseCredential("401"), ask, self.now_ms)

    @rule(
        name=NAME,
        used=st.floats(0, 1),
        delay=st.integers(1, 100_000),
        window=st.sampled_from(["5h", "7d_opus"]),
    )
    def noted(self, name: str, used: float, delay: int, window: str) -> None:
        windows = (Window(window, used, "allowed", self.now_ms + delay),)
        self.pool.note(name, Reading(status="allowed", windows=windows), self.now_ms)

    @rule(name=NAME, paused=st.booleans(), priority=st.integers(0, 2))
    def operator_changes(self, name: str, paused: bool, priority: int) -> None:
        if name in self.stored:
            self.stored[name] = msgspec.structs.replace(self.stored[name], paused=paused, priority=priority)
        self.pool.load(self.stored.values(), self.now_ms)

    @rule(name=NAME)
    def operator_removes(self, name: str) -> None:
        self.stored.pop(name, None)
        self.pool.load(self.stored.values(), self.now_ms)

    @rule(name=NAME)
    def operator_adds_or_signs_in(self, name: str) -> None:
        fresh = self.stored.get(name) or Account(id=name, name=name, created_at_ms=0)
        self.stored[name] = msgspec.structs.replace(fresh, auth_failed_reason=None)
        self.pool.load(self.stored.values(), self.now_ms)

    @rule()
    def saved(self) -> None:
        for account in self.pool.take_changes().accounts:
            assert account.id in self.stored
            stored = self.stored[account.id]
            self.stored[account.id] = msgspec.structs.replace(account, paused=stored.paused, priority=stored.priority)

    # What must hold.

    @invariant()
    def candidates_are_exactly_the_usable_accounts(self) -> None:
        """Each usable account is a candidate once, no other is, and asking twice gives the same order."""
        for model in MODELS:
            for session in ("s", None):
                ask = Ask(session, model)
                found = [account.id for account in self.pool.candidates(ask, self.now_ms)]
                assert sorted(found) == [name for name in NAMES if self.usable(name, model)]
                assert found == [account.id for account in self.pool.candidates(ask, self.now_ms)]

    @invariant()
    def sessions_stay_with_usable_accounts(self) -> None:
        """A live session's account comes first whenever it is usable, whatever has happened since."""
        for session, (name, since) in self.bound.items():
            if name is not None and self.now_ms < since + SESSION_MS:
                for model in MODELS:
                    if self.usable(name, model):
                        first = next(self.pool.candidates(Ask(session, model), self.now_ms))
                        assert first.id == name

    @invariant()
    def counts_in_flight_are_exact(self) -> None:
        """In flight is what has begun and not ended, also for accounts that were removed and came back."""
        counts = Counter(name for name, _ in self.running)
        for standing in self.pool.states(self.now_ms):
            assert standing.in_flight == counts[standing.account.id]

    @invariant()
    def blocked_agrees_with_candidates(self) -> None:
        """The recovery that is promised is when the first candidate appears, and none appears before."""
        for model in MODELS:
            ask = Ask(None, model)
            recovery_ms = self.pool.blocked(ask, self.now_ms).recovery_ms
            now = list(self.pool.candidates(ask, self.now_ms))
            if recovery_ms is None:
                assert not now
            else:
                assert bool(now) == (recovery_ms == self.now_ms)
                assert list(self.pool.candidates(ask, recovery_ms))

    @invariant()
    def priorities_are_the_stores(self) -> None:
        """What the operator decides is never overruled by what is in memory."""
        for standing in self.pool.states(self.now_ms):
            assert standing.account.priority == self.stored[standing.account.id].priority
            assert standing.account.paused == self.stored[standing.account.id].paused

    def teardown(self) -> None:
        """Nothing is in flight when everything has ended."""
        for name, ask in self.running:
            self.pool.end(name, ask)
        assert all(standing.in_flight == 0 for standing in self.pool.states(self.now_ms))


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
