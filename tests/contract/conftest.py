"""A database for the tests of what is kept in one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ccflare.store import Store, open_store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ccflare.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    made = open_store(path)
    yield made
    made.close()
