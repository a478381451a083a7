"""Choosing accounts, keeping sessions, learning from outcomes."""

import time
from collections.abc import Iterator

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
)
from ccflare.pool import Ask, Pool
from pool_kit import HAIKU, HOUR, MINUTE, NOW, OPUS, account, in_flight, limit, names, pool_of, state

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
