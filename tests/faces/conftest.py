"""What the tests of the command line have in common."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ccflare.store import Store, open_store
from cli_kit import Run, Said


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory, and an environment that says nothing else."""
    for name in ("XDG_CONFIG_HOME", "ccflare_DEBUG", "CCFLARE_DEBUG", "NO_COLOR", "PORT", "LB_STRATEGY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CCFLARE_LOG_DIR", str(tmp_path / "logs"))
    monkeypatch.setenv("TERM", "xterm")
    return tmp_path


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `ccflare` with some arguments and standard input."""

    from ccflare.cli import main

    def run_it(*arguments: str, stdin: str | bytes = b"", terminal: bool = False) -> Said:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        fake = io.TextIOWrapper(io.BytesIO(data))
        if terminal:
            monkeypatch.setattr(fake, "isatty", lambda: True)
        monkeypatch.setattr(sys, "stdin", fake)
        status = main(arguments)
        return Said(status, *capsys.readouterr())

    return run_it


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    """The test's own connection to the database that the commands use."""
    opened = open_store(home / ".config" / "ccflare" / "ccflare.db")
    yield opened
    opened.close()
