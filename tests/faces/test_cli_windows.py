"""`ccflare --list` shows the rate-limit windows that a server was told about, whether one runs or not."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ccflare.cli import main
from ccflare.forecast import AccountWindows, KeptWindow, Sample
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
