"""What an account is not asked for at the moment: kept through restarts, and forgotten when a person resumes it."""

import msgspec
import pytest

from ccflare.forecast import Aside
from ccflare.limits import RefuseCredential, SetAside
from ccflare.pool import Ask, Pool
from ccflare.records import Account
from pool_kit import HAIKU, HOUR, NOW, OPUS, account, limit, names, pool_of, state


def set_aside(pool: Pool, model: str = OPUS, *, family: bool = False, until_ms: int | None = NOW + HOUR) -> None:
    pool.apply("a", SetAside(model, until_ms, "429", family), Ask(None, OPUS), NOW)


def asides(pool: Pool, now_ms: int = NOW) -> tuple[Aside, ...]:
    return next(standing.asides for standing in pool.states(now_ms) if standing.account.id == "a")


def resumed(record: Account, at_ms: int = NOW) -> Account:
    """Return the account as the store has it after somebody has resumed it."""
    return msgspec.structs.replace(
        record, resumed_at_ms=at_ms, paused=False, limited_until_ms=None, limited_reason=None, auth_failed_reason=None
    )


def test_a_resumed_account_is_asked_for_everything_again() -> None:
    """Models and families, and the next pause of unknown length starts short."""
    pool = pool_of("a", "b")
    set_aside(pool)
    set_aside(pool, "haiku", family=True)
    assert names(pool, Ask(None, OPUS)) == names(pool, Ask(None, HAIKU)) == ["b"]
    pool.load([resumed(account("a")), account("b")], NOW)
    assert names(pool, Ask(None, OPUS)) == names(pool, Ask(None, HAIKU)) == ["a", "b"]
    assert asides(pool) == ()


def test_a_reload_alone_forgets_nothing() -> None:
    """Only a later wish counts; the same one counts once."""
    pool = pool_of("a")
    pool.load([resumed(account("a"))], NOW)
    set_aside(pool)
    pool.load([resumed(account("a"))], NOW)
    assert names(pool, Ask(None, OPUS)) == []
    pool.load([resumed(account("a"), NOW + 1)], NOW)
    assert names(pool, Ask(None, OPUS)) == ["a"]


def test_a_wish_counts_once_although_changes_are_on_their_way_to_the_store() -> None:
    """What was taken for the store before somebody resumed the account does not make it look resumed again."""
    pool = pool_of("a")
    limit(pool, "a", NOW + HOUR)
    pool.take_changes()
    pool.load([resumed(account("a"))], NOW)
    pool.take_changes()
    set_aside(pool)
    pool.load([resumed(account("a"))], NOW)
    assert [aside.model for aside in asides(pool)] == [OPUS]


@pytest.mark.parametrize("against", ["limit", "refusal"])
def test_what_the_store_does_not_know_yet_does_not_outlive_a_resume(against: str) -> None:
    """And the store is told what holds now, in case that is written over what the person did."""
    pool = pool_of("a")
    if against == "limit":
        limit(pool, "a", NOW + HOUR)
    else:
        pool.apply("a", RefuseCredential("401"), Ask(), NOW)
    pool.take_changes()
    pool.load([resumed(account("a"))], NOW)
    assert state(pool, "a") == "active"
    [told] = pool.take_changes().accounts
    assert (told.limited_until_ms, told.auth_failed_reason) == (None, None)


def test_what_is_set_aside_survives_a_restart() -> None:
    """As long as it lasts."""
    first = pool_of("a")
    set_aside(first)
    set_aside(first, "opus", family=True, until_ms=NOW + 2 * HOUR)
    [kept] = first.take_windows(NOW)
    assert kept.asides == asides(first) != ()
    second = pool_of("a")
    second.restore_windows([kept], NOW)
    assert asides(second) == kept.asides
    assert names(second, Ask(None, OPUS)) == []
    third = pool_of("a")
    third.restore_windows([kept], NOW + HOUR)
    assert [aside.model for aside in asides(third, NOW + HOUR)] == ["opus"]


def test_what_is_served_again_is_not_kept() -> None:
    """Nor what somebody has resumed."""
    pool = pool_of("a")
    set_aside(pool)
    pool.take_windows(NOW)
    pool.served(Ask(None, OPUS), "a", NOW + 1000)
    assert [kept.asides for kept in pool.take_windows(NOW + 1000)] == [()]
    set_aside(pool, until_ms=NOW + 2 * HOUR)
    pool.take_windows(NOW + 2000)
    pool.load([resumed(account("a"))], NOW + 3000)
    assert [kept.asides for kept in pool.take_windows(NOW + 3000)] == [()]
