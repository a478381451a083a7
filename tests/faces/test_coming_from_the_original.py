"""A user of the original program starts ccflare in the same home: nothing has to be said or done."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import ccflare
import original_kit as kit
from harness import Home, running

LIMIT_S = 20


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The original's two files at their default places, open to everybody as it left them."""
    directory = tmp_path / ".config" / "ccflare"
    directory.mkdir(parents=True)
    kit.copy_of_real(directory)
    shutil.copyfile(kit.SETTINGS, directory / "ccflare.json")
    (directory / "ccflare.json").chmod(0o644)
    return directory


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `ccflare` with that home and no other setting."""
    environ = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    environ["PYTHONPATH"] = str(Path(ccflare.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-m", "ccflare", *arguments],
        env=environ, capture_output=True, text=True, timeout=LIMIT_S, check=True,
    )  # fmt: skip


def test_the_list_shows_the_accounts(directory: Path, tmp_path: Path) -> None:
    """Kinds, states and counters are right, stdout is only data, and one line on stderr names the backup."""
    first = run(tmp_path, "--list", "--json")
    (backup,) = kit.backups(directory / "ccflare.db")
    assert {
        row["name"]: (row["kind"], row["state"], row["requests"], row["tier"]) for row in json.loads(first.stdout)
    } == {
        "primary": ("oauth", "active", 75, 5),
        "backup": ("oauth", "rate_limited", 9, 20),
        "console-key": ("api_key", "active", 9, 20),
        "paused-acct": ("oauth", "paused", 0, 1),
    }
    assert re.fullmatch(r"ccflare: Upgraded the original .*accounts: 4, requests: 48.*\n", first.stderr)
    assert str(backup) in first.stderr
    second = run(tmp_path, "--list", "--json")
    assert (second.stdout, second.stderr) == (first.stdout, "")
    assert {stat.S_IMODE(each.stat().st_mode) for each in directory.iterdir()} == {0o600}
    assert {each.name for each in directory.iterdir()} == {"ccflare.db", "ccflare.json", backup.name}


def test_its_settings_are_in_force(directory: Path, tmp_path: Path) -> None:
    """What the original's file says counts, without a complaint, and the file keeps its content."""
    shown = run(tmp_path, "config", "--json")
    values = {row["name"]: row["value"] for row in json.loads(shown.stdout)}
    assert values["session_duration_ms"] == 18_000_000
    assert shown.stderr == ""
    assert (directory / "ccflare.json").read_bytes() == kit.SETTINGS.read_bytes()


def test_a_command_that_changes_something_comes_first(directory: Path, tmp_path: Path) -> None:
    """The upgrade belongs to the opening, not to a command: the change is made to the upgraded database."""
    run(tmp_path, "--pause", "primary")
    assert kit.read(directory / "ccflare.db", "SELECT paused, paused_by FROM accounts WHERE name = 'primary'") == [
        (1, "cli")
    ]


def test_the_server_starts_on_it(tmp_path: Path) -> None:
    """A server upgrades the database as it starts, says so in its log, and knows the accounts."""
    home = Home(tmp_path)
    kit.copy_of_real(tmp_path)
    with running(home) as server:
        accounts = server.health()["accounts"]
        assert (accounts["total"], accounts["active"], accounts["paused"]) == (4, 2, 1)
        line = server.wait_for_log("Upgraded the original ccflare's database")
        assert "WARN: [store]" in line
        assert str(kit.backups(home.database)[0]) in line
