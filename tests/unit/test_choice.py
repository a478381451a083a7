"""Why an account is chosen: the pool says what put it first, and the words say the same to people."""

import pytest

from ccflare.choice import WORDS, Choice, in_words
from ccflare.limits import Reading, SetAside, Window
from ccflare.pool import Ask, Pool
from ccflare.records import Attempt, decode_attempts, encode_attempts
from pool_kit import HOUR, MINUTE, NOW, OPUS, account, limit, names, pool_of

SESSION = Ask("s", OPUS)


def chosen(pool: Pool, ask: Ask = SESSION, now_ms: int = NOW) -> list[tuple[str, str]]:
    return [(each.name, choice.why) for each, choice in pool.choices(ask, now_ms)]


def first_choice(pool: Pool, ask: Ask = SESSION, now_ms: int = NOW) -> Choice:
    return next(choice for _, choice in pool.choices(ask, now_ms))


def busy(pool: Pool) -> None:
    pool.begin("a")


def low(pool: Pool) -> None:
    pool.note("a", Reading(windows=(Window("5h", 0.99, "allowed", NOW + HOUR),)), NOW)


def used(pool: Pool) -> None:
    pool.served(Ask(), "b", NOW)


@pytest.mark.parametrize(
    ("before", "why"), [(busy, "in_flight"), (low, "headroom"), (used, "last_used"), (lambda _pool: None, "equal")]
)
def test_a_new_session_is_told_what_put_its_account_first(before: object, why: str) -> None:
    """The first difference to the account that would have been next, in the order of the rank."""
    pool = pool_of("a", "b")
    before(pool)  # type: ignore[operator]  # test functions
    assert first_choice(pool).why == why
    assert chosen(pool)[0][0] == ("a" if why == "equal" else "b")


def test_priority_comes_before_all_else() -> None:
    """And each account is compared with the one behind it; the last one is the only one left."""
    pool = pool_of(account("a", priority=2), account("b", priority=1), account("c", priority=2))
    pool.begin("c")
    assert chosen(pool) == [("b", "priority"), ("a", "in_flight"), ("c", "only")]


def test_a_bound_session_is_told_that_the_account_is_its_own() -> None:
    """The others say what puts them in order, and miss nobody."""
    pool = pool_of("a", "b")
    pool.served(SESSION, "b", NOW)
    assert [choice for _, choice in pool.choices(SESSION, NOW)] == [Choice("session"), Choice("only")]


def test_who_stands_in_says_for_whom_and_until_when() -> None:
    """While the session's own account is limited: first by rank, then as the stand-in; never once it is back."""
    pool = pool_of("a", "b", "c")
    pool.served(SESSION, "a", NOW)
    limit(pool, "a", NOW + MINUTE)
    assert first_choice(pool) == Choice("equal", "a", NOW + MINUTE)
    pool.served(SESSION, "c", NOW)
    assert first_choice(pool) == Choice("stand_in", "a", NOW + MINUTE)
    assert list(pool.choices(SESSION, NOW))[1][1] == Choice("only", "a", NOW + MINUTE)
    assert first_choice(pool, now_ms=NOW + MINUTE) == Choice("session")


def test_a_model_set_aside_moves_the_session_of_that_model_only() -> None:
    """The instant is the one at which that model is served again."""
    pool = pool_of("a", "b")
    pool.served(SESSION, "a", NOW)
    pool.apply("a", SetAside(OPUS, NOW + 5000, "429"), SESSION, NOW)
    assert first_choice(pool) == Choice("only", "a", NOW + 5000)
    assert first_choice(pool, Ask("s", "claude-haiku-4-5")) == Choice("session")


def test_who_does_not_come_back_by_itself_has_no_instant() -> None:
    """A paused account, and one that is gone."""
    pool = pool_of("a", "b")
    pool.served(SESSION, "a", NOW)
    pool.load([account("a", paused=True), account("b")], NOW)
    assert first_choice(pool) == Choice("only", "a")
    pool.load([account("b")], NOW)
    assert first_choice(pool) == Choice("only", "a")


def test_exchanges_of_a_new_session_go_where_its_first_one_is() -> None:
    """Before anything is bound."""
    pool = pool_of("a", "b")
    pool.begin("b", SESSION)
    assert chosen(pool)[0] == ("b", "alongside")


def test_choices_are_the_candidates() -> None:
    """The same accounts in the same order."""
    pool = pool_of("a", account("b", priority=-1), "c")
    pool.served(SESSION, "c", NOW)
    assert [name for name, _ in chosen(pool)] == names(pool, SESSION) == ["c", "b", "a"]


def test_every_word_has_a_meaning() -> None:
    """With the name of the account that is missed, where one is."""
    known = {"a": "work"}
    assert in_words(Choice("priority"), known) == "first by priority"
    assert in_words(Choice("stand_in", "a"), known) == "it stands in for its session's account work"
    assert in_words(Choice("only", "a"), known).endswith("; its session's account work could not serve")
    assert "an account that is gone" in in_words(Choice("only", "z"), known)
    assert in_words(Choice("of a later version"), known) == "of a later version"
    assert all(in_words(Choice(why), {}) == words for why, words in WORDS.items())


def test_choices_are_kept_with_the_attempts() -> None:
    """And attempts that an older program has written are read without."""
    attempts = (Attempt("a", "next", 429, choice=Choice("stand_in", "b", NOW)), Attempt("c", "deliver", 200))
    assert decode_attempts(encode_attempts(attempts)) == attempts
    assert decode_attempts('[{"account_id":"a","verdict":"deliver","status":200}]') == (Attempt("a", "deliver", 200),)
