"""`ccflare history` and `--clear-history`: which requests there were, what became of one, and forgetting them."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from ccflare.choice import Choice
from ccflare.cli.instants import read_instant
from ccflare.cli.output import instant
from ccflare.payload import Content, Payload
from ccflare.records import Attempt, Exchange
from ccflare.store import Batch, Store
from ccflare.usage import Usage
from cli_kit import Run, exchange, put

NOW_MS = int(time.time() * 1000)
HOUR_MS = 3_600_000


@pytest.fixture
def kept(store: Store) -> dict[str, Exchange]:
    """Four requests of the last hours: served, refused, by an account that is gone, and by none."""
    work, gone = put(store, "work"), put(store, "gone")
    usage = Usage(model="claude-opus-5-1", input_tokens=10, cache_read_input_tokens=500, output_tokens=20)
    attempts = (
        Attempt(gone.id, "next", 429, 12, reason="the 5h window is used up"),
        Attempt(work.id, "deliver", 200, 345, wait_ms=7, choice=Choice("stand_in", gone.id, NOW_MS)),
    )
    found = {
        "served": exchange(work.id, NOW_MS - HOUR_MS, response_time_ms=357, model="claude-opus-5-1", usage=usage,
                           cost_microusd=123_400, attempts=attempts),
        "refused": exchange(work.id, NOW_MS - 2 * HOUR_MS, status_code=529, success=False, model="claude-haiku-5",
                            error_message="overloaded\x1b[2J"),
        "gone": exchange(gone.id, NOW_MS - 3 * HOUR_MS, model="claude-opus-5-2"),
        "unserved": exchange(None, NOW_MS - 4 * HOUR_MS, status_code=502, success=False, error_message="no account"),
    }  # fmt: skip
    found = {name: msgspec.structs.replace(each, id=name) for name, each in found.items()}
    store.write(Batch(exchanges=list(found.values())))
    store.remove_account(gone.id)
    return found


def ids(run: Run, *options: str) -> list[str]:
    """The ids that `history` lists."""
    return [row["id"] for row in json.loads(run("history", "--json", *options).out)]


# Listing


def test_the_newest_requests_come_first(run: Run, kept: Mapping[str, Exchange]) -> None:
    """The table has time, status, account, model, tokens of the whole input, cost, duration, and why it failed."""
    said = run("history")
    assert (said.status, said.err) == (0, "")
    head, *lines = said.out.splitlines()
    assert head.split() == ["id", "time", "status", "account", "model", "in", "out", "cost", "ms", "error"]
    assert [line.split()[0] for line in lines] == ["served", "refused", "gone", "unserved"]
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime((NOW_MS - HOUR_MS) // 1000))
    assert lines[0].split() == ["served", at, "200", "work", "claude-opus-5-1", "510", "20", "0.1234", "357", "-"]
    assert lines[1].endswith("overloaded?[2J")
    assert lines[2].split()[3] == "gone"
    assert lines[3].split()[3] == "-"


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--limit", "2"], ["served", "refused"]),
        (["--status", "error"], ["refused", "unserved"]),
        (["--status", "success"], ["served", "gone"]),
        (["--status", "529"], ["refused"]),
        (["--status", "server_error"], ["unserved"]),
        (["--account", "work"], ["served", "refused"]),
        (["--account", "gone"], ["gone"]),
        (["--account", ""], ["unserved"]),
        (["--model", "claude-opus-5"], ["served", "gone"]),
        (["--model", "claude-opus-5-2"], ["gone"]),
        (["--from", "90m"], ["served"]),
        (["--from", "150m", "--to", "90m"], ["refused"]),
        (["--to", str(NOW_MS - 3 * HOUR_MS)], ["unserved"]),
        (["--account", "work", "--status", "error", "--model", "claude-haiku-5"], ["refused"]),
        (["--account", "work", "--model", "claude-opus-5-2"], []),
    ],
)
def test_requests_are_chosen_by_what_is_known_of_them(
    run: Run, kept: Mapping[str, Exchange], options: Sequence[str], wanted: Sequence[str]
) -> None:
    """Each option alone and together; an account may be removed, or none at all."""
    assert ids(run, *options) == wanted


def test_an_empty_history_is_said(run: Run) -> None:
    """stdout stays empty for programs, or is an empty list; it is no failure."""
    said = run("history", "--status", "error")
    assert (said.status, said.out) == (0, "")
    assert "no such requests" in said.line
    assert ids(run) == []


def test_a_name_that_is_used_again_means_the_account_that_has_it_now(run: Run, store: Store) -> None:
    """The removed account's requests are still listed, only not by the name that another one has."""
    first = put(store, "a")
    store.write(Batch(exchanges=[exchange(first.id, NOW_MS, id="old")]))
    store.remove_account(first.id)
    second = msgspec.structs.replace(first, id="id-second")
    put(store, "a", id=second.id)
    store.write(Batch(exchanges=[exchange(second.id, NOW_MS, id="new")]))
    assert ids(run, "--account", "a") == ["new"]
    assert sorted(ids(run)) == ["new", "old"]


def test_a_small_cost_is_told_from_none(run: Run, store: Store) -> None:
    """Two digits wherever they stand; what cost nothing is a plain zero, what is not known a dash."""
    costs = {"small": 10, "dearer": 1_200, "none": 0, "dear": 12_345, "unknown": None}
    rows = [exchange(None, NOW_MS - at, id=name, cost_microusd=cost) for at, (name, cost) in enumerate(costs.items())]
    store.write(Batch(exchanges=rows))
    head, *lines = (line.split() for line in run("history").out.splitlines())
    shown = {line[0]: line[head.index("cost")] for line in lines}
    assert shown == {"small": "0.00001", "dearer": "0.0012", "none": "0", "dear": "0.0123", "unknown": "-"}
    assert "cost_usd          0.00001\n" in run("history", "show", "small").out


@pytest.mark.parametrize("letter", ["m", "7"])
@pytest.mark.parametrize("columns", [160, 100, 80, 60, 40])
def test_what_is_too_long_is_cut_wherever_it_stands(
    run: Run, store: Store, monkeypatch: pytest.MonkeyPatch, columns: int, letter: str
) -> None:
    """One request of an absurd model makes no line wider than the terminal; pipes and programs get all of it."""
    model, name = letter * 600, "a" * 64
    put(store, name)
    row = exchange(f"id-{name}", NOW_MS, id="odd", model=model, error_message="no such model " * 20, success=False)
    store.write(Batch(exchanges=[row, exchange(None, NOW_MS - 1, id="plain")]))
    assert model in run("history").out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    head, *lines = run("history").out.splitlines()
    assert max(map(len, (head, *lines))) <= columns
    assert {"time", "status", "error"} <= set(head.split())
    assert (f"{letter}..." in lines[0]) == ("model" in head.split())
    assert "model" in head.split() or columns < 160
    assert lines[0].endswith("...")
    assert model in run("history", "--json").out


@pytest.mark.parametrize(("columns", "shown"), [(200, "id"), (100, "time"), (40, "time")])
def test_a_narrow_terminal_gets_the_columns_that_fit(
    run: Run, kept: Mapping[str, Exchange], monkeypatch: pytest.MonkeyPatch, columns: int, shown: str
) -> None:
    """No line is wider than the terminal has room for, and the reason of a failure stays; a pipe gets everything."""
    whole = run("history").out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = run("history").out.splitlines()
    assert lines[0].startswith(shown)
    assert lines[0].endswith("error")
    assert max(map(len, lines)) <= columns
    assert whole.startswith("id ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--limit", "0"], "0 is not in the range"),
        (["--limit", "many"], "'many' is not a valid integer"),
        (["--status", "99"], "neither a code from 100 to 599 nor one of error, success"),
        (["--status", "bad"], "neither a code"),
        (["--status", "\u0662\u0660\u0660"], "neither a code"),
        (["--from", "yesterday"], "'yesterday' is no time"),
        (["--to", "9" * 30], "is no time"),
        (["--json", "show", "served"], "--json does not go before show"),
        (["frobnicate"], "No such command 'frobnicate'"),
        (["show"], "Missing argument"),
    ],
)
def test_bad_values_are_one_line_and_status_2(run: Run, arguments: Sequence[str], message: str) -> None:
    """With what is allowed, before any database is made."""
    said = run("history", *arguments)
    assert (said.status, said.out) == (2, "")
    assert message in said.line


def test_an_unknown_account_is_status_1(run: Run, kept: Mapping[str, Exchange]) -> None:
    """And the names there are."""
    said = run("history", "--account", "Wrok")
    assert (said.status, said.out) == (1, "")
    assert said.line == "ccflare: there is no account named 'Wrok' in the history; there are: gone, work"


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("30s", -30_000),
        ("90m", -90 * 60_000),
        ("2h", -2 * HOUR_MS),
        ("3d", -72 * HOUR_MS),
        ("1w", -168 * HOUR_MS),
        ("1767225600000", 1_767_225_600_000),
        ("2026-01-01", 1_767_225_600_000),
        ("2026-01-01T00:00:00Z", 1_767_225_600_000),
        ("2026-01-01 01:00:00.500+01:00", 1_767_225_600_500),
        ("1969-12-31T23:59:59Z", -1_000),
    ],
)
def test_times_are_instants_or_so_long_ago(text: str, at_ms: int) -> None:
    """An instant without an offset is UTC."""
    now_ms = 1_000_000_000_000 if at_ms > 0 or at_ms == -1_000 else 0
    assert read_instant(text, now_ms) == at_ms


@pytest.mark.parametrize(
    "text", ["", "now", "-2h", "2 h", "2y", "12345", "2026-13-01", "\u0661h", "1" * 15, "0001-01-00"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    """In words that show what is one."""
    with pytest.raises(ValueError, match="2h or 3d for so long ago"):
        read_instant(text, 0)


# One request


def test_one_request_is_shown_with_all_that_is_known(run: Run, kept: Mapping[str, Exchange]) -> None:
    """Its attempts with the names of their accounts, what each took and why it was not delivered, and its usage."""
    said = run("history", "show", "served")
    assert (said.status, said.err) == (0, "")
    fields = dict(line.split(maxsplit=1) for line in said.out.split("\n\n")[0].splitlines())
    expected = {"account": "work", "status_code": "200", "success": "yes", "cost_usd": "0.1234", "output_tokens": "20"}
    assert expected.items() <= fields.items()
    attempts = said.out.split("\n\n")[1].splitlines()
    assert attempts[0].split() == ["account", "why", "verdict", "status", "wait_ms", "duration_ms", "reason"]
    assert attempts[1].split(maxsplit=6) == ["gone", "-", "next", "429", "0", "12", "the 5h window is used up"]
    assert f" it stands in for its session's account gone, back at {instant(NOW_MS)} " in attempts[2]
    assert attempts[2].split()[-5:] == ["deliver", "200", "7", "345", "-"]


def test_the_word_last_means_the_newest_request(run: Run, kept: Mapping[str, Exchange]) -> None:
    """So that nobody has to copy an id."""
    assert json.loads(run("history", "show", "last", "--json").out)["id"] == "served"


def test_json_has_every_field_of_the_record(run: Run, kept: Mapping[str, Exchange]) -> None:
    """With names, the time as ISO 8601 and the cost in dollars besides; the list has the same."""
    shown = json.loads(run("history", "show", "served", "--json").out)
    assert set(Exchange.__struct_fields__) | {"timestamp", "account", "client_key", "cost_usd"} == set(shown)
    assert (shown["cost_microusd"], shown["cost_usd"], shown["timestamp_ms"]) == (123_400, 0.1234, NOW_MS - HOUR_MS)
    assert shown["usage"]["cache_read_input_tokens"] == 500
    assert shown["attempts"][0] == {
        "account": "gone", "account_id": "id-gone", "verdict": "next", "status": 429, "duration_ms": 12, "wait_ms": 0,
        "reason": "the 5h window is used up", "why": None, "choice": None,
    }  # fmt: skip
    assert shown["attempts"][1]["choice"] == {"why": "stand_in", "instead_of": "id-gone", "until_ms": NOW_MS}
    assert json.loads(run("history", "--json", "--limit", "1").out) == [shown]


@pytest.mark.parametrize("wanted", ["nope", "last"])
def test_an_unknown_request_is_status_1(run: Run, wanted: str) -> None:
    """The newest of none is unknown too."""
    said = run("history", "show", wanted)
    assert (said.status, said.out) == (1, "")
    assert f"there is no request '{wanted}' in the history" in said.line


# What was captured


def captured(store: Store, **fields: Any) -> None:
    """Keep something for the request `served`."""
    payload = Payload(id="served", timestamp_ms=NOW_MS, target="/v1/messages?beta=true", status=200)
    assert store.payloads.write([msgspec.structs.replace(payload, **fields)], budget_bytes=1 << 30) == 1


def test_what_was_said_is_shown_as_text(run: Run, store: Store, kept: Mapping[str, Exchange]) -> None:
    """Heads as they were, bodies line by line without their coding, and nothing that steers a terminal."""
    import gzip

    squeezed = gzip.compress('{"text": "Grüße"}\n\x1b[2Jsecond line'.encode())
    captured(
        store,
        request_head=b"X-Api-Key: ***\nContent-Type: application/json\n",
        request=Content(b'{"model": "m"}', 14),
        response_head=b"Content-Encoding: gzip\nx-evil: \x1b]0;owned\x07\n",
        response=Content(squeezed, len(squeezed)),
    )
    out = run("history", "show", "served", "--payload").out
    assert (
        'Request to /v1/messages?beta=true\n  X-Api-Key: ***\n  Content-Type: application/json\n\n{"model": "m"}' in out
    )
    assert (
        'Answer with status 200\n  Content-Encoding: gzip\n  x-evil: ?]0;owned?\n\n{"text": "Grüße"}\n?[2Jsecond' in out
    )
    shown = json.loads(run("history", "show", "served", "--payload", "--json").out)["payload"]
    assert shown["request"]["headers"][0] == ["X-Api-Key", "***"]
    assert shown["response"]["body"] == '{"text": "Grüße"}\n\x1b[2Jsecond line'
    assert shown["response"]["body_bytes"] == len(squeezed)


@pytest.mark.parametrize(
    ("coding", "content", "text", "remark"),
    [
        ("identity", Content(b"\xff\xd8\x00", 3), None, "(3 bytes that are no text)"),
        ("identity", Content("Grü".encode()[:-1], 4_000_000), "Gr", "(cut; there were 4000000 bytes)"),
        ("gzip", Content(b"no gzip", 7), None, "(7 bytes that are no text)"),
        ("unheard-of", Content(b"x", 1), None, "(1 bytes that are no text)"),
    ],
)
def test_a_body_that_is_no_text_is_said(
    run: Run, store: Store, coding: str, content: Content, text: str | None, remark: str
) -> None:
    """JSON has it in base64; one that was cut shows what there is and how much there was."""
    store.write(Batch(exchanges=[exchange(None, NOW_MS, id="served")]))
    captured(store, response_head=f"content-encoding: {coding}\n".encode(), response=content)
    assert remark in run("history", "show", "served", "--payload").out
    shown = json.loads(run("history", "show", "served", "--payload", "--json").out)["payload"]["response"]
    assert (shown["body"], shown["truncated"]) == (text, content.truncated)
    assert (shown["body_base64"] is None) == (text is not None)


def test_that_nothing_was_captured_is_said(run: Run, kept: Mapping[str, Exchange]) -> None:
    """The rest is shown all the same."""
    said = run("history", "show", "served", "--payload")
    assert said.status == 0
    assert "What was said is not kept" in said.line
    assert json.loads(run("history", "show", "served", "--payload", "--json").out)["payload"] is None


# Forgetting


@pytest.mark.parametrize("command", [["--clear-history"], ["history", "clear"], ["history", "clear", "--yes"]])
def test_clearing_deletes_everything_but_the_accounts(
    run: Run, store: Store, kept: Mapping[str, Exchange], command: Sequence[str]
) -> None:
    """Rows, what was captured and the sums; it says how many requests there were, and can be done again."""
    captured(store)
    said = run(*command)
    assert (said.status, said.out) == (0, "")
    assert said.line == "Deleted the history of 4 requests. The accounts are as they were."
    assert ids(run) == []
    assert store.payloads.read("served") is None
    assert store.history.models() == []
    assert [account.name for account in store.accounts()] == ["work"]
    assert "0 requests" in run(*command).line


def test_clearing_asks_on_a_terminal(run: Run, store: Store, kept: Mapping[str, Exchange]) -> None:
    """A no leaves everything; the flag and --yes do not ask."""
    refused = run("history", "clear", terminal=True, stdin="n\n")
    assert (refused.status, "the history was not deleted" in refused.err) == (1, True)
    assert "of 4 requests?" in refused.err
    assert len(ids(run)) == 4
    assert run("history", "clear", terminal=True, stdin="y\n").status == 0
    assert ids(run) == []
    for command in (["--clear-history"], ["history", "clear", "--yes"]):
        assert run(*command, terminal=True).status == 0
