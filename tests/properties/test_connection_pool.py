"""The bookkeeping of idle connections against a model that remembers everything."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ccflare.transport.pool import IdlePool

IDLE_S, PER_ROUTE, TOTAL = 10.0, 3, 5
ROUTES = ["a", "b", "c"]


class Pooling(RuleBasedStateMachine):
    """Connections are numbers; the model is a list of (route, connection, since), the oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self.pool: IdlePool[str, int] = IdlePool(idle_s=IDLE_S, per_route=PER_ROUTE, total=TOTAL)
        self.idle: list[tuple[str, int, float]] = []
        self.in_use: list[tuple[str, int]] = []
        self.now = 0.0
        self.made = 0

    def of(self, route: str) -> list[tuple[str, int, float]]:
        return [entry for entry in self.idle if entry[0] == route]

    @rule(seconds=st.sampled_from([0.0, 1.0, 4.0, 9.9, 10.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(route=st.sampled_from(ROUTES))
    def a_request_takes_a_connection(self, route: str) -> None:
        taken = self.pool.take(route, self.now)
        young = [entry for entry in self.of(route) if self.now - entry[2] < IDLE_S]
        if not young:
            assert taken is None
            self.made += 1
            self.in_use.append((route, self.made))
            return
        assert taken == young[-1][1], "the one that became idle last"
        self.idle.remove(young[-1])
        self.in_use.append((route, taken))

    @precondition(lambda self: self.in_use)
    @rule(data=st.data())
    def an_answer_is_complete(self, data: st.DataObject) -> None:
        route, connection = self.in_use.pop(data.draw(st.integers(0, len(self.in_use) - 1)))
        closed = self.pool.put(route, connection, self.now)
        self.idle.append((route, connection, self.now))
        expected: list[int] = []
        if len(self.of(route)) > PER_ROUTE:
            expected = [self.of(route)[0][1]]
        elif len(self.idle) > TOTAL:
            expected = [self.idle[0][1]]
        assert closed == expected, "the oldest goes, and only when a bound on idle connections is passed"
        self.idle = [entry for entry in self.idle if entry[1] not in closed]

    @precondition(lambda self: self.idle or self.in_use)
    @rule(data=st.data())
    def a_peer_closes(self, data: st.DataObject) -> None:
        everyone = [entry[1] for entry in self.idle] + [connection for _, connection in self.in_use]
        gone = data.draw(st.sampled_from(everyone))
        self.pool.remove(gone)
        self.idle = [entry for entry in self.idle if entry[1] != gone]
        self.in_use = [entry for entry in self.in_use if entry[1] != gone]

    @rule()
    def the_timer_fires(self) -> None:
        old = [entry for entry in self.idle if self.now - entry[2] >= IDLE_S]
        assert self.pool.expire(self.now) == [entry[1] for entry in old]
        self.idle = [entry for entry in self.idle if entry not in old]

    @rule()
    def everything_closes(self) -> None:
        assert self.pool.clear() == [entry[1] for entry in self.idle]
        self.idle = []

    @invariant()
    def the_bounds_hold_and_nothing_is_forgotten(self) -> None:
        assert len(self.pool) == len(self.idle) <= TOTAL
        assert all(len(self.of(route)) <= PER_ROUTE for route in ROUTES)
        assert self.pool.next_expiry() == (self.idle[0][2] + IDLE_S if self.idle else None)


TestPooling = Pooling.TestCase
