"""Two pools of one server: what one learns, the other goes by, and nothing of it is written twice."""

from typing import Any

import msgspec
import pytest

from ccflare.forecast import AccountWindows, KeptWindow
from ccflare.limits import RefuseCredential, SetAside, read_limits
from ccflare.pool import Ask, Pool
from ccflare.pool.news import News
from ccflare.records import Binding, Owned
from pool_kit import HAIKU, HOUR, MINUTE, NOW, OPUS, account, in_flight, limit, names, pool_of, state

_encode, _decode = msgspec.msgpack.encode, msgspec.msgpack.Decoder(News).decode


def pair(*accounts: Any) -> tuple[Pool, Pool]:
    """Return two pools of which each hears, as bytes, what the other tells."""
    one, other = pool_of(*accounts), pool_of(*accounts)
    one.share(lambda news: other.others.hear(1, _decode(_encode(news)), NOW))
    other.share(lambda news: one.others.hear(2, _decode(_encode(news)), NOW))
    return one, other


def share_load(pool: Pool, other: Pool, *, everything: bool = False) -> None:
    load = pool.load_here(everything=everything)
    if load is not None:
        other.others.hear(1, _decode(_encode(load)), NOW)


def test_a_limit_counts_for_all() -> None:
    """An account that one worker finds limited is limited for the other until the same instant, and saved once."""
    one, other = pair("a", "b")
    limit(one, "a", NOW + HOUR)
    assert names(other) == ["b"]
    assert other.blocked(Ask(owner="a"), NOW).recovery_ms == NOW + HOUR
    assert [len(pool.take_changes().accounts) for pool in (one, other)] == [1, 0]


def test_the_longer_limit_stays() -> None:
    """An earlier end does not shorten what is known already."""
    one, other = pair("a", "b")
    limit(other, "a", NOW + HOUR)
    one.others.hear(2, _decode(_encode(_limited("a", NOW + MINUTE))), NOW)
    assert one.blocked(Ask(owner="a"), NOW).recovery_ms == NOW + HOUR


def _limited(name: str, until_ms: int) -> News:
    told: list[News] = []
    pool = pool_of(name)
    pool.share(told.append)
    limit(pool, name, until_ms)
    return told[0]


def test_the_store_has_the_last_word_on_what_others_learnt() -> None:
    """What was adopted outlives the store's older word for a second; then the store is right, a resume included."""
    one, other = pair("a", "b")
    limit(one, "a", NOW + HOUR)
    stored = [account("a"), account("b")]
    other.load(stored, NOW + 300)
    assert state(other, "a") == "rate_limited"
    other.load(stored, NOW + 2000)
    assert state(other, "a") == "active"


def test_a_refused_credential_and_its_recovery_count_for_all() -> None:
    """Neither worker uses a refused account; when one sees it accepted again, both do."""
    one, other = pair("a", "b")
    one.apply("a", RefuseCredential("401"), Ask(), NOW)
    assert names(other) == ["b"]
    one.served(Ask(), "a", NOW)
    assert names(other) == ["a", "b"]


@pytest.mark.parametrize("family", [False, True])
def test_a_model_is_set_aside_for_all(family: bool) -> None:
    """A model, or a family, that an account does not serve for a while is asked of others, by both workers."""
    one, other = pair("a", "b")
    model = "opus" if family else OPUS
    one.apply("a", SetAside(model, NOW + MINUTE, family=family, reason="x"), Ask(model=OPUS), NOW)
    assert names(other, Ask(model=OPUS)) == ["b"]
    assert names(other, Ask(model=HAIKU)) == ["a", "b"]
    for pool in (one, other):  # whoever resumes an account says it in the store, which all workers read
        pool.load([account("a", resumed_at_ms=NOW), account("b")], NOW)
        assert names(pool, Ask(model=OPUS)) == ["a", "b"]


def test_a_session_has_one_account_at_both() -> None:
    """A session that one worker has bound belongs to the same account at the other, and is saved once."""
    one, other = pair("a", account("b", priority=9))
    one.served(Ask("s"), "b", NOW)
    assert names(other, Ask("s"))[0] == "b"
    assert [len(pool.take_changes().bindings) for pool in (one, other)] == [1, 0]


def test_a_stand_in_stands_in_at_both() -> None:
    """While a session's account waits, both workers go to the same other one; it comes back at both."""
    one, other = pair("a", account("b", priority=8), account("c", priority=9))
    one.served(Ask("s"), "a", NOW)
    limit(one, "a", NOW + MINUTE)
    one.served(Ask("s"), "c", NOW)
    assert names(other, Ask("s"))[0] == "c"
    one.served(Ask("s"), "a", NOW + MINUTE)
    assert names(other, Ask("s"), NOW + MINUTE) == ["a", "b", "c"]


def test_two_bindings_at_once_end_as_one() -> None:
    """When both have bound a session to different accounts, both keep the one that was bound last."""
    one, other = pool_of("a", "b"), pool_of("a", "b")
    told: list[tuple[Pool, News]] = []
    one.share(lambda news: told.append((other, news)))
    other.share(lambda news: told.append((one, news)))
    one.served(Ask("s"), "a", NOW)
    other.served(Ask("s"), "b", NOW + 5)
    for listener, news in told:
        listener.others.hear(1, news, NOW + 6)
    assert names(one, Ask("s"))[0] == names(other, Ask("s"))[0] == "b"


def test_what_the_store_says_changes_nothing_that_is_newer() -> None:
    """Bindings and owners out of the store fill in what is not known; a stand-in, and who has a thing, stay."""
    pool = pool_of("a", account("b", priority=8), account("c", priority=9))
    pool.served(Ask("s"), "a", NOW)
    limit(pool, "a", NOW + MINUTE)
    pool.served(Ask("s"), "c", NOW)
    pool.owners.note("b", ["file_1"], NOW)
    stored = [Binding("s", "a", NOW, NOW), Binding("t", "c", NOW, NOW), Binding("u", "gone", NOW, NOW)]
    pool.others.learn(stored, [Owned("file_1", "c", NOW), Owned("file_2", "c", NOW)], NOW)
    assert [names(pool, Ask(session))[0] for session in "stu"] == ["c", "c", "b"]
    assert pool.owners.accounts_of(["file_1", "file_2"], NOW) == ["b", "c"]


def test_what_was_agreed_on_is_followed_while_it_is_usable() -> None:
    """A request goes to the account that was agreed on for its session, and to another one when that cannot serve."""
    pool = pool_of("a", "b")
    assert pool.is_open(Ask("s"), NOW)
    assert names(pool, Ask("s", lead="b"))[0] == "b"
    limit(pool, "b", NOW + HOUR)
    assert names(pool, Ask("s", lead="b")) == ["a"]


def test_a_session_that_somebody_serves_is_not_open() -> None:
    """Bound, in flight here, or naming an object: there is nothing to agree on."""
    pool = pool_of("a", "b")
    pool.begin("a", Ask("in flight"))
    pool.served(Ask("bound"), "a", NOW)
    assert not any(pool.is_open(ask, NOW) for ask in (Ask(), Ask("in flight"), Ask("bound"), Ask("s", owner="a")))


def test_a_failover_takes_the_others_along() -> None:
    """When the exchanges of a session go on to another account at one worker, those in flight at the other follow."""
    one, other = pair("a", "b", "c")
    for pool in (one, other):
        pool.begin("a", Ask("s", lead="a"))
    one.begin("c", Ask("s", lead="a"))
    assert names(other, Ask("s"))[0] == "c"


def test_objects_have_one_owner_at_both() -> None:
    """What an account has made at one worker is its own at the other at once, until it is deleted."""
    one, other = pair("a", "b")
    one.owners.note("b", ["file_1"], NOW)
    assert other.owners.accounts_of(["file_1"], NOW) == ["b"]
    assert other.owners.take_changes() == ()
    one.owners.forget("file_1")
    assert other.owners.accounts_of(["file_1"], NOW) == []
    assert [each for each in one.owners.take_changes() if each.account_id] == []
    other.owners.adopt(Owned("file_2", "a", NOW))
    other.owners.adopt(Owned("file_2", "b", NOW))
    assert other.owners.accounts_of(["file_2"], NOW) == ["a"]


def test_load_is_of_all_workers() -> None:
    """Each counts what the other serves, ranks by the sum, and forgets it when that worker ends."""
    one, other = pool_of("a", "b"), pool_of("a", "b")
    for _ in range(3):
        one.begin("a")
    other.begin("a")
    share_load(one, other)
    share_load(other, one)
    assert in_flight(one) == in_flight(other) == {"a": 4, "b": 0}
    assert names(other)[0] == "b"
    assert other.others.in_flight == 3
    one.end("a")
    share_load(one, other)
    assert in_flight(other)["a"] == 3
    other.others.gone(1)
    assert in_flight(other) == {"a": 1, "b": 0}
    other.end("a")
    assert in_flight(other) == {"a": 0, "b": 0}


def test_a_removed_account_is_no_load() -> None:
    """What was in flight on an account that is gone counts nowhere any more."""
    one, other = pool_of("a", "b"), pool_of("a", "b")
    one.begin("a")
    share_load(one, other)
    one.load([account("b")], NOW)
    share_load(one, other)
    assert other.others.in_flight == 0
    assert in_flight(other) == {"a": 0, "b": 0}


def test_load_is_told_where_it_has_changed() -> None:
    """Nothing new is nothing to tell; a worker that has come is told everything."""
    pool = pool_of("a", "b")
    assert pool.load_here() is None
    pool.begin("a")
    load = pool.load_here()
    assert load is not None
    assert load.accounts == {"a": (1, 0)}
    assert pool.load_here() is None
    assert pool.load_here(everything=True) == load


def test_quiet_traffic_stays_on_one_account_at_both() -> None:
    """Which account was used last is known to both workers."""
    one, other = pool_of("a", "b"), pool_of("a", "b")
    one.served(Ask("s"), "b", NOW)
    share_load(one, other)
    assert names(other, Ask("t"))[0] == "b"


def test_windows_are_known_to_all() -> None:
    """An account with little left at one worker comes later at the other too; older words change nothing."""
    one, other = pair("a", "b")
    headers = [
        (b"anthropic-ratelimit-unified-status", b"allowed_warning"),
        (b"anthropic-ratelimit-unified-5h-utilization", b"0.97"),
        (b"anthropic-ratelimit-unified-5h-reset", b"%d" % ((NOW + HOUR) // 1000)),
    ]
    one.note("a", read_limits(headers, NOW), NOW)
    assert names(other)[0] == "a"
    one.take_windows(NOW)
    assert names(other)[0] == "b"
    old = AccountWindows("a", NOW - MINUTE, (KeptWindow("5h", NOW - MINUTE, 0.1, None, NOW + HOUR),))
    other.restore_windows([old], NOW)
    assert names(other)[0] == "b"


def test_alone_nobody_is_told() -> None:
    """A server of one process tells nothing, whatever happens to it."""
    pool = pool_of("a")
    pool.begin("a", Ask("s"))
    limit(pool, "a", NOW + HOUR)
    pool.owners.note("a", ["file_1"], NOW)
    assert pool.tell is None
