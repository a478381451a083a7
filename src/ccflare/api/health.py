"""`GET /health`: can requests be served, by the same states that routing uses."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ccflare import __version__
from ccflare.journal import TroubleKind, WriterState, together
from ccflare.records import State

Status = Literal["ok", "no_accounts", "rate_limited", "unavailable"]


class Health(msgspec.Struct, frozen=True):
    """What is known at this moment."""

    states: Sequence[State]
    """One for each account."""
    uptime_ms: int
    strategy: str
    in_flight: int
    """Exchanges running now."""
    writer: WriterState
    workers: int = 1
    """Processes that this is about, and how many there are to be."""
    workers_expected: int = 1


class OfWorker(msgspec.Struct, frozen=True):
    """What is each worker's own of it."""

    in_flight: int
    writer: WriterState


_encode = msgspec.msgpack.Encoder().encode
_of_worker = msgspec.msgpack.Decoder(OfWorker).decode


def told(now: Health) -> bytes:
    """Return what a worker tells another one that is asked for the whole server's health."""
    return _encode(OfWorker(now.in_flight, now.writer))


def whole(now: Health, others: Sequence[bytes], expected: int) -> Health:
    """Return the health of the whole server, as far as its workers have told."""
    all_told = [OfWorker(now.in_flight, now.writer), *map(_of_worker, others)]
    return msgspec.structs.replace(
        now,
        in_flight=sum(each.in_flight for each in all_told),
        writer=together([each.writer for each in all_told]),
        workers=len(all_told),
        workers_expected=expected,
    )


class AccountCounts(msgspec.Struct, frozen=True):
    """How many accounts are in which state."""

    total: int
    active: int
    paused: int
    rate_limited: int
    expired: int
    auth_failed: int


class WriterView(msgspec.Struct, frozen=True):
    """How the writer of the history is doing."""

    queued: Annotated[int, Meta(description="Requests that wait to be written.")]
    failing_s: Annotated[float, Meta(description="For how long nothing could be written; 0: all is well.")]
    error: Annotated[TroubleKind | None, Meta(description="Why not; the log has more.")]
    lost: Annotated[int, Meta(description="Requests that were not recorded since the start.")]
    payloads_dropped: Annotated[int, Meta(description="Payloads that were not kept since the start.")]


class WorkersView(msgspec.Struct, frozen=True):
    """The processes that serve."""

    total: Annotated[int, Meta(description="How many there are to be.")]
    answering: Annotated[int, Meta(description="Of how many these numbers are: others did not answer in time.")]


class HealthView(msgspec.Struct, frozen=True, kw_only=True):
    """Whether requests can be served."""

    status: Annotated[Status, Meta(description="`ok` when an account can serve, else why none can.")]
    accounts: AccountCounts
    uptime: Annotated[int, Meta(description="Milliseconds.")]
    version: str
    strategy: str
    in_flight: Annotated[int, Meta(description="Requests being served at this moment.")]
    writer: WriterView
    workers: WorkersView


def status(states: Sequence[State]) -> Status:
    """Say how requests fare: `ok` when an account can serve, else the reason why none can."""
    if "active" in states:
        return "ok"
    if not states:
        return "no_accounts"
    return "rate_limited" if "rate_limited" in states else "unavailable"


def health(now: Health) -> HealthView:
    """Return the answer; scripts read `status`, `accounts` and `uptime` (ms)."""
    count = Counter(now.states)
    return HealthView(
        status=status(now.states),
        accounts=AccountCounts(
            total=len(now.states),
            active=count["active"],
            paused=count["paused"],
            rate_limited=count["rate_limited"],
            expired=count["expired"],
            auth_failed=count["auth_failed"],
        ),
        uptime=now.uptime_ms,
        version=__version__,
        strategy=now.strategy,
        in_flight=now.in_flight,
        writer=_writer(now.writer),
        workers=WorkersView(now.workers_expected, now.workers),
    )


def _writer(state: WriterState) -> WriterView:
    return WriterView(
        queued=state.waiting,
        failing_s=round(state.failing_s, 1),
        error=state.trouble,
        lost=state.lost,
        payloads_dropped=state.payloads_dropped,
    )
