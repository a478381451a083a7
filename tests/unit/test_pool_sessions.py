"""The pool's sessions, and what it keeps with the store."""

import msgspec
import pytest

from ccflare.limits import (
    Reading,
    RefuseCredential,
    SetAside,
    read_limits,
)
from ccflare.pool import Ask, Pool
from ccflare.records import Account, Binding
from pool_kit import HAIKU, HOUR, MINUTE, NOW, OPUS, account, limit, names, pool_of, state

# Sessions.


def served_by(pool: Pool, name: str, now_ms: int = NOW, ask: Ask = Ask("s", OPUS)) -> str | None:  # noqa: B008  # it is immutable
    """Have an exchange served; return where the session's next one goes first."""
    pool.served(ask, name, now_ms)
    return next(iter(names(pool, ask, now_ms)), None)


def test_a_session_keeps_its_account() -> None:
    """However busy it is, the account that served a session comes first until the session ends."""
    pool = pool_of(account("a"), account("b", priority=9))
    assert served_by(pool, "b") == "b"
    for _ in range(5):
        pool.begin("b")
    assert names(pool, Ask("s"), NOW + HOUR - 1) == ["b", "a"]
    assert names(pool, Ask("s"), NOW + HOUR) == ["a", "b"]


def test_use_does_not_lengthen_a_session() -> None:
    """The time counts from the binding, not from the last use."""
    pool = pool_of("a", account("b", priority=9))
    for minute in range(0, 60, 10):
        served_by(pool, "b", NOW + minute * MINUTE)
    assert names(pool, Ask("s"), NOW + HOUR)[0] == "a"


def test_session_length_applies_at_once() -> None:
    """A changed setting holds for the sessions that there are."""
    pool = pool_of("a", account("b", priority=9))
    served_by(pool, "b")
    pool.session_ms = 1000
    assert pool.session_ms == 1000
    assert names(pool, Ask("s"), NOW + 1000)[0] == "a"


def test_only_served_exchanges_bind() -> None:
    """Being tried does not bind."""
    pool = pool_of("a", "b")
    pool.begin("b", Ask("s"))
    pool.end("b", Ask("s"))
    limit(pool, "b", None)
    assert pool.take_changes().bindings == ()
    assert names(pool, Ask("s"))[0] == "a"


def test_a_session_returns_when_its_account_recovers_soon() -> None:
    """A short limit makes the session a guest elsewhere, with one host, and then it goes back."""
    pool = pool_of("a", "b", "c")
    served_by(pool, "a")
    limit(pool, "a", NOW + 4 * MINUTE)
    assert served_by(pool, "c", NOW + 1) == "c"
    pool.begin("c")
    assert names(pool, Ask("s", OPUS), NOW + 2)[0] == "c"
    assert names(pool, Ask("s", OPUS), NOW + 4 * MINUTE)[0] == "a"


def test_a_session_moves_when_its_account_recovers_late() -> None:
    """A limit beyond the life of the cache moves the session for good, with a full session's time."""
    pool = pool_of("a", "b")
    served_by(pool, "a")
    limit(pool, "a", NOW + 5 * MINUTE + 2)
    assert served_by(pool, "b", NOW + 1) == "b"
    assert names(pool, Ask("s"), NOW + HOUR)[0] == "b"
    assert pool.take_changes().bindings == (Binding("s", "b", NOW + 1, NOW + 1),)


def test_a_session_moves_when_its_account_recovers_after_its_end() -> None:
    """There is nothing to return to when the session is over by then."""
    pool = pool_of("a", "b")
    served_by(pool, "a")
    late = NOW + HOUR - MINUTE
    limit(pool, "a", late + 2 * MINUTE, late)
    served_by(pool, "b", late)
    assert pool.take_changes().bindings == (Binding("s", "b", late, late),)


@pytest.mark.parametrize(
    "without",
    [
        [account("a", paused=True), account("b")],
        [account("b")],
        [account("a", expired_reason="x"), account("b")],
    ],
)
def test_a_session_moves_when_its_account_is_taken_away(without: list[Account]) -> None:
    """Pausing, removing or losing an account moves its sessions at the next served exchange."""
    pool = pool_of("a", "b")
    served_by(pool, "a")
    pool.load(without, NOW)
    assert served_by(pool, "b") == "b"
    pool.load([account("a"), account("b")], NOW)
    assert names(pool, Ask("s"))[0] == "b"


def test_a_failure_of_a_usable_account_does_not_move_a_session() -> None:
    """An exchange served elsewhere because of upstream trouble leaves the session where it is."""
    pool = pool_of("a", "b")
    served_by(pool, "a")
    assert served_by(pool, "b") == "a"


def test_a_model_set_aside_moves_only_what_needs_it() -> None:
    """A session goes elsewhere with the model that its account does not serve, and stays with others."""
    pool = pool_of("a", "b")
    served_by(pool, "a")
    pool.apply("a", SetAside(OPUS, NOW + MINUTE, "r"), Ask("s", OPUS), NOW)
    assert served_by(pool, "b") == "b"
    assert names(pool, Ask("s", HAIKU))[0] == "a"


def test_sessions_survive_reloads() -> None:
    """A reload that changes other things leaves every session with its account."""
    pool = pool_of("a", account("b", priority=9))
    served_by(pool, "b")
    pool.load([account("b", priority=99), account("a"), account("c", priority=-1)], NOW)
    assert names(pool, Ask("s"))[0] == "b"


def test_sessions_survive_a_restart() -> None:
    """What was taken for the store is enough for another pool to go on; ended sessions are left out."""
    pool = pool_of("a", account("b", priority=9))
    served_by(pool, "b")
    bindings = pool.take_changes().bindings
    other = pool_of("a", account("b", priority=9))
    other.restore([*bindings, Binding("old", "b", NOW - HOUR, NOW), Binding("lost", "gone", NOW, NOW)], NOW)
    assert names(other, Ask("s"))[0] == "b"
    assert names(other, Ask("old"))[0] == "a"
    assert other.states(NOW)[1].sessions == 1
    assert other.take_changes().bindings == ()


def test_sessions_are_bounded() -> None:
    """The sessions used longest ago make room; nothing else is forgotten."""
    pool = pool_of(account("a"), account("b", priority=9), max_sessions=3)
    for index in range(5):
        served_by(pool, "b", NOW + index, Ask(f"s{index}"))
        served_by(pool, "b", NOW + index, Ask("s0"))
    assert [names(pool, Ask(f"s{index}"), NOW)[0] for index in range(5)] == ["b", "a", "a", "b", "b"]
    assert pool.states(NOW)[1].sessions == 3
    kept = {binding.key: binding.bound_at_ms for binding in pool.take_changes().bindings}
    assert kept["s0"] == NOW


def test_ended_sessions_are_dropped() -> None:
    """Sessions that ended do not pile up while new ones come."""
    pool = pool_of("a")
    for index in range(100):
        served_by(pool, "a", NOW, Ask(f"old{index}"))
    for index in range(100):
        served_by(pool, "a", NOW + HOUR, Ask(f"new{index}"))
    assert pool.states(NOW)[0].sessions == 100


# The store.


def test_changes_are_taken_once() -> None:
    """Changed accounts and bindings are given out once, with the last use; then there is nothing."""
    pool = pool_of("a", "b")
    pool.served(Ask("s"), "a", NOW)
    changes = pool.take_changes()
    assert [(item.id, item.last_used_ms) for item in changes.accounts] == [("a", NOW)]
    assert changes.bindings == (Binding("s", "a", NOW, NOW),)
    assert pool.take_changes() == pool.take_changes()
    assert pool.take_changes().accounts == ()


def test_last_use_of_a_session_is_kept_once_a_minute() -> None:
    """A busy session is not written with every exchange."""
    pool = pool_of("a")
    pool.served(Ask("s"), "a", NOW)
    pool.take_changes()
    pool.served(Ask("s"), "a", NOW + MINUTE - 1)
    assert pool.take_changes().bindings == ()
    pool.served(Ask("s"), "a", NOW + MINUTE)
    assert pool.take_changes().bindings == (Binding("s", "a", NOW, NOW + MINUTE),)


def test_unsaved_knowledge_survives_a_reload() -> None:
    """What the store does not know yet is not undone by it, before and just after it was taken."""
    pool = pool_of("a")
    limit(pool, "a", NOW + HOUR)
    pool.load([account("a", priority=5)], NOW)
    assert state(pool, "a") == "rate_limited"
    pool.take_changes()
    pool.load([account("a", priority=6)], NOW)
    assert state(pool, "a") == "rate_limited"
    assert pool.states(NOW)[0].account.priority == 6


def test_the_store_wins_once_it_knows() -> None:
    """After the store has taken over what was learnt, what somebody changes there counts."""
    pool = pool_of("a")
    pool.apply("a", RefuseCredential("401"), Ask(), NOW)
    saved = pool.take_changes().accounts[0]
    pool.take_changes()
    pool.load([msgspec.structs.replace(saved, auth_failed_reason=None)], NOW)
    assert state(pool, "a") == "active"


def test_a_new_credential_makes_an_account_usable_despite_traffic() -> None:
    """Unsaved knowledge about other things does not keep a refused credential alive."""
    pool = pool_of(account("a", auth_failed_reason="401"), "b")
    pool.note("a", Reading(status="allowed", reset_ms=NOW + HOUR), NOW)
    pool.load([account("a"), account("b")], NOW)
    assert state(pool, "a") == "active"
    assert pool.states(NOW)[0].account.rate_limit_status == "allowed"


def test_limits_from_other_servers_count() -> None:
    """A limit that another process has stored holds here, and so does its end."""
    pool = pool_of("a")
    pool.load([account("a", limited_until_ms=NOW + HOUR)], NOW)
    assert names(pool) == []
    pool.load([account("a")], NOW)
    assert names(pool) == ["a"]


def test_last_use_never_goes_back() -> None:
    """The later of both last uses is kept."""
    pool = pool_of("a")
    pool.served(Ask(), "a", NOW)
    pool.load([account("a", last_used_ms=NOW - 5)], NOW)
    assert pool.states(NOW)[0].account.last_used_ms == NOW
    pool.load([account("a", last_used_ms=NOW + 5)], NOW)
    assert pool.states(NOW)[0].account.last_used_ms == NOW + 5


def test_removed_accounts_are_not_stored() -> None:
    """Nothing is written for an account that is gone."""
    pool = pool_of("a", "b")
    limit(pool, "a", NOW + HOUR)
    pool.load([account("b")], NOW)
    assert pool.take_changes().accounts == ()


def test_what_was_heard_counts_once_it_is_read() -> None:
    """The last headers heard of an account become its reading at the next `read_heard`, with a line for the log."""
    pool = Pool(session_ms=HOUR)
    pool.load([account("a")], NOW)
    warning = b"Anthropic-Ratelimit-Unified-Status: allowed_warning\r\nx: y\r\n"
    pool.hear("a", b"anthropic-ratelimit-unified-status: allowed\r\n", NOW)
    pool.hear("a", warning, NOW)
    assert pool.states(NOW)[0].account.rate_limit_status is None
    [line] = pool.read_heard()
    assert "allowed_warning" in line
    assert pool.states(NOW)[0].account.rate_limit_status == "allowed_warning"
    assert pool.read_heard() == []


def test_what_is_noted_is_newer_than_what_was_heard() -> None:
    """Headers that were read at once are not undone by older ones that wait."""
    pool = Pool(session_ms=HOUR)
    pool.load([account("a")], NOW)
    pool.hear("a", b"anthropic-ratelimit-unified-status: allowed\r\n", NOW)
    pool.note("a", read_limits([(b"anthropic-ratelimit-unified-status", b"rejected")], NOW), NOW)
    pool.read_heard()
    assert pool.states(NOW)[0].account.rate_limit_status == "rejected"
