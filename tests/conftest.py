"""What all tests share: in CI a skipped test is a failure, because there everything can be installed."""

import os
import shutil
import signal
from pathlib import Path

import hypothesis
import pytest

from ccflare.settings import TABLE

hypothesis.settings.register_profile("suite", deadline=None)  # a busy machine is no finding
hypothesis.settings.load_profile("suite")

_skipped: list[str] = []

_MEMORY = Path("/dev/shm")
"""A file system without a disk: half of the suite's time was waiting for one, and no test pulls the plug of it."""
_ROOM_BYTES = 1_500_000_000
"""The suite needs some 200 MB at a time; what fails stays there."""


def pytest_configure() -> None:
    """Have the tests' directories in memory where there is room, and programs that can be interrupted.

    A shell has what it runs in the background ignore interrupts, and everything that is started there inherits that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))


@pytest.fixture(autouse=True)
def _no_settings_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees, or writes to, what the environment of whoever runs it names."""
    names = {"XDG_CONFIG_HOME", "ccflare_CONFIG_PATH", "CCFLARE_CONFIG_PATH", "NO_COLOR"}
    for name in names.union(*(row.variables for row in TABLE)):
        monkeypatch.delenv(name, raising=False)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Collect what was skipped."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _skipped.append(f"{report.nodeid}: {reason}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run in CI when something was skipped."""
    if os.environ.get("CI") and _skipped and not hasattr(session.config, "workerinput"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why."""
    if os.environ.get("CI") and _skipped:
        terminalreporter.section("skipped, which is a failure in CI")
        for line in _skipped:
            terminalreporter.line(line)
