"""A log for the tests of what is logged."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ccflare import logs
from ccflare.logs import Log
from log_kit import Start


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a log below a fresh directory and close it at the end."""
    running: list[Log] = []

    def begin(**options: Any) -> Log:
        running.append(logs.start(options.pop("directory", tmp_path / "logs"), **options))
        return running[-1]

    yield begin
    for log in reversed(running):
        log.close()
