"""The history by HTTP: pages, filters, one request whole, and what a clear leaves."""

import asyncio
import gzip
import sqlite3
import time
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from api_kit import NOW_MS, OAUTH, Api, add_oauth, exchange, running
from ccflare.api.bodies import SHOWN_BYTES, body_view
from ccflare.errors import DiskFull, StoreBusy, StoreError
from ccflare.payload import Content
from ccflare.records import Attempt
from ccflare.store import Batch
from ccflare.store.payloads import Payloads
from ccflare.store.sqlite import SqliteStore
from ccflare.usage import Usage


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    async with running(tmp_path, monkeypatch) as made:
        await add_oauth(made)
        yield made


async def write(api: Api, *exchanges: Any) -> None:
    await api.store(lambda store: store.write(Batch(exchanges=exchanges)))


async def ids(api: Api, query: str = "") -> list[str]:
    answer = await api.get(f"/api/requests{query}")
    assert answer.status_code == 200, answer.text
    return [request["id"] for request in answer.json()["requests"]]


async def test_a_request_is_shown_as_the_table_has_it(api: Api) -> None:
    """Instant, account, outcome, tokens and cost of an exchange are where scripts look for them."""
    await write(api, exchange(1))
    [request] = (await api.get("/api/requests")).json()["requests"]
    expected = {
        "id": "x000001",
        "timestamp": "2026-09-21T14:13:21.000Z",
        "timestamp_ms": NOW_MS + 1000,
        "account_id": OAUTH.id,
        "account": OAUTH.name,
        "status_code": 200,
        "success": True,
        "outcome": "success",
        "model": "claude-sonnet-5-5",
        "input_tokens": 10,
        "output_tokens": 20,
        "prompt_tokens": 15,
        "total_tokens": 35,
        "cost_usd": 0.001234,
        "failover_attempts": 0,
    }
    assert {name: request[name] for name in expected} == expected


async def test_what_upstream_did_not_say_is_null(api: Api) -> None:
    """Without usage there are no tokens and no cost, not zeros."""
    await write(api, exchange(1, usage=Usage(), cost_microusd=None, model=None))
    [request] = (await api.get("/api/requests")).json()["requests"]
    assert [request[name] for name in ("input_tokens", "total_tokens", "cost_usd", "model")] == [None] * 4


async def test_pages_give_every_request_once_newest_first(api: Api) -> None:
    """Following `next_cursor` gives all requests in order, also those of one instant; the last page has none."""
    await write(api, *(exchange(number, timestamp_ms=NOW_MS + number // 4) for number in range(25)))
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await api.get(f"/api/requests?limit=7{f'&cursor={cursor}' if cursor else ''}")).json()
        assert len(page["requests"]) <= 7
        seen += [request["id"] for request in page["requests"]]
        cursor = page["next_cursor"]
    assert seen == [f"x{number:06d}" for number in reversed(range(25))]


async def test_the_last_page_has_no_cursor_when_it_is_full(api: Api) -> None:
    """A page that ends the history says so even when it is as long as asked for."""
    await write(api, *(exchange(number) for number in range(4)))
    assert (await api.get("/api/requests?limit=4")).json()["next_cursor"] is None


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?limit=10&status=error", ["x000003", "x000002"]),
        ("?status=success", ["x000004", "x000001"]),
        ("?status=429", ["x000002"]),
        ("?status=rate_limited", ["x000002"]),
        ("?account=subscription", ["x000003", "x000002", "x000001"]),
        ("?account=acc-oauth&status=500", ["x000003"]),
        ("?account=none", ["x000004"]),
        ("?account=acc-oauth&model=claude-opus-5&status=error&to=2030-01-01", ["x000003"]),
        ("?model=claude-opus", ["x000003"]),
        (f"?from={NOW_MS + 2000}&to={NOW_MS + 4000}", ["x000003", "x000002"]),
        ("?from=2026-09-21T14:13:22Z&to=2026-09-21T16:13:23%2B02:00", ["x000002"]),
        ("?from=2026-09-21T16:13:23+02:00&to=2026-09-21T14:13:24", ["x000003"]),
        ("?from=2026-09-22", []),
    ],
)
async def test_filters_choose(api: Api, query: str, expected: list[str]) -> None:
    """Status, account by name or id, model family and period restrict the list; `from` is in it and `to` is not."""
    await write(
        api,
        exchange(1),
        exchange(2, status_code=429, success=False),
        exchange(3, status_code=500, success=False, model="claude-opus-5"),
        exchange(4, account_id=None),
    )
    assert await ids(api, query) == expected


async def test_requests_of_removed_accounts_keep_its_name(api: Api) -> None:
    """After an account was removed its requests are still found by its name."""
    await write(api, exchange(1))
    await api.send("DELETE", f"/api/accounts/{OAUTH.id}", {"confirm": OAUTH.name})
    [request] = (await api.get(f"/api/requests?account={OAUTH.name}")).json()["requests"]
    assert request["account"] == OAUTH.name


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?account=nobody", 404),
        ("?cursor=xyz", 400),
        ("?cursor=%F0%9F%98%80", 400),
        ("?cursor=" + "A" * 900, 400),
        ("?from=yesterday", 400),
        ("?to=2026-13-01", 400),
        ("?from=999999999999999999999999", 400),
        ("?status=weird", 400),
        ("?status=999", 400),
        ("?limit=0", 400),
        ("?limit=1001", 400),
        ("?limit=" + "9" * 900, 400),
    ],
)
async def test_what_cannot_be_asked_is_refused(api: Api, query: str, status: int) -> None:
    """Bad values are refused with the parameter's name; an account there never was is not found."""
    answer = await api.get(f"/api/requests{query}")
    assert answer.status_code == status
    if status == 400:
        assert answer.json()["details"]["field"] == query[1:].partition("=")[0]


async def test_one_request_tells_of_its_attempts(api: Api) -> None:
    """The attempts of a request come with the names of their accounts and why each was not the last."""
    attempts = (Attempt(OAUTH.id, "next", 429, 12, 0, "limited"), Attempt(None, "deliver", 200, 40, 5))
    await write(api, exchange(1, attempts=attempts))
    found = (await api.get("/api/requests/x000001")).json()
    assert found["request"]["failover_attempts"] == 1
    assert [attempt["account"] for attempt in found["attempts"]] == [OAUTH.name, None]
    assert (found["attempts"][0]["reason"], found["attempts"][1]["wait_ms"]) == ("limited", 5)
    assert (found["payload"], found["payload_damaged"]) == (None, False)


@pytest.mark.parametrize("busy", [False, True])
async def test_a_damaged_payload_takes_nothing_else_with_it(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, busy: bool
) -> None:
    """The request is shown without it and says so, in the log once; a locked database is still a 503."""

    def fail(*_: object) -> None:
        raise (StoreBusy if busy else StoreError)("a stored payload is damaged: what it continues is not there")

    monkeypatch.setattr(Payloads, "read", fail)
    await write(api, exchange(1))
    for _ in range(3):
        answer = await api.get("/api/requests/x000001")
        if busy:
            assert answer.status_code == 503
        else:
            found = answer.json()
            assert (found["request"]["id"], found["payload"], found["payload_damaged"]) == ("x000001", None, True)
    assert caplog.text.count("The payload of request x000001 cannot be shown") == (0 if busy else 1)


async def test_unknown_requests_are_not_found(api: Api) -> None:
    """An id that no request has is a 404."""
    assert (await api.get("/api/requests/nothing")).status_code == 404


async def test_clearing_needs_the_word_and_leaves_the_accounts(api: Api) -> None:
    """Without `{"confirm": "clear"}` nothing is deleted; with it the history is empty and accounts stay."""
    await write(api, exchange(1), exchange(2))
    for body in ({}, {"confirm": "yes"}, {"confirm": "clear", "all": True}):
        assert (await api.send("DELETE", "/api/requests", body)).status_code == 400
    assert len(await ids(api)) == 2
    assert (await api.send("DELETE", "/api/requests", {"confirm": "clear"})).json() == {"requests": 2}
    assert await ids(api) == []
    assert set(await api.accounts()) == {OAUTH.name}


# Bodies.


def shown(data: bytes, coding: str | None = None, length: int | None = None) -> Any:
    headers = [] if coding is None else [("Content-Encoding", coding)]
    return body_view(Content(data, len(data) if length is None else length), headers)


def test_a_compressed_body_is_shown_as_its_text() -> None:
    """The content coding is taken off; both the length on the wire and the coding are told."""
    data = gzip.compress(b'{"a": "\xc3\xa9"}')
    view = shown(data, "gzip")
    assert (view.content, view.encoding, view.decoded) == ('{"a": "é"}', "text", "gzip")
    assert (view.length, view.truncated) == (len(data), False)


def test_a_body_that_is_no_text_is_shown_in_base64() -> None:
    """Bytes that are not UTF-8 come unchanged in base64."""
    view = shown(b"\xff\xd8\xff\xe0 image")
    assert (view.encoding, b64decode(view.content)) == ("base64", b"\xff\xd8\xff\xe0 image")


def test_a_body_that_was_cut_through_a_character_is_still_text() -> None:
    """The end of a cut body may be half a character: it is left out, and the body is marked."""
    view = shown("aé".encode()[:2], length=900)
    assert (view.content, view.encoding, view.truncated, view.length, view.kept) == ("a", "text", True, 900, 2)


def test_a_small_body_that_unfolds_to_a_large_one_is_cut() -> None:
    """What is shown is bounded, and marked when that is not all."""
    view = shown(gzip.compress(b"x" * (SHOWN_BYTES + 1)), "gzip")
    assert (len(view.content), view.truncated) == (SHOWN_BYTES, True)


@pytest.mark.parametrize("coding", ["gzip", "unknown"])
def test_what_cannot_be_decoded_is_shown_as_it_is(coding: str) -> None:
    """A coding that is wrong or not known leaves the bytes alone."""
    view = shown(b"plain", coding)
    assert (view.content, view.decoded) == ("plain", None)


# The writer.


@pytest.mark.parametrize(
    ("code", "kind", "word"),
    [
        (sqlite3.SQLITE_BUSY, StoreBusy, "locked"),
        (sqlite3.SQLITE_FULL, DiskFull, "disk full"),
        (sqlite3.SQLITE_IOERR, StoreError, "unavailable"),
    ],
)
async def test_health_says_that_requests_cannot_be_written_and_why(
    api: Api, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[StoreError], word: str
) -> None:
    """How many wait, for how long and why in a word; nothing of the machine's paths. Afterwards all is well."""
    write_really = SqliteStore.write

    def fail(_store: SqliteStore, _batch: Batch) -> None:
        cause = sqlite3.OperationalError("no")
        cause.sqlite_errorcode = code
        raise kind(f"no ({api.directory}/x.db)") from cause

    monkeypatch.setattr(SqliteStore, "write", fail)
    for number in range(3):
        api.app.journal.put(exchange(number))
    found = await _writer_when(api, lambda writer: writer["failing_s"] > 0)
    assert (found["queued"], found["error"], found["lost"], found["payloads_dropped"]) == (3, word, 0, 0)
    assert str(api.directory) not in (await api.get("/health")).text
    monkeypatch.setattr(SqliteStore, "write", write_really)
    found = await _writer_when(api, lambda writer: writer["queued"] == 0 and writer["error"] is None)
    assert found["failing_s"] == 0


async def _writer_when(api: Api, so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return what health says of the writer once it is so."""
    deadline = time.monotonic() + 8
    while not so(found := (await api.get("/health")).json()["writer"]):
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.01)
    return dict(found)
