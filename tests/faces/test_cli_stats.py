"""`ccflare stats`, `--stats` and `ccflare analytics`: what there was, for people and for programs."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import msgspec
import pytest

from ccflare.analytics import Question, RangeName, Totals, analyse, totals
from ccflare.cli.stats import RANGES
from ccflare.records import Exchange
from ccflare.store import Batch, Store
from ccflare.usage import Usage
from cli_kit import Run, exchange, put

NOW_MS = int(time.time() * 1000)
DAY_MS = 86_400_000


@pytest.fixture
def served(store: Store) -> Store:
    """A store with two accounts and three requests: two of today, one of the week before last."""
    work, other = put(store, "work"), put(store, "other", paused=True)
    usage = Usage(input_tokens=100, cache_read_input_tokens=300, output_tokens=50)
    found: Sequence[Exchange] = (
        exchange(work.id, NOW_MS, model="claude-opus-5-1", usage=usage, cost_microusd=250_000, response_time_ms=900),
        exchange(other.id, NOW_MS, model="claude-haiku-5", status_code=529, success=False, response_time_ms=20),
        exchange(work.id, NOW_MS - 10 * DAY_MS, model="claude-haiku-5", usage=usage, cost_microusd=50_000),
    )
    store.write(Batch(exchanges=[msgspec.structs.replace(each, id=f"r{at}") for at, each in enumerate(found)]))
    return store


def tables(out: str) -> list[list[list[str]]]:
    """The parts of what was printed, as words."""
    return [[line.split() for line in part.splitlines()] for part in out.split("\n\n")]


def fields(out: str) -> Mapping[str, str]:
    """The names and values that come first."""
    return dict(line.split(maxsplit=1) for line in out.split("\n\n", maxsplit=1)[0].splitlines())


@pytest.mark.parametrize("command", [["--stats"], ["--stats", "--json"], ["stats", "--json"]])
def test_json_is_what_the_api_answers(run: Run, served: Store, command: Sequence[str]) -> None:
    """Every field of the totals, in every spelling, and nothing on stderr."""
    said = run(*command)
    assert (said.status, said.err) == (0, "")
    assert json.loads(said.out) == msgspec.to_builtins(totals(served, NOW_MS))
    assert set(Totals.__struct_fields__) == set(json.loads(said.out))


def test_the_totals_for_people(run: Run, served: Store) -> None:
    """What there was in all, then by model and by account with their names."""
    out = run("stats").out
    expected = {
        "usable_accounts": "1 of 2", "requests": "3", "successful": "66.7%", "cost_usd": "0.3000",
        "output_tokens": "100", "cache_hits": "75.0%",
    }  # fmt: skip
    assert expected.items() <= fields(out).items()
    _, models, accounts = tables(out)
    assert models[0][:6] == ["model", "requests", "success", "failovers", "in", "out"]
    assert {row[0]: row[1:6] for row in models[1:]} == {
        "claude-opus-5-1": ["1", "100.0%", "0", "400", "50"],
        "claude-haiku-5": ["2", "50.0%", "0", "400", "50"],
    }
    assert {row[0]: row[1] for row in accounts[1:]} == {"work": "2", "other": "1"}


@pytest.mark.parametrize(
    ("options", "requests"),
    [
        ([], 2),
        (["--range", "30d"], 3),
        (["--model", "claude-haiku"], 1),
        (["--account", "work"], 1),
        (["--account", ""], 0),
        (["--status", "error"], 1),
        (["--status", "200", "--range", "30d", "--account", "work"], 2),
    ],
)
def test_a_period_is_chosen_like_the_history(run: Run, served: Store, options: Sequence[str], requests: int) -> None:
    """The last 24 hours unless it is said otherwise; the table and JSON agree."""
    assert fields(run("analytics", *options).out)["requests"] == str(requests)
    assert json.loads(run("analytics", "--json", *options).out)["overview"]["requests"] == requests


def test_json_of_a_period_is_what_the_api_answers(run: Run, served: Store) -> None:
    """With the series over time."""
    shown: dict[str, Any] = json.loads(run("analytics", "--range", "7d", "--json").out)
    expected = msgspec.to_builtins(analyse(served, Question(range="7d"), NOW_MS))
    assert shown.keys() == expected.keys()
    assert shown["models"] == expected["models"]


def test_every_range_there_is_can_be_asked_for() -> None:
    """The command line knows the ranges without importing what answers them."""
    assert get_args(RangeName) == RANGES


def test_an_empty_history_has_stats(run: Run) -> None:
    """Zero requests, and no rate or time that would have to be invented."""
    said = run("stats")
    assert (said.status, said.err) == (0, "")
    assert fields(said.out)["requests"] == "0"
    assert {"successful", "response_time_ms", "cost_usd", "since"}.isdisjoint(fields(said.out))
    assert json.loads(run("--stats").out)["cost_usd"] is None


def test_what_clients_wrote_cannot_steer_the_terminal(run: Run, store: Store) -> None:
    """The model of a failed request is whatever its client wrote."""
    store.write(Batch(exchanges=[exchange(None, NOW_MS, model="\x1b]0;owned\x07", status_code=404, success=False)]))
    assert "?]0;owned?" in run("stats").out


@pytest.mark.parametrize("columns", [100, 80, 60, 40])
@pytest.mark.parametrize("command", ["stats", "analytics"])
def test_a_narrow_terminal_gets_the_columns_that_fit(
    run: Run, served: Store, monkeypatch: pytest.MonkeyPatch, command: str, columns: int
) -> None:
    """No line of a table is wider than the terminal, whatever a client has written; names and counts stay."""
    served.write(Batch(exchanges=[exchange(None, NOW_MS, model="m" * 600, status_code=404, success=False)]))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    _, *tables = run(command).out.split("\n\n")
    lines = [line for table in tables for line in table.splitlines()]
    assert max(map(len, lines)) <= columns
    assert any(line.split()[:2] == ["model", "requests"] for line in lines)
    assert any("mmm..." in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["analytics", "--range", "2y"], "'2y' is not one of '1h', '6h'"),
        (["analytics", "--status", "bad"], "neither a code from 100 to 599"),
        (["stats", "--json", "reset"], "--json does not go before reset"),
        (["--stats", "--list"], "are two things to do"),
    ],
)
def test_wrong_calls_are_status_2(run: Run, arguments: Sequence[str], message: str) -> None:
    """One line that says what is allowed."""
    said = run(*arguments)
    assert (said.status, said.out) == (2, "")
    assert message in said.line
