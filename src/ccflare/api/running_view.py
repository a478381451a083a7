"""The exchanges that run: a question, and what listeners are told of them.

On the request path this costs an entry in a dict. Listeners are told states and no events: several times a second,
while there are any, the exchanges that have run longest are looked at, once for all of them; where that shows something
new, it is sent whole. So nobody has to put changes together, and who missed one is right again with the next. What is
over in half a second is not told: it is in the history before anybody could read it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice, takewhile
from typing import Annotated

import msgspec
from msgspec import Meta

from ccflare.api.instants import Instant, iso
from ccflare.api.json import encode
from ccflare.api.names import Names
from ccflare.api.request_view import AttemptView, ChoiceView, attempt_view, choice_view
from ccflare.api.streams import State
from ccflare.clock import Clock
from ccflare.exchange import OpenExchange, Phase, Running
from ccflare.pool import Pool

TOLD = 50
"""Exchanges, those that run longest, as listeners are told of them."""
YOUNG_S = 0.5
"""What has not run for so long is not told yet."""
LOOK_EVERY_S = 0.2
TELL_EVERY_S = 5.0
"""How often what runs is told although nothing is new but the time and the bytes."""
ATTEMPTS_SHOWN = 10


class RunningView(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange that has not ended."""

    id: str
    timestamp: Annotated[Instant, Meta(description="Arrival.")]
    timestamp_ms: int
    age_ms: Annotated[int, Meta(description="Since the arrival, by the server's clock.")]
    method: str
    path: str
    phase: Annotated[
        Phase,
        Meta(
            description="`reading` the request, `choosing` an account, `waiting` for upstream, "
            "`pausing` before the next attempt, `answering`."
        ),
    ]
    account_id: str | None
    account: Annotated[str | None, Meta(description="The name of the one that is being tried, or answers.")]
    choice: Annotated[ChoiceView | None, Meta(description="Why that one.")]
    model: str | None
    session: Annotated[str | None, Meta(description="A hash.")]
    client: str
    client_key_id: Annotated[str | None, Meta(description="The client key it came with; null: none was needed.")]
    client_key: Annotated[str | None, Meta(description="Its name.")]
    streamed: Annotated[bool, Meta(description="The answer is an event stream; known when it begins.")]
    request_bytes: int
    response_bytes: Annotated[int, Meta(description="What the client has got so far.")]
    failed_attempts: int
    attempts: Annotated[list[AttemptView], Meta(description=f"The last {ATTEMPTS_SHOWN} of those that have ended.")]


class RunningRequests(msgspec.Struct, frozen=True):
    """The exchanges that run, the longest first."""

    total: Annotated[int, Meta(description="How many there are, shown or not.")]
    requests: list[RunningView]


_encode = msgspec.msgpack.Encoder().encode
_running = msgspec.msgpack.Decoder(RunningRequests).decode
_question = msgspec.msgpack.Decoder(tuple[int, str | None]).decode


class RunningNow:
    """The exchanges that run, for who asks and for who listens."""

    def __init__(self, exchanges: dict[str, OpenExchange], clock: Clock, pool: Pool) -> None:
        self._exchanges = exchanges
        self._clock = clock
        self.names = Names(pool, clock)
        self._looked_at = self._told_at = -math.inf
        self._seen: object = None
        self._state = State(0, b"")
        self._elsewhere: dict[int, RunningRequests] = {}

    def look(self, limit: int, only: str | None = None) -> RunningRequests:
        """Show those of this worker that have run longest, or one of them."""
        every = self._exchanges
        found = every.values() if only is None else [every[only]] if only in every else []
        return RunningRequests(len(every), self._views(islice(found, limit)))

    def _look_at_old(self) -> RunningRequests:
        """Show those that are not young any more; they came first, so they come first."""
        young_since = self._clock.monotonic() - YOUNG_S
        old = takewhile(lambda each: each.arrived_at <= young_since, self._exchanges.values())
        shown = self._views(islice(old, TOLD))
        return RunningRequests(len(shown) + sum(1 for _ in old), shown)

    def _views(self, found: Iterable[OpenExchange]) -> list[RunningView]:
        now, names = self._clock.monotonic(), self.names.now()
        return [_view(each.so_far(now), names) for each in found]

    def state(self) -> State:
        """Return what listeners are to be told; its number rises when there is something new."""
        now = self._clock.monotonic()
        if now < self._looked_at + LOOK_EVERY_S:
            return self._state
        self._looked_at = now
        found = together([self._look_at_old(), *self._elsewhere.values()], TOLD)
        seen = found.total, [_essence(view) for view in found.requests]
        due = found.total and now >= self._told_at + TELL_EVERY_S
        if seen != self._seen or due:
            self._seen, self._told_at = seen, now
            self._state = State(self._state.number + 1, b"event: running\ndata: %b\n\n" % encode(found))
        return self._state

    # Other workers.

    def tell(self) -> bytes:
        """Return what runs here, for listeners of other workers."""
        return _encode(self._look_at_old())

    def hear(self, told: bytes, worker: int) -> None:
        """Take over what runs at another worker, for the listeners here."""
        self._elsewhere[worker] = _running(told)

    def gone(self, worker: int | None = None) -> None:
        """Forget what ran at a worker that has ended; None: at all others, because nobody listens here any more."""
        if worker is None:
            self._elsewhere.clear()
        else:
            self._elsewhere.pop(worker, None)

    def answer(self, question: bytes) -> bytes:
        """Answer another worker, which asks what `asked` returned."""
        return _encode(self.look(*_question(question)))


def asked(limit: int, only: str | None) -> bytes:
    """Return the question for other workers; see `RunningNow.look`."""
    return _encode((limit, only))


def whole(own: RunningRequests, others: Sequence[bytes], limit: int) -> RunningRequests:
    """Return what runs at all workers, as they have told it."""
    return together([own, *map(_running, others)], limit)


def together(parts: Sequence[RunningRequests], limit: int) -> RunningRequests:
    """Return those of all that have run longest."""
    if len(parts) == 1:
        return parts[0]
    every = sorted((view for part in parts for view in part.requests), key=lambda view: view.id)
    return RunningRequests(sum(part.total for part in parts), every[:limit])


def _essence(view: RunningView) -> tuple[object, ...]:
    """Return what makes a state new: anything but the time and the bytes."""
    return view.id, view.phase, view.account_id, view.failed_attempts, view.streamed, view.model


def _view(running: Running, names: Mapping[str, str]) -> RunningView:
    account = running.account
    return RunningView(
        id=running.id,
        timestamp=iso(running.timestamp_ms),
        timestamp_ms=running.timestamp_ms,
        age_ms=running.age_ms,
        method=running.method,
        path=running.path,
        phase=running.phase,
        account_id=None if account is None else account.id,
        account=None if account is None else account.name,
        choice=choice_view(running.choice, names),
        model=running.model,
        session=running.session,
        client=running.client,
        client_key_id=None if running.client_key is None else running.client_key.id,
        client_key=None if running.client_key is None else running.client_key.name,
        streamed=running.streamed,
        request_bytes=running.request_bytes,
        response_bytes=running.response_bytes,
        failed_attempts=len(running.attempts),
        attempts=[attempt_view(attempt, names) for attempt in running.attempts[-ATTEMPTS_SHOWN:]],
    )
