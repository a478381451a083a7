"""Which idle connections are kept. Bookkeeping only: every change returns the connections to close.

The one rule: a bound counts idle connections and nothing else. A connection in use is unknown here.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Route = TypeVar("Route", bound=Hashable)
Idle = TypeVar("Idle", bound=Hashable)


class IdlePool(Generic[Route, Idle]):
    """Idle connections by route, the last one used first: the rest may then grow old and be closed.

    `idle_s` is how long one may wait; `per_route` and `total` bound how many do. Times are seconds on any
    clock that does not go backwards.
    """

    def __init__(self, *, idle_s: float, per_route: int, total: int) -> None:
        self._idle_s = idle_s
        self._per_route = per_route
        self._total = total
        self._stacks: dict[Route, OrderedDict[Idle, float]] = {}
        self._routes: OrderedDict[Idle, Route] = OrderedDict()  # the oldest first

    def __len__(self) -> int:
        return len(self._routes)

    def take(self, route: Route, now: float) -> Idle | None:
        """Remove and return the connection that became idle last, or None when none is young enough.

        Older ones stay for `expire`.
        """
        stack = self._stacks.get(route)
        if stack is None:
            return None
        connection = next(reversed(stack))
        if now - stack[connection] >= self._idle_s:
            return None
        self.remove(connection)
        return connection

    def put(self, route: Route, connection: Idle, now: float) -> list[Idle]:
        """Add a connection that has become idle; return those that must be closed for it, perhaps itself."""
        stack = self._stacks.get(route)
        if stack is None:
            stack = self._stacks[route] = OrderedDict()
        stack[connection] = now
        self._routes[connection] = route
        if len(stack) > self._per_route:
            return [self._removed(next(iter(stack)))]
        if len(self._routes) > self._total:
            return [self._removed(next(iter(self._routes)))]
        return []

    def remove(self, connection: Idle) -> None:
        """Forget a connection; harmless when it is not idle."""
        route = self._routes.pop(connection, None)
        if route is None:
            return
        stack = self._stacks[route]
        del stack[connection]
        if not stack:
            del self._stacks[route]

    def expire(self, now: float) -> list[Idle]:
        """Remove and return every connection that has waited too long."""
        old: list[Idle] = []
        while self._routes:
            connection = next(iter(self._routes))
            if now - self._since(connection) < self._idle_s:
                break
            old.append(self._removed(connection))
        return old

    def next_expiry(self) -> float | None:
        """Return when the oldest connection will have waited too long, or None when the pool is empty."""
        return self._since(next(iter(self._routes))) + self._idle_s if self._routes else None

    def clear(self) -> list[Idle]:
        """Remove and return all of them."""
        everything = list(self._routes)
        self._routes.clear()
        self._stacks.clear()
        return everything

    def _since(self, connection: Idle) -> float:
        return self._stacks[self._routes[connection]][connection]

    def _removed(self, connection: Idle) -> Idle:
        self.remove(connection)
        return connection
