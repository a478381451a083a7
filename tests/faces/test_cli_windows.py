"""`ccflare --list` shows the rate-limit windows that a server was told about, whether one runs or not."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ccflare.cli import main
from ccflare.cli.output import instant
from ccflare.forecast import AccountWindows, Aside, KeptWindow, Sample
from ccflare.records import Account, Credentials, Secret
from ccflare.store import Batch, Store, open_store

MINUTE = 60_000


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The database of the commands, with two accounts."""
    monkeypatch.setenv("ccflare_CONFIG_PATH", str(tmp_path / "ccflare.json"))
    monkeypatch.setenv("ccflare_DB_PATH", str(tmp_path / "ccflare.db"))
    opened = open_store(tmp_path / "ccflare.db")
    for name in ("a", "b"):
        opened.add_account(Account(id=name, name=name, created_at_ms=1), Credentials(name, api_key=Secret("k")))
    yield opened
    opened.close()


def test_no_account_has_windows(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """Key accounts have none: the column would be empty, and is not there."""
    main(["--list"])
    assert "windows" not in capsys.readouterr().out
    main(["--list", "--json"])
    assert [row["windows"] for row in json.loads(capsys.readouterr().out)] == [[], []]


def test_windows_are_a_short_column_and_complete_in_json(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    now_ms = int(time.time() * 1000)
    fast = (Sample(now_ms - 30 * MINUTE, 0.2), Sample(now_ms, 0.5))
    windows = (
        KeptWindow("5h", now_ms, 0.5, "allowed", now_ms + 180 * MINUTE, fast),
        KeptWindow("7d", now_ms, 0.13, "allowed_warning", now_ms - 1),
        KeptWindow("7d_opus", now_ms),
    )
    store.write(Batch(windows=[AccountWindows("a", now_ms, windows)]))
    main(["--list"])
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split()[-1] == "windows"
    assert first.endswith("  5h 50%, 7d 0%, 7d_opus -")
    assert second.endswith("  -")
    main(["--list", "--json"])
    five_hours, ended, unknown = json.loads(capsys.readouterr().out)[0]["windows"]
    assert five_hours["runs_out_at"] < five_hours["reset"]
    assert {"name": "5h", "utilization": 0.5, "status": "allowed"}.items() <= five_hours.items()
    empty = {"status": None, "reset": None, "runs_out_at": None}
    assert ended == {"name": "7d", "utilization": 0.0, **empty}
    assert unknown == {"name": "7d_opus", "utilization": None, **empty}


def test_what_is_set_aside_is_shown_with_its_end(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """The state stays active, because everything else is served; what is over is not shown."""
    now_ms = int(time.time() * 1000)
    asides = (
        Aside("claude-opus-4-1", family=False, until_ms=now_ms + MINUTE, reason="429"),
        Aside("haiku", family=True, until_ms=now_ms + MINUTE, reason="429"),
        Aside("sonnet", family=True, until_ms=now_ms - 1, reason="over"),
    )
    store.write(Batch(windows=[AccountWindows("a", now_ms, asides=asides)]))
    main(["--list"])
    head, first, second = capsys.readouterr().out.splitlines()
    until = instant(now_ms + MINUTE)
    assert head.split()[-1] == "set_aside"
    assert first.endswith(f"  claude-opus-4-1 until {until}, haiku models until {until}")
    assert " active " in first
    assert second.endswith("  -")
    main(["--list", "--json"])
    assert json.loads(capsys.readouterr().out)[0]["asides"] == [
        {"model": "claude-opus-4-1", "family": False, "until": until, "reason": "429"},
        {"model": "haiku", "family": True, "until": until, "reason": "429"},
    ]


def test_resuming_says_what_is_tried_again(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """An active account with something set aside is not simply one that is not paused."""
    now_ms = int(time.time() * 1000)
    aside = Aside("haiku", family=True, until_ms=now_ms + MINUTE, reason="429")
    store.write(Batch(windows=[AccountWindows("a", now_ms, asides=(aside,))]))
    main(["--resume", "a"])
    assert capsys.readouterr().err.splitlines() == ["a is tried again for haiku models."]
    assert store.accounts()[0].resumed_at_ms is not None
