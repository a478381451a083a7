"""The sums are those of the rows, and pages are the history, whatever was written in whatever way."""

from itertools import groupby

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ccflare.records import Exchange, outcome_of
from ccflare.store import Store
from ccflare.store.history import Cursor, Filter
from ccflare.store.sums import DAY_MS, EVER, HOUR_MS, MINUTE_MS, UNITS_MS, Sums, spans
from history_kit import T0, database, exchanges, opened, sums_of, without_sums, write

few = settings(max_examples=60, deadline=None)
batches = st.lists(st.lists(exchanges, max_size=8), max_size=5)
minutes = st.integers(-1441, 4 * 1440).map(lambda minute: T0 + minute * MINUTE_MS)
filters = st.builds(
    Filter,
    account_id=st.sampled_from([None, None, "", "a", "b", "c"]),
    model=st.sampled_from([None, None, "claude-3-opus", "claude", "claude-x", "opus", ""]),
    client_key_id=st.sampled_from([None, None, None, "", "k", "m"]),
    status=st.sampled_from([None, None, "error", "success", "rate_limited", "disconnected", 200, 429, 404]),
)


def keep(rows: list[Exchange], wanted: Filter) -> list[Exchange]:
    """Filter the slow way."""
    return [
        each
        for each in rows
        if (wanted.account_id is None or (each.account_id or "") == wanted.account_id)
        and (wanted.client_key_id is None or (each.client_key_id or "") == wanted.client_key_id)
        and (wanted.model is None or f"{each.model or ''}-".startswith(f"{wanted.model}-"))
        and (
            wanted.status in {None, each.status_code, outcome_of(each.status_code, each.success)}
            or (wanted.status == "error" and not each.success)
        )
        and (wanted.from_ms or 0) <= each.timestamp_ms
        and (wanted.to_ms is None or each.timestamp_ms < wanted.to_ms)
    ]


def add_all(stores: list[Store], written: list[list[Exchange]], fold_after: int) -> list[Exchange]:
    """Write batches by several connections in turn, some of them twice; return all exchanges."""
    for number, batch in enumerate(written):
        store = stores[number % len(stores)]
        store.rollups.fold_after = fold_after
        write(store, *batch)
        if number % 2:
            write(store, *batch, *batch[:1])
    return [each for batch in written for each in batch]


def test_nothing(tmp_path: object) -> None:
    """Before anything was written there is no sum and no page."""
    with database() as path, opened(path) as store:
        assert store.rollups.sums(Filter(), (), EVER) == {}
        assert store.rollups.sums(Filter(), ("model",), []) == {}
        assert store.rollups.since_ms() is None
        assert store.history.page(Filter()) == store.history.page(Filter(status="error")) == []


@few
@given(batches, filters, st.integers(1, 20))
def test_sums_are_those_of_the_rows(written: list[list[Exchange]], wanted: Filter, fold_after: int) -> None:
    """Of every token class, cost, duration and outcome, by account, model and client key, however batches come."""
    with database() as path, opened(path) as one, opened(path) as other:
        rows = keep(add_all([one, other], written, fold_after), wanted)
        found = one.rollups.sums(wanted, ("account", "model", "client_key"), EVER)
    by_key = lambda each: (each.account_id or "", each.model or "", each.client_key_id or "")  # noqa: E731  # sorted and grouped by the same
    assert found == {key: sums_of(group) for key, group in groupby(sorted(rows, key=by_key), by_key)}


@few
@given(batches, minutes, minutes, st.integers(1, 20), st.sampled_from(UNITS_MS))
def test_any_period_is_exact(
    written: list[list[Exchange]], one: int, other: int, fold_after: int, coarsest: int
) -> None:
    """A period from any minute to any other has the exchanges that arrived in it, whatever it is composed of."""
    begin, end = sorted((one, other))
    with database() as path, opened(path) as store:
        rows = keep(add_all([store], written, fold_after), Filter(from_ms=begin, to_ms=end))
        found = store.rollups.sums(Filter(), (), spans(begin, end, coarsest))
    assert found.get((), Sums()) == sums_of(rows)


@few
@given(batches, st.sampled_from([MINUTE_MS, 5 * MINUTE_MS, HOUR_MS, DAY_MS]))
def test_buckets_are_exact(written: list[list[Exchange]], bucket_ms: int) -> None:
    """Each bucket of a series has the exchanges that arrived in it."""
    with database() as path, opened(path) as store:
        rows = add_all([store], written, 3)
        period = spans(T0 - DAY_MS, T0 + 4 * DAY_MS, bucket_ms)
        found = store.rollups.sums(Filter(), ("time",), period, bucket_ms)
    by_bucket = lambda each: (each.timestamp_ms // bucket_ms * bucket_ms,)  # noqa: E731  # as above
    assert found == {key: sums_of(group) for key, group in groupby(sorted(rows, key=by_bucket), by_bucket)}


@few
@given(st.lists(exchanges, max_size=25), filters, st.integers(1, 6), st.data())
def test_pages_are_the_history(rows: list[Exchange], wanted: Filter, at_most: int, data: st.DataObject) -> None:
    """Page by page every exchange that is meant comes once, newest first, also when many arrived at once."""
    begin, end = data.draw(st.tuples(st.none() | minutes, st.none() | minutes))
    wanted = replace(wanted, from_ms=begin, to_ms=end)
    with database() as path, opened(path) as store:
        write(store, *rows)
        found: list[Exchange] = []
        before: Cursor | None = None
        while page := store.history.page(wanted, before=before, at_most=at_most):
            assert len(page) <= at_most
            found += page
            before = Cursor(page[-1].timestamp_ms, page[-1].id)
    expected = sorted(keep(rows, wanted), key=lambda each: (each.timestamp_ms, each.id), reverse=True)
    assert [each.id for each in found] == [each.id for each in expected]


@few
@given(st.lists(exchanges, min_size=1, max_size=15))
def test_sums_of_old_rows_are_made(rows: list[Exchange]) -> None:
    """A database from before there were sums gets those of its rows, as if they had been written with them."""
    newest = max(each.timestamp_ms for each in rows)
    recent = Filter(from_ms=newest // HOUR_MS * HOUR_MS)
    failed = keep(rows, Filter(status="error"))
    with database() as path:
        with opened(path) as store:
            write(store, *rows)
        without_sums(path)
        with opened(path) as store:
            for period in (EVER, spans(0, T0 + 9 * DAY_MS)):
                assert store.rollups.sums(Filter(), (), period) == {(): sums_of(rows)}
            last_hour = spans(recent.from_ms or 0, newest // MINUTE_MS * MINUTE_MS + MINUTE_MS)
            assert store.rollups.sums(Filter(), (), last_hour) == {(): sums_of(keep(rows, recent))}
            assert {each.id for each in store.history.page(Filter(status="error"))} == {each.id for each in failed}
