"""Choosing accounts, keeping sessions, learning from outcomes."""

import time
from collections.abc import Iterator

import msgspec
import pytest

from ccflare.limits import (
    NO_LIMITS,
    CoolAccount,
    Effect,
    LimitAccount,
    Reading,
    RefuseCredential,
    SetAside,
    Window,
    read_limits,
)
from ccflare.pool import Ask, Pool
from ccflare.records import Account, Binding

NOW = 1_800_000_000_000
HOUR = 3_600_000
MINUTE = 60_000
OPUS = "claude-opus-4-1"
HAIKU = "claude-haiku-4-5"


def account(name: str, **fields: object) -> Account:
    return Account(id=name, name=name, created_at_ms=0, **fields)  # type: ignore[arg-type]  # test literals


def pool_of(*accounts: Account | str, **options: int) -> Pool:
    pool = Pool(session_ms=HOUR, **options)
    pool.load([account(item) if isinstance(item, str) else item for item in accounts], NOW)
    return pool


def names(pool: Pool, ask: Ask = Ask(), now_ms: int = NOW) -> list[str]:  # noqa: B008  # an immutable tuple
    return [candidate.name for candidate in pool.candidates(ask, now_ms)]


def state(pool: Pool, name: str, now_ms: int = NOW) -> str:
    return next(standing.state for standing in pool.states(now_ms) if standing.account.name == name)


def in_flight(pool: Pool) -> dict[str, int]:
    return {standing.account.name: standing.in_flight for standing in pool.states(NOW)}


def limit(pool: Pool, name: str, until_ms: int | None, now_ms: int = NOW) -> str | None:
    return pool.apply(name, LimitAccount(until_ms, "429 account rate limited"), Ask(), now_ms)


# Candidates.


def test_only_usable_accounts_are_candidates() -> None:
    """Paused, expired, refused and limited accounts are none; a limit that has passed is no obstacle."""
    pool = pool_of(
        account("good"),
        account("paused", paused=True),
        account("expired", expired_reason="sign in again"),
        account("refused", auth_failed_reason="401"),
        account("limited", limited_until_ms=NOW + 1),
        account("recovered", limited_until_ms=NOW),
    )
    assert names(pool) == ["good", "recovered"]
    assert names(pool, now_ms=NOW + 1) == ["good", "limited", "recovered"]
    assert names(pool_of()) == []


def test_order_of_new_sessions() -> None:
    """Priority first, then headroom, then fewest in flight, then the account used last."""
    pool = pool_of(account("late", priority=1), "low", "busy", "idle", account("used", last_used_ms=NOW))
    pool.note("low", Reading(windows=(Window("5h", 0.99, "allowed", NOW + HOUR),)), NOW)
    pool.begin("busy")
    assert names(pool) == ["used", "idle", "busy", "low", "late"]


def test_parallel_exchanges_spread_and_sequential_ones_stay() -> None:
    """In flight counts at choice time: a burst spreads evenly, quiet traffic stays where it was."""
    pool = pool_of("a", "b", "c")
    chosen = []
    for index in range(6):
        name = names(pool, Ask(f"s{index}"))[0]
        pool.begin(name, Ask(f"s{index}"))
        chosen.append(name)
    assert sorted(chosen) == ["a", "a", "b", "b", "c", "c"]
    for index, name in enumerate(chosen):
        pool.end(name, Ask(f"s{index}"))
    pool.served(Ask("x"), "b", NOW)
    assert {names(pool, Ask(f"t{index}"))[0] for index in range(5)} == {"b"}


def test_parallel_first_exchanges_of_a_session_stay_together() -> None:
    """Before anything is served, a session's exchanges go where the first one in flight went."""
    pool = pool_of("a", "b")
    burst = Ask("s", OPUS)
    first = names(pool, burst)[0]
    for _ in range(5):
        assert names(pool, burst)[0] == first
        pool.begin(first, burst)
    assert names(pool, Ask("other"))[0] != first
    for _ in range(5):
        pool.end(first, burst)
    assert set(in_flight(pool).values()) == {0}


def test_headroom_recovers_with_the_window() -> None:
    """An account that was nearly used up is equal again when its window begins anew."""
    pool = pool_of("a", "b")
    pool.note("a", Reading(windows=(Window("5h", 0.99, "allowed", NOW + HOUR),)), NOW)
    assert names(pool) == ["b", "a"]
    assert names(pool, now_ms=NOW + HOUR) == ["a", "b"]


def test_headroom_of_a_model_family_concerns_that_family() -> None:
    """A nearly used-up opus window puts the account last for opus and for nothing else."""
    pool = pool_of("a", "b")
    pool.note("a", Reading(windows=(Window("7d_opus", 0.99, "allowed", NOW + HOUR),)), NOW)
    assert names(pool, Ask(None, OPUS)) == ["b", "a"]
    assert names(pool, Ask(None, HAIKU)) == ["a", "b"]
    assert names(pool, Ask(None, OPUS), NOW + HOUR) == ["a", "b"]


def test_candidates_cost_little() -> None:
    """A bound session is found without looking at the other accounts."""
    pool = pool_of(*(f"a{index}" for index in range(2000)))
    pool.served(Ask("s"), "a1999", NOW)

    def cpu(ask: Ask) -> float:
        began = time.process_time()
        for _ in range(20):
            next(pool.candidates(ask, NOW))
        return time.process_time() - began

    assert cpu(Ask("s")) < cpu(Ask("new")) / 5


# In flight.


def test_in_flight_survives_reloads_and_removal() -> None:
    """Counts are kept while an account is reloaded, removed and added again, and end at zero."""
    pool = pool_of("a", "b")
    pool.begin("a")
    pool.begin("a")
    pool.load([account("a", priority=3), account("b")], NOW)
    assert in_flight(pool) == {"a": 2, "b": 0}
    pool.load([account("b")], NOW)
    pool.end("a")
    pool.load([account("a"), account("b")], NOW)
    assert in_flight(pool)["a"] == 1
    pool.end("a")
    pool.end("a")
    pool.end("never")
    assert in_flight(pool) == {"a": 0, "b": 0}


def test_operations_on_accounts_that_are_gone_are_harmless() -> None:
    """What ends after its account was removed changes nothing and raises nothing."""
    pool = pool_of("a")
    assert pool.served(Ask("s"), "gone", NOW) is None
    assert pool.note("gone", Reading(status="rejected"), NOW) is None
    assert pool.apply("gone", LimitAccount(None, "r"), Ask(), NOW) is None
    assert pool.take_changes().bindings == ()


# Limits.


def test_limited_account_comes_back_by_itself() -> None:
    """An account is out until its reset and in from then on; both are said once."""
    pool = pool_of("a", "b")
    line = limit(pool, "a", NOW + HOUR)
    assert line == "Account a is rate limited until 2027-01-15T09:00:00.000Z: 429 account rate limited"
    assert limit(pool, "a", NOW + HOUR) is None
    assert (state(pool, "a"), names(pool)) == ("rate_limited", ["b"])
    assert state(pool, "a", NOW + HOUR) == "active"
    assert "a" in names(pool, now_ms=NOW + HOUR)
    line = pool.served(Ask(), "a", NOW + HOUR)
    assert line is not None
    assert "available again" in line
    assert "rate limited" in line
    assert pool.served(Ask(), "a", NOW + HOUR) is None


def test_a_limit_is_never_shortened() -> None:
    """A budget's reset in seconds does not end a window's limit of hours."""
    pool = pool_of("a")
    limit(pool, "a", NOW + HOUR)
    limit(pool, "a", NOW + 1000)
    assert names(pool, now_ms=NOW + MINUTE) == []
    assert limit(pool, "a", NOW + 2 * HOUR) is not None


def cooled(pool: Pool, effect: Effect, ask: Ask) -> Iterator[int]:
    """Yield the length of each pause when the same thing happens again and again."""
    now_ms = NOW
    for _ in range(9):
        pool.apply("a", effect, ask, now_ms)
        until_ms = pool.blocked(ask, now_ms).recovery_ms
        assert until_ms is not None
        yield (until_ms - now_ms) // 1000
        now_ms = until_ms


@pytest.mark.parametrize("effect", [LimitAccount(None, "r"), CoolAccount(None, "r")])
def test_pauses_without_a_reset_grow(effect: Effect) -> None:
    """Five seconds, doubled each time up to five minutes; a success starts over."""
    pool = pool_of("a")
    assert list(cooled(pool, effect, Ask())) == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    pool.served(Ask(), "a", NOW + HOUR)
    assert next(cooled(pool, effect, Ask())) == 5


@pytest.mark.parametrize("model", [OPUS, None])
def test_pauses_on_thin_evidence_stay_short(model: str | None) -> None:
    """Set aside for seconds means at most a minute."""
    pool = pool_of("a")
    pauses = list(cooled(pool, SetAside(model, None, "r"), Ask(None, model)))
    assert pauses == [5, 10, 20, 40, 60, 60, 60, 60, 60]


def test_whole_account_is_set_aside_for_a_minute_at_most() -> None:
    """Even a reset of hours does not park an account on thin evidence."""
    pool = pool_of("a")
    pool.apply("a", SetAside(None, NOW + HOUR, "too many concurrent connections"), Ask(), NOW)
    assert state(pool, "a", NOW + MINUTE) == "active"


def test_failures_under_way_together_count_once() -> None:
    """Ten exchanges that fail at once make one pause, not the tenth."""
    pool = pool_of("a")
    for _ in range(10):
        limit(pool, "a", None)
    assert names(pool, now_ms=NOW + 5_000) == ["a"]


def test_a_model_set_aside_leaves_the_others() -> None:
    """Only that model goes elsewhere; the account stays active and says what it does not serve."""
    pool = pool_of("a", "b")
    line = pool.apply("a", SetAside(OPUS, NOW + HOUR, "429 bare"), Ask(None, OPUS), NOW)
    assert line is not None
    assert f"rate limited for {OPUS} until 2027-01-15T09:00:00.000Z" in line
    assert names(pool, Ask(None, OPUS)) == ["b"]
    for model in (HAIKU, OPUS + "-5", "opus", None):
        assert names(pool, Ask(None, model)) == ["a", "b"]
    assert state(pool, "a") == "active"
    assert [aside.model for aside in pool.states(NOW)[0].asides] == [OPUS]
    assert pool.states(NOW + HOUR)[0].asides == ()
    assert names(pool, Ask(None, OPUS), NOW + HOUR) == ["a", "b"]


def test_a_family_set_aside_covers_its_models() -> None:
    """An opus window concerns every opus model and no other."""
    pool = pool_of("a")
    pool.apply("a", SetAside("opus", NOW + HOUR, "r", family=True), Ask(None, OPUS), NOW)
    assert names(pool, Ask(None, "claude-opus-5")) == []
    assert names(pool, Ask(None, HAIKU)) == ["a"]
    assert names(pool, Ask(None, "claude-opusculum-1")) == ["a"]


def test_models_set_aside_are_bounded() -> None:
    """Clients choose model names; however many there are, an account remembers a bounded number."""
    pool = pool_of("a")
    for index in range(1000):
        pool.apply("a", SetAside(f"m{index}", NOW + HOUR + index, "r"), Ask(), NOW)
    assert len(pool.states(NOW)[0].asides) == 64
    assert names(pool, Ask(None, "m999")) == []


def test_log_lines_cannot_be_forged() -> None:
    """A model's name cannot begin a line of its own in the log."""
    line = pool_of("a").apply("a", SetAside("m\nERROR: x\x1b[0m", None, "r"), Ask(), NOW)
    assert line is not None
    assert line.isprintable()


def test_refused_credential() -> None:
    """A refused credential takes the account out until a success or the store says otherwise."""
    pool = pool_of("a")
    line = pool.apply("a", RefuseCredential("401 credential refused"), Ask(), NOW)
    assert line is not None
    assert "auth_failed" in line
    assert pool.apply("a", RefuseCredential("401"), Ask(), NOW) is None
    assert (state(pool, "a"), names(pool)) == ("auth_failed", [])
    assert pool.served(Ask(), "a", NOW) is not None
    assert state(pool, "a") == "active"


def test_notes_keep_what_upstream_said() -> None:
    """Status, reset, remaining and windows are kept, and a changed status is a line with the reset."""
    pool = pool_of("a")
    windows = (Window("5h", 0.5, "allowed", NOW + HOUR),)
    assert pool.note("a", Reading(status="allowed", reset_ms=NOW + HOUR, windows=windows), NOW) is None
    line = pool.note("a", Reading(status="allowed_warning", reset_ms=NOW + HOUR, remaining=3), NOW)
    assert line == "Account a: rate_limited status allowed -> allowed_warning, reset 2027-01-15T09:00:00.000Z"
    assert pool.note("a", NO_LIMITS, NOW) is None
    assert pool.note("a", Reading(retry_after_ms=5), NOW) is None
    kept = pool.states(NOW)[0].account
    assert (kept.rate_limit_status, kept.rate_limit_reset_ms, kept.rate_limit_remaining) == (
        "allowed_warning",
        NOW + HOUR,
        3,
    )


# Nothing usable.


def test_blocked_says_when_the_first_account_returns() -> None:
    """The earliest recovery for that model, over all accounts that come back by themselves."""
    pool = pool_of("a", "b", account("paused", paused=True))
    limit(pool, "a", NOW + HOUR)
    pool.apply("b", SetAside(OPUS, NOW + MINUTE, "r"), Ask(), NOW)
    pool.note("a", Reading(status="rejected", reset_ms=NOW + HOUR), NOW)
    blocked = pool.blocked(Ask(None, OPUS), NOW)
    assert (blocked.total, blocked.limited, blocked.recovery_ms) == (3, 2, NOW + MINUTE)
    assert blocked.only_rate_limited
    assert blocked.unified
    assert pool.blocked(Ask(None, HAIKU), NOW).recovery_ms == NOW


def test_blocked_for_good() -> None:
    """Where no account comes back by itself, waiting does not help."""
    for pool in (pool_of(), pool_of(account("a", paused=True), account("b", auth_failed_reason="401"))):
        blocked = pool.blocked(Ask(), NOW)
        assert (blocked.only_rate_limited, blocked.recovery_ms, blocked.unified) == (False, None, False)


# Sessions.


def served_by(pool: Pool, name: str, now_ms: int = NOW, ask: Ask = Ask("s", OPUS)) -> str | None:  # noqa: B008  # an immutable tuple
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
    warning = [(b"Anthropic-Ratelimit-Unified-Status", b"allowed_warning"), (b"x", b"y")]
    pool.hear("a", [(b"anthropic-ratelimit-unified-status", b"allowed")], NOW)
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
    pool.hear("a", [(b"anthropic-ratelimit-unified-status", b"allowed")], NOW)
    pool.note("a", read_limits([(b"anthropic-ratelimit-unified-status", b"rejected")], NOW), NOW)
    pool.read_heard()
    assert pool.states(NOW)[0].account.rate_limit_status == "rejected"
