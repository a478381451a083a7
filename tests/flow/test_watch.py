"""What the writer tells of changes that others make to the store is never older than what was told before."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from ccflare.journal.watch import WatchedStore
from ccflare.records import Account, Credentials, Secret
from ccflare.store import AccountChange, Store, open_store


class Overtaken:
    """A watched store; whenever its accounts have been read somebody renames one, as long as there are names."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self.told: list[list[str]] = []
        self.other = open_store(path)
        self.other.add_account(
            Account(id="id", name="first", created_at_ms=1), Credentials("id", api_key=Secret("sk-ant-api03-x"))
        )
        self._path, self._monkeypatch = path, monkeypatch
        self.watched = WatchedStore(self._open, asyncio.get_running_loop(), self._on_accounts)

    def _open(self) -> Store:
        store = open_store(self._path)
        read = store.credentials

        def credentials() -> dict[str, Credentials]:
            found = read()
            if self.names:
                self.other.update_account("id", AccountChange(name=self.names.pop(0)))
            return found

        self._monkeypatch.setattr(store, "credentials", credentials)
        return store

    def _on_accounts(self, accounts: list[Account], _credentials: dict[str, Credentials]) -> None:
        self.told.append([each.name for each in accounts])

    async def look(self) -> list[list[str]]:
        """Look once; return what was told of it."""
        self.told.clear()
        self.watched.look()
        await asyncio.sleep(0)
        return list(self.told)


@pytest.fixture
async def overtaken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Overtaken]:
    made = Overtaken(tmp_path / "ccflare.db", monkeypatch)
    with closing(made.other):
        yield made
    made.watched.close()


async def test_what_was_read_before_a_change_is_not_told_behind_it(overtaken: Overtaken) -> None:
    """Whoever made the change may have told it already."""
    overtaken.names = ["second"]
    assert await overtaken.look() == [["second"]]
    assert await overtaken.look() == []


async def test_one_who_changes_it_all_the_time_does_not_keep_it_from_being_told(overtaken: Overtaken) -> None:
    """Something is told by every look, and at last the last."""
    overtaken.names = [f"name-{number}" for number in range(10)]
    looks = [await overtaken.look() for _ in range(5)]
    assert all(looks[:4])
    assert [each for look in looks for each in look][-1] == ["name-9"]
