"""What every store keeps about objects and prices."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ccflare.records import Account, Credentials, Owned, Secret
from ccflare.store import Batch, Store, open_store


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    """Two connections to one database with the accounts `a` and `b`."""
    opened = [open_store(tmp_path / "ccflare.db", busy_timeout_s=0.2) for _ in range(2)]
    for name in "ab":
        account = Account(id=name, name=name, created_at_ms=1)
        opened[0].add_account(account, Credentials(name, api_key=Secret("sk-ant-api03-x")))
    yield opened[0], opened[1]
    for store in opened:
        store.close()


def test_owners_are_written_with_a_batch_and_seen_by_others(stores: tuple[Store, Store]) -> None:
    """The latest word on an object counts, and what was used last is loaded first."""
    first, second = stores
    first.write(Batch(owners=[Owned("file_1", "a", 10), Owned("file_2", "b", 20), Owned("file_1", "b", 30)]))
    assert second.owners.load(10) == [Owned("file_1", "b", 30), Owned("file_2", "b", 20)]
    assert second.owners.load(1) == [Owned("file_1", "b", 30)]
    assert second.owners.load(10, used_since_ms=25) == [Owned("file_1", "b", 30)]


def test_a_deleted_object_goes(stores: tuple[Store, Store]) -> None:
    """Whether it was kept before or not."""
    store, _ = stores
    store.write(Batch(owners=[Owned("file_1", "a", 10), Owned("file_2", "a", 10)]))
    store.write(Batch(owners=[Owned("file_1", None, 11), Owned("file_9", None, 11)]))
    assert store.owners.load(10) == [Owned("file_2", "a", 10)]


def test_many_objects_are_written_at_once(stores: tuple[Store, Store]) -> None:
    """More than one statement takes."""
    store, _ = stores
    store.write(Batch(owners=[Owned(f"file_{number}", "ab"[number % 2], number) for number in range(1300)]))
    assert len(store.owners.load(2000)) == 1300


def test_objects_go_with_their_account(stores: tuple[Store, Store]) -> None:
    """And what a server still had to say about them does not come back."""
    store, _ = stores
    store.write(Batch(owners=[Owned("file_1", "a", 10), Owned("file_2", "b", 10)]))
    store.remove_account("a")
    store.write(Batch(owners=[Owned("file_3", "a", 11)]))
    assert store.owners.load(10) == [Owned("file_2", "b", 10)]


def test_what_was_not_used_for_long_is_forgotten_in_steps(stores: tuple[Store, Store]) -> None:
    """The oldest first, no more than asked for."""
    store, _ = stores
    store.write(Batch(owners=[Owned(f"file_{at}", "a", at) for at in range(10)]))
    assert store.owners.forget(5, at_most=3) == 3
    assert [owned.used_at_ms for owned in store.owners.load(10)] == [9, 8, 7, 6, 5, 4, 3]
    assert store.owners.forget(5) == 2
    assert store.owners.forget(5) == 0


def test_the_latest_prices_are_kept_once(stores: tuple[Store, Store]) -> None:
    """Nothing at first, then what was kept last, the same for every process."""
    first, second = stores
    assert first.prices.kept() is None
    first.prices.keep(b'{"models":1}', 1000)
    second.prices.keep(b'{"models":2}', 2000)
    assert first.prices.kept() == second.prices.kept() == (b'{"models":2}', 2000)
