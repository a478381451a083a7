"""The demo, as a newcomer runs it."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from ccflare.demo import traffic
from ccflare.demo.traffic import Conversation

HURRIED = """
import sys
from dataclasses import replace
from ccflare.cli import main
from ccflare.demo import show
from ccflare.demo.accounts import SimulatedAccount
from ccflare.demo.budgets import Limits

_, *others = show._accounts()
show._accounts = lambda: (SimulatedAccount("work", limits=Limits(rpm=12, period_s=2)), *others)
show.CONVERSATIONS = tuple(replace(each, pause_s=each.pause_s / 3) for each in show.CONVERSATIONS)
sys.exit(main(["demo"]))
"""
"""The demo with people who think more quickly, and a limit that ends as much earlier."""


def test_the_demo_shows_the_main_job(tmp_path: Path) -> None:
    """`ccflare demo` runs real traffic; one account meets its limit and serves again; nobody sees a failure."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", HURRIED],
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    limited = next(n for n, line in enumerate(lines) if "work: 429" in line)
    assert any(re.search(r" work +200 ", line) for line in lines[limited:]), "the limited account came back"
    assert re.search(r"66 requests; [1-9]\d* of them moved to another account", done.stdout)
    assert "0 failed for the client" in done.stdout
    assert list(tmp_path.iterdir()) == [], "nothing is left in the home directory"
    assert re.search(r"Dashboard: http://127\.0\.0\.1:\d+/\?range=1h +\(until the table is shown\)", done.stdout)
    assert re.search(r" new | first by priority| its session's account", done.stdout)


def test_on_a_terminal_it_stays_with_its_dashboard_until_it_is_ended(tmp_path: Path) -> None:
    """The address is told at the beginning and serves; Ctrl+C ends everything, and nothing is left."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path), "COLUMNS": "150"}
    reader, terminal = os.openpty()
    command = [sys.executable, "-m", "ccflare", "demo"]
    process = subprocess.Popen(command, env=environment, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    try:
        [address] = until(reader, rb"Dashboard: (http://127\.0\.0\.1:\d+)/\?range=1h +\(until Ctrl\+C\)")
        with urllib.request.urlopen(f"{address.decode()}/health", timeout=10) as answer:
            assert json.load(answer)["accounts"]["total"] == 3
        with urllib.request.urlopen(f"{address.decode()}/api/accounts", timeout=10) as answer:
            assert [account["name"] for account in json.load(answer)] == ["work", "home", "spare"]
        process.send_signal(signal.SIGINT)
        until(reader, rb"The demo ends; nothing of it is left\.()")
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reader)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{address.decode()}/health", timeout=10)


def until(reader: int, pattern: bytes) -> tuple[bytes, ...]:
    """Read a terminal until something is told; return its groups."""
    text, give_up = b"", time.monotonic() + 60
    while time.monotonic() < give_up:
        if select.select([reader], [], [], 1)[0]:
            text += os.read(reader, 65536)
        if found := re.search(pattern, text):
            return found.groups()
    raise AssertionError(text.decode(errors="replace"))


def test_its_traffic_afterwards_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo that is forgotten does not fill the disk: conversations are slow, and end; on a word at once."""
    held: list[Conversation] = []

    def hold(conversation: Conversation, _base_url: str, _stop: threading.Event) -> int:
        held.append(conversation)
        return 1

    monkeypatch.setattr(traffic, "converse", hold)
    stop = threading.Event()
    assert traffic.keep_talking(traffic.CONVERSATIONS[0], "http://127.0.0.1", stop) == traffic.GENTLE_ROUNDS
    assert {each.pause_s for each in held} == {traffic.GENTLE_PAUSE_S}
    assert sum(each.turns for each in held) < 2_000
    stop.set()
    assert traffic.keep_talking(traffic.CONVERSATIONS[0], "http://127.0.0.1", stop) == 0
