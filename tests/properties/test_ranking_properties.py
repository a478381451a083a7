"""The order that is kept between changes is the one that sorting everybody would give."""

from hypothesis import given
from hypothesis import strategies as st

from ccflare.forecast import Aside
from ccflare.limits import Reading, SetAside, Window
from ccflare.pool import Ask
from ccflare.pool.member import NEVER, Member
from ccflare.pool.ranking import Ranking
from ccflare.records import Account
from ccflare.strategy import order
from pool_kit import NOW, account, pool_of

NAMES = tuple("abcdef")
MODELS = ("claude-opus-5", "claude-haiku-4-5", None)
CHANGES = st.tuples(
    st.sampled_from(["begin", "end", "served", "limit", "pause", "priority", "aside", "note", "wait"]),
    st.sampled_from(NAMES),
    st.integers(0, 5),
)


def change(member: Member, what: str, size: int, now_ms: int) -> None:
    """Do to a member what the pool does."""
    match what:
        case "begin" | "end":
            member.in_flight += 1 if what == "begin" else -1
        case "served":
            member.idle_rank = -now_ms
        case "limit":
            member.learn(limited_until_ms=now_ms + size * 100)
        case "pause":
            member.learn(paused=bool(size % 2))
        case "priority":
            member.reload(Account(id=member.id, name=member.id, created_at_ms=0, priority=size))
        case "aside":
            member.set_aside(Aside("claude-opus-5", False, now_ms + size * 100, "r"), now_ms)
        case "note":
            window = Window("5h", size / 5, "allowed", now_ms + 1000)
            member.note(Reading(status="allowed", windows=(window,)), now_ms)


@given(st.lists(CHANGES, max_size=60), st.sampled_from([None, *NAMES]))
def test_first_two_are_the_head_of_everybody_sorted(changes: list[tuple[str, str, int]], left_out: str | None) -> None:
    """After any changes, for each model, and without any one member: the least of those that can serve."""
    members = {name: Member(account(name), 0, NOW) for name in NAMES}
    ranking, now_ms = Ranking(), NOW
    ranking.replace(members.values())
    for what, name, size in changes:
        if what == "wait":
            now_ms += size * 60
        else:
            change(members[name], what, size, now_ms)
            ranking.touch(members[name])
        without = None if left_out is None else members[left_out]
        for model in MODELS:
            usable = [each for each in members.values() if each.opens_at(model) <= now_ms and each is not without]
            expected = [*order(usable), None, None][:2]
            assert list(ranking.first_two(model, now_ms, without)) == expected


def test_those_who_wait_for_ever_are_not_kept() -> None:
    """A ranking forgets who cannot come back by itself, and knows who has been given back."""
    member, ranking = Member(account("a"), 0, NOW), Ranking()
    ranking.replace([member])
    member.learn(paused=True)
    ranking.touch(member)
    assert ranking.first_two(None, NEVER - 1, None) == (None, None)
    member.learn(paused=False)
    ranking.touch(member)
    assert ranking.first_two(None, NOW, None) == (member, None)


def test_old_entries_are_cleared_away() -> None:
    """However often accounts change, what a ranking holds is bounded by their number."""
    members, ranking = [Member(account(name), 0, NOW) for name in NAMES], Ranking()
    ranking.replace(members)
    for turn in range(5_000):
        member = members[turn % len(members)]
        member.idle_rank = -turn
        if turn % 5 == 0:
            member.learn(limited_until_ms=NOW + 60_000)
        ranking.touch(member)
        ranking.first_two(None, NOW, None)
    assert len(ranking) <= 2 * len(members) + 64


def test_windows_of_a_family_count_until_they_are_reset() -> None:
    """An account that has little left for a family comes last for its models only, and no longer than its window."""
    pool = pool_of("a", "b")
    windows = (Window("7d_opus", 0.99, "allowed", NOW + 1_000),)
    pool.note("a", Reading(status="allowed", windows=windows), NOW)
    opus, haiku = Ask("s", "claude-opus-5"), Ask("s", "claude-haiku-4-5")
    assert [next(pool.candidates(each, NOW)).id for each in (opus, haiku)] == ["b", "a"]
    assert next(pool.candidates(opus, NOW + 1_001)).id == "a"


def test_a_model_set_aside_keeps_its_place_for_others() -> None:
    """Who cannot serve one model is passed over for it, every time, and is first for another one."""
    pool = pool_of("a", "b")
    pool.apply("a", SetAside("claude-opus-5", NOW + 1_000, "r"), Ask(), NOW)
    for _ in range(3):
        assert next(pool.candidates(Ask("s", "claude-opus-5"), NOW)).id == "b"
        assert next(pool.candidates(Ask("t", "claude-haiku-4-5"), NOW)).id == "a"
    assert next(pool.candidates(Ask("s", "claude-opus-5"), NOW + 1_000)).id == "a"
