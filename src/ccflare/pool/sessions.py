"""Which session belongs to which account: a bounded table in the order of last use."""

from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import Final

from ccflare.records import Binding

USE_SAVED_EVERY_MS: Final = 60_000
"""How old the stored instant of a session's last use may become."""


class Session:
    """A session and its account."""

    __slots__ = ("account_id", "bound_at_ms", "saved_at_ms", "stand_in", "used_at_ms")

    def __init__(self, account_id: str, bound_at_ms: int, used_at_ms: int) -> None:
        self.account_id = account_id
        self.bound_at_ms = bound_at_ms
        self.used_at_ms = self.saved_at_ms = used_at_ms
        self.stand_in: str | None = None
        """Who served it last while its own account could not."""

    def binding(self, key: str) -> Binding:
        """Return it as it is kept."""
        return Binding(key, self.account_id, self.bound_at_ms, self.used_at_ms)


class Sessions:
    """The sessions that have an account. The one used longest ago is dropped when there are too many."""

    def __init__(self, length_ms: int, most: int) -> None:
        self.length_ms = length_ms
        """How long a session keeps its account."""
        self._most = max(1, most)
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._counts: Counter[str] = Counter()
        self._touched: set[str] = set()

    def __len__(self) -> int:
        return len(self._sessions)

    def count(self, account_id: str) -> int:
        """Return how many sessions an account has; some of them may have ended lately."""
        return self._counts[account_id]

    def ends_at(self, session: Session) -> int:
        """Return when a session may choose an account anew."""
        return session.bound_at_ms + self.length_ms

    def live(self, key: str, now_ms: int) -> Session | None:
        """Return a session that has not ended."""
        session = self._sessions.get(key)
        return session if session is not None and now_ms < session.bound_at_ms + self.length_ms else None

    def restore(self, bindings: Iterable[Binding], now_ms: int) -> None:
        """Take over what an earlier run has bound and has not ended."""
        for binding in sorted(bindings, key=lambda binding: binding.used_at_ms):
            session = Session(binding.account_id, binding.bound_at_ms, binding.used_at_ms)
            if now_ms < self.ends_at(session):
                self._put(binding.key, session)

    def bind(self, key: str, account_id: str, now_ms: int) -> Session:
        """Give a session, new or not, its account."""
        session = Session(account_id, now_ms, now_ms)
        self._put(key, session)
        self._touched.add(key)
        return session

    def adopt(self, binding: Binding, stand_in: str | None, now_ms: int) -> None:
        """Take over what another worker has bound, and who stands in for that account."""
        known = self.learn(binding, now_ms)
        if (known.bound_at_ms, known.account_id) == (binding.bound_at_ms, binding.account_id):
            known.stand_in = stand_in

    def learn(self, binding: Binding, now_ms: int) -> Session:
        """Take over what was bound elsewhere; of two accounts the one that was bound last has the session."""
        known = self.live(binding.key, now_ms)
        if known is None or (binding.bound_at_ms, binding.account_id) > (known.bound_at_ms, known.account_id):
            known = Session(binding.account_id, binding.bound_at_ms, binding.used_at_ms)
            if now_ms < self.ends_at(known):
                self._put(binding.key, known)
        return known

    def use(self, key: str, session: Session, now_ms: int) -> None:
        """Note that a session is in use."""
        self._sessions.move_to_end(key)
        session.used_at_ms = now_ms
        if now_ms - session.saved_at_ms >= USE_SAVED_EVERY_MS:
            session.saved_at_ms = now_ms
            self._touched.add(key)

    def take_changes(self) -> tuple[Binding, ...]:
        """Return the bindings made, moved or used since the last call."""
        if not self._touched:
            return ()
        found = [(key, self._sessions[key]) for key in self._touched if key in self._sessions]
        self._touched.clear()
        return tuple(session.binding(key) for key, session in found)

    def _put(self, key: str, session: Session) -> None:
        old = self._sessions.pop(key, None)
        if old is not None:
            self._uncount(old)
        self._sessions[key] = session
        self._counts[session.account_id] += 1
        for _ in range(2):  # one comes and up to two go, so what has ended does not pile up
            oldest_key, oldest = next(iter(self._sessions.items()))
            ended = session.used_at_ms >= oldest.used_at_ms + self.length_ms
            if oldest is session or not (ended or len(self._sessions) > self._most):
                break
            del self._sessions[oldest_key]
            self._uncount(oldest)

    def _uncount(self, session: Session) -> None:
        self._counts[session.account_id] -= 1
        if not self._counts[session.account_id]:
            del self._counts[session.account_id]
