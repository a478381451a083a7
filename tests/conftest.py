"""What all tests share: in CI a skipped test is a failure, because there everything can be installed."""

import os

import hypothesis
import pytest

from ccflare.settings import TABLE

hypothesis.settings.register_profile("suite", deadline=None)  # a busy machine is no finding
hypothesis.settings.load_profile("suite")

_skipped: list[str] = []


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
