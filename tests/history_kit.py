"""Exchanges of every sort for tests of the history, and their sums taken the slow way."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from hypothesis import strategies as st

from ccflare.histogram import Histogram
from ccflare.records import Attempt, Exchange
from ccflare.store import Batch, Store, open_store, opening
from ccflare.store.rows import EXCHANGE_COLUMNS
from ccflare.store.sums import Sums
from ccflare.usage import NOT_SAID, Usage

T0 = 1_790_000_000_000 // 86_400_000 * 86_400_000
"""A midnight (UTC)."""

count = st.none() | st.integers(0, 100_000)
usages = st.just(NOT_SAID) | st.builds(
    Usage,
    input_tokens=count,
    output_tokens=count,
    cache_read_input_tokens=count,
    cache_creation_input_tokens=count,
    cache_creation_5m_tokens=count,
    cache_creation_1h_tokens=count,
    thinking_tokens=count,
    web_search_requests=count,
)
arrivals = st.one_of(
    st.sampled_from([T0, T0 + 1, T0 + 2]),  # many at once, and in one minute
    st.sampled_from([T0 - 1, T0, T0 + 1, T0 + 59_999, T0 + 60_000, T0 + 3_600_000, T0 + 86_400_000]),
    st.integers(T0, T0 + 3 * 86_400_000),
)
exchanges = st.builds(
    Exchange,
    id=st.uuids(version=4).map(str),
    timestamp_ms=arrivals,
    method=st.just("POST"),
    path=st.just("/v1/messages"),
    account_id=st.none() | st.sampled_from(["a", "b"]),
    status_code=st.just(200) | st.sampled_from([0, 200, 201, 302, 400, 429, 499, 500, 529]),
    success=st.just(True) | st.booleans(),
    response_time_ms=st.integers(0, 5_000_000),
    first_byte_ms=count,
    model=st.just("claude-x")
    | st.sampled_from([None, "claude-3-opus-20240229", "claude-3-opus", "claude-3-opusx", "claude-x"]),
    usage=usages,
    cost_microusd=count,
    output_tokens_per_second=st.none() | st.floats(0.1, 500),
    client_key_id=st.none() | st.sampled_from(["k", "l"]),
    streamed=st.booleans(),
    request_bytes=st.integers(0, 10**9),
    response_bytes=st.integers(0, 10**9),
    attempts=st.lists(st.just(Attempt("a", "deliver")), max_size=3).map(tuple),
)


def exchange(number: int, **fields: Any) -> Exchange:
    """A successful exchange a second after the one before it."""
    made = Exchange(
        id=f"exchange-{number:06d}", timestamp_ms=T0 + number * 1000, method="POST", path="/v1/messages",
        account_id="a", status_code=200, success=True, response_time_ms=1000, model="claude-x",
    )  # fmt: skip
    return msgspec.structs.replace(made, **fields)


@contextmanager
def database() -> Iterator[Path]:
    """A place for a database of its own."""
    with TemporaryDirectory() as directory:
        yield Path(directory) / "ccflare.db"


@contextmanager
def opened(path: Path) -> Iterator[Store]:
    """One connection."""
    store = open_store(path)
    try:
        yield store
    finally:
        store.close()


def write(store: Store, *written: Exchange) -> None:
    """Write exchanges as one batch."""
    store.write(Batch(exchanges=written))


def without_sums(path: Path) -> None:
    """Turn a database into one from before there were sums, with the same rows."""
    with closing(sqlite3.connect(path)) as db:
        columns = [each for each in EXCHANGE_COLUMNS if each != "client_key"]
        names = ", ".join(columns)
        rows = db.execute(f"SELECT {names} FROM requests ORDER BY rowid").fetchall()
    for each in path.parent.iterdir():
        each.unlink()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for number in (1, 2):
            opening._apply(db, number, opening._migrations()[number])
        marks = ", ".join("?" * len(columns))
        db.executemany(f"INSERT INTO requests ({names}) VALUES ({marks})", rows)


def sums_of(rows: Iterable[Exchange]) -> Sums:
    """Add exchanges one field at a time, knowing nothing of how the store does it."""
    rows = list(rows)
    timed = [each for each in rows if each.output_tokens_per_second and each.usage.output_tokens]
    return Sums(
        requests=len(rows),
        streamed=sum(each.streamed for each in rows),
        failover_attempts=sum(each.failover_attempts for each in rows),
        response_time_ms=sum(each.response_time_ms for each in rows),
        first_byte_ms=sum(each.first_byte_ms or 0 for each in rows),
        first_bytes=sum(each.first_byte_ms is not None for each in rows),
        speed_tokens=sum(each.usage.output_tokens or 0 for each in timed),
        speed_ms=sum(_speed_ms(each) for each in timed),
        unpriced=sum(each.usage.total_tokens is not None and each.cost_microusd is None for each in rows),
        request_bytes=sum(each.request_bytes for each in rows),
        response_bytes=sum(each.response_bytes for each in rows),
        input_tokens=_said(each.usage.input_tokens for each in rows),
        output_tokens=_said(each.usage.output_tokens for each in rows),
        cache_read_input_tokens=_said(each.usage.cache_read_input_tokens for each in rows),
        cache_creation_input_tokens=_said(each.usage.cache_write_tokens for each in rows),
        cache_creation_5m_tokens=_said(each.usage.cache_creation_5m_tokens for each in rows),
        cache_creation_1h_tokens=_said(each.usage.cache_creation_1h_tokens for each in rows),
        thinking_tokens=_said(each.usage.thinking_tokens for each in rows),
        web_search_requests=_said(each.usage.web_search_requests for each in rows),
        cost_microusd=_said(each.cost_microusd for each in rows),
        latency=Histogram.of(each.response_time_ms for each in rows),
        succeeded=sum(each.success for each in rows),
        rate_limited=sum(each.status_code == 429 and not each.success for each in rows),
    )


def _speed_ms(each: Exchange) -> int:
    assert each.usage.output_tokens
    assert each.output_tokens_per_second
    return int(each.usage.output_tokens * 1000 / each.output_tokens_per_second + 0.5)


def _said(values: Iterable[int | None]) -> int | None:
    known = [each for each in values if each is not None]
    return sum(known) if known else None
