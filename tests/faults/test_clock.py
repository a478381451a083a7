"""A wall clock that jumps an hour while a server runs: limits, sessions and rows stay sane."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from faultcase import assert_states, attempts_of
from harness import ROOT, Home, Server, Upstream, ask, assert_at_rest, assert_upstream_clean, eventually, running
from harness import messages as messages_of

HOUR_S = 3600.0
OFFSET = """
import os, time
_real, _file = time.time, os.environ["TEST_CLOCK"]
def _shifted():
    try:
        with open(_file) as file:
            return _real() + float(file.read() or 0)
    except OSError:
        return _real()
time.time = _shifted
time.time_ns = lambda: int(_shifted() * 1e9)
"""
"""Loaded by the interpreter of the server before anything else: its wall clock is off by what a file says."""


@dataclass(slots=True)
class Clock:
    """The wall clock of a server."""

    file: Path

    def set(self, offset_s: float) -> None:
        """Have it differ from the machine's."""
        draft = self.file.with_suffix(".new")
        draft.write_text(str(offset_s))
        draft.replace(self.file)


@dataclass(slots=True)
class Scene:
    """A server whose clock can be set."""

    home: Home
    server: Server
    clock: Clock

    def ask(self, session: str | None = None) -> int:
        """Ask and return the status."""
        return ask(self.server.port, messages_of(), session=session).status


@pytest.fixture
def scene(make_home: Any, tmp_path: Path, upstream: Upstream) -> Iterator[Scene]:
    """A server whose clock is right for now."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(OFFSET)
    clock = Clock(site / "offset")
    clock.set(0)
    home = make_home({"PYTHONPATH": f"{site}:{ROOT / 'src'}", "TEST_CLOCK": str(clock.file)})
    with running(home) as server:
        yield Scene(home, server, clock)
        assert_at_rest(server, upstream)
        assert_upstream_clean(upstream)


def test_an_hour_ahead(scene: Scene, upstream: Upstream) -> None:
    """Limits that have ended meanwhile are over, what the clock leapt over is no duration, and nothing is deleted."""
    upstream.faults(alpha={"status": 429, "retry_after": 600})
    assert scene.ask("s") == 200
    assert_states(scene.home, {"alpha": "rate_limited", "beta": "active"})
    upstream.forget()
    scene.clock.set(HOUR_S)
    assert scene.ask() == 200
    scene.server.wait_for_log("The clock went ahead by 3600 s")
    limited, served = scene.home.rows_when(2)
    assert attempts_of(scene.home, limited) == "alpha next 429, beta deliver 200"
    assert attempts_of(scene.home, served) == "alpha deliver 200"
    assert served["timestamp"] - limited["timestamp"] >= HOUR_S * 1000
    assert all(0 <= row["response_time_ms"] < 20_000 for row in (limited, served))
    assert scene.server.health()["uptime"] < 60_000


def test_an_hour_back(scene: Scene, upstream: Upstream) -> None:
    """A limit of ten minutes stays one of ten minutes, a session stays where it is, and no duration is negative."""
    upstream.faults(alpha={"status": 429, "retry_after": 600})
    assert scene.ask("s") == 200
    before_ms = eventually(lambda: scene.home.limited_until_ms("alpha") or 0)
    upstream.forget()
    scene.clock.set(-HOUR_S)
    scene.server.wait_for_log("The clock was set back by 3600 s")
    after_ms = eventually(lambda: _if_other(scene.home.limited_until_ms("alpha"), before_ms))
    assert abs(before_ms - after_ms - HOUR_S * 1000) < 1000
    assert scene.ask("s") == 200
    later, earlier = scene.home.rows_when(2)
    assert attempts_of(scene.home, later) == "beta deliver 200"
    assert attempts_of(scene.home, earlier) == "alpha next 429, beta deliver 200"
    assert all(0 <= row["response_time_ms"] < 20_000 for row in (earlier, later))
    scene.clock.set(0)
    scene.server.wait_for_log("The clock went ahead by 3600 s")
    assert scene.ask("s") == 200
    assert_states(_with_real_clock(scene.home), {"alpha": "active", "beta": "active"})


def _if_other(found: int | None, before: int) -> int:
    return found if found and found != before else 0


def _with_real_clock(home: Home) -> Home:
    """By the machine's clock the limit ended an hour ago: it was moved with the clock and not moved again."""
    assert (home.limited_until_ms("alpha") or 0) < time.time() * 1000
    return home
