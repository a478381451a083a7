"""Who owns what, and who may serve a request that names it."""

import tracemalloc

from ccflare.limits import SetAside
from ccflare.pool import Ask, Pool
from ccflare.pool.owners import USE_SAVED_EVERY_MS, Owners
from ccflare.records import Owned
from pool_kit import HAIKU, HOUR, NOW, account, limit, names, pool_of

FILE, FILE_2, BATCH = "file_1", "file_2", "msgbatch_1"


def owners_of(most: int = 10, **owned: str) -> Owners:
    owners = Owners(most)
    for object_id, account_id in owned.items():
        owners.note(account_id, [object_id], NOW)
    return owners


def known(owners: Owners, *object_ids: str) -> dict[str, list[str]]:
    return {object_id: owners.accounts_of([object_id], NOW) for object_id in object_ids}


# The table.


def test_an_object_belongs_to_who_showed_it_first() -> None:
    """A later sighting elsewhere takes nothing away."""
    owners = owners_of(file_1="a")
    owners.note("b", [FILE, FILE_2], NOW)
    assert known(owners, FILE, FILE_2, "file_3") == {FILE: ["a"], FILE_2: ["b"], "file_3": []}
    assert owners.accounts_of(["file_3", FILE_2, FILE, FILE_2], NOW) == ["b", "a"]


def test_the_object_used_longest_ago_is_forgotten_first() -> None:
    """Being asked for and being shown again both count as use; the bound always holds."""
    owners = owners_of(3, file_1="a", file_2="a", file_3="a")
    owners.accounts_of([FILE], NOW)
    owners.note("a", ["file_2"], NOW)
    owners.note("a", ["file_4"], NOW)
    assert list(known(owners, FILE, FILE_2, "file_3", "file_4").values()) == [["a"], ["a"], [], ["a"]]
    assert len(owners) == 3


def test_kinds_are_those_of_the_known_ids() -> None:
    """As long as nothing is known, nothing need be looked for."""
    owners = owners_of(2)
    assert not owners.kinds
    owners.note("a", [BATCH, FILE], NOW)
    assert set(owners.kinds) == {"msgbatch", "file"}
    owners.note("a", [FILE_2], NOW)
    assert set(owners.kinds) == {"file"}
    owners.forget(FILE)
    owners.forget(FILE_2)
    owners.forget("file_never")
    assert not owners.kinds


def test_changes_are_handed_over_once() -> None:
    """What was learnt and what was deleted; use only when the stored instant is a day old."""
    owners = owners_of(file_1="a", file_2="a")
    owners.forget(FILE_2)
    assert owners.take_changes() == (Owned(FILE, "a", NOW), Owned(FILE_2, None, NOW))
    owners.note("b", [FILE], NOW + 1)
    owners.accounts_of([FILE], NOW + USE_SAVED_EVERY_MS - 1)
    assert owners.take_changes() == ()
    later = NOW + USE_SAVED_EVERY_MS
    owners.accounts_of([FILE], later)
    assert owners.take_changes() == (Owned(FILE, "a", later),)


def test_what_was_kept_comes_back_in_the_order_of_use() -> None:
    """Of more than fit, those used last; what is known already is not overwritten."""
    owners = owners_of(3, file_1="a")
    owners.take_changes()
    owners.restore([Owned("file_3", "b", NOW), Owned(FILE, "b", NOW), Owned("file_2", "b", NOW - 1)])
    assert owners.take_changes() == ()
    assert known(owners, FILE) == {FILE: ["a"]}
    owners.note("a", ["file_4"], NOW)
    assert list(known(owners, FILE, "file_2", "file_3", "file_4").values()) == [["a"], [], ["b"], ["a"]]


def test_an_object_takes_little_memory() -> None:
    """A hundred thousand of them stay far below what a server may take."""
    owners = Owners(100_000)
    tracemalloc.start()
    for number in range(20_000):
        owners.note("account-id", [f"file_01{number:022d}"], NOW)
    owners.take_changes()
    each = tracemalloc.get_traced_memory()[0] / 20_000
    tracemalloc.stop()
    assert each < 400


# The pool.


def asked(pool: Pool, object_id: str, session: str | None = None, model: str | None = None) -> Ask:
    (owner, *_) = [*pool.owners.accounts_of([object_id], NOW), None]
    return Ask(session, model, owner)


def test_only_the_owner_is_a_candidate() -> None:
    """Whatever the priorities, and whatever account the session has."""
    pool = pool_of("a", account("b", priority=9), "c")
    pool.owners.note("b", [FILE], NOW)
    pool.served(Ask("s"), "c", NOW)
    assert names(pool, asked(pool, FILE, "s")) == ["b"]
    [(_, choice)] = pool.choices(asked(pool, FILE, "s"), NOW)
    assert choice.why == "owner"
    assert names(pool, asked(pool, "file_unknown", "s"))[0] == "c"


def test_an_owner_that_cannot_serve_leaves_no_candidate() -> None:
    """Nobody stands in, and what is said about the block is about the owner alone."""
    pool = pool_of("a", "b", "c")
    pool.owners.note("b", [FILE], NOW)
    limit(pool, "b", NOW + HOUR)
    limit(pool, "a", NOW + 1000)
    ask = asked(pool, FILE)
    assert names(pool, ask) == []
    blocked = pool.blocked(ask, NOW)
    assert (blocked.total, blocked.limited, blocked.recovery_ms) == (1, 1, NOW + HOUR)
    assert blocked.only_rate_limited
    assert blocked.owner is not None
    assert blocked.owner.name == "b"
    assert names(pool, ask, NOW + HOUR) == ["b"]
    assert pool.blocked(Ask(), NOW).owner is None


def test_a_paused_owner_does_not_come_back_by_itself() -> None:
    """Waiting does not help, although other accounts are there."""
    pool = pool_of("a", account("b", paused=True))
    pool.owners.note("b", [FILE], NOW)
    blocked = pool.blocked(asked(pool, FILE), NOW)
    assert (blocked.total, blocked.recovery_ms, blocked.only_rate_limited) == (1, None, False)


def test_an_owner_that_set_the_model_aside_is_waited_for() -> None:
    """The recovery is the model's on this account."""
    pool = pool_of("a", "b")
    pool.owners.note("b", [FILE], NOW)
    pool.apply("b", SetAside(HAIKU, NOW + 9000, "429 for the model"), Ask(), NOW)
    assert names(pool, asked(pool, FILE, model=HAIKU)) == []
    assert pool.blocked(asked(pool, FILE, model=HAIKU), NOW).recovery_ms == NOW + 9000
    assert names(pool, asked(pool, FILE)) == ["b"]


def test_the_objects_of_a_removed_account_are_forgotten() -> None:
    """Then any account may try, also a request that was under way when the account went."""
    pool = pool_of("a", "b")
    pool.owners.note("b", [FILE], NOW)
    pool.owners.note("a", [FILE_2], NOW)
    under_way = asked(pool, FILE)
    pool.load([account("a")], NOW)
    assert names(pool, under_way) == ["a"]
    assert asked(pool, FILE).owner is None
    assert asked(pool, FILE_2).owner == "a"
    assert pool.blocked(under_way, NOW).total == 1
    assert [owned.object_id for owned in pool.take_changes().owners] == [FILE_2]


def test_a_session_that_names_anothers_object_returns_to_its_account() -> None:
    """Serving it elsewhere does not move the session: its prompt cache is where it was."""
    pool = pool_of("a", "b")
    pool.owners.note("b", [FILE], NOW)
    pool.served(Ask("s"), "a", NOW)
    pool.served(asked(pool, FILE, "s"), "b", NOW)
    assert names(pool, Ask("s"))[0] == "a"


def test_owners_are_handed_over_with_the_other_changes_and_come_back() -> None:
    """What one run has learnt the next one knows, as far as the accounts are still there."""
    pool = pool_of("a", "b")
    pool.owners.note("b", [FILE], NOW)
    kept = pool.take_changes().owners
    assert pool.take_changes().owners == ()
    after = pool_of("a", "b")
    after.restore_owners([*kept, Owned("file_9", "gone", NOW)])
    assert asked(after, FILE).owner == "b"
    assert asked(after, "file_9").owner is None
