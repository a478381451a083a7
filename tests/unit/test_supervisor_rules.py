"""What a supervisor decides: who serves what nobody serves yet, and when a dead worker is replaced."""

from itertools import pairwise

from ccflare.supervisor.backoff import LONGEST_S, SOUND_S, Backoff
from ccflare.supervisor.claims import Claims


def test_what_has_failed_is_replaced_by_the_first_to_say_so() -> None:
    """Those that say so later, and whoever comes new, get what the first one went on to."""
    claims = Claims()
    assert claims.claim(1, "session", "a") == "a"
    assert claims.claim(2, "session", "c", instead_of="a") == "c"
    assert claims.claim(1, "session", "b", instead_of="a") == "c"
    assert claims.claim(3, "session", "a") == "c"
    assert claims.claim(1, "other", "b", instead_of="a") == "b"


def test_the_first_claim_decides_as_long_as_it_is_held() -> None:
    """Whoever claims a held key gets the first one's value; once all have released it the next one decides anew."""
    claims = Claims()
    assert claims.claim(1, "session", "a") == "a"
    assert claims.claim(2, "session", "b") == "a"
    claims.release(1, "session")
    assert claims.claim(3, "session", "c") == "a"
    claims.release(2, "session")
    claims.release(3, "session")
    assert claims.claim(1, "session", "d") == "d"


def test_a_key_changes_its_value_for_those_to_come() -> None:
    """A claim that has failed over takes those who come later with it; a key that nobody holds is not made by that."""
    claims = Claims()
    claims.reclaim("session", "x")
    assert claims.claim(1, "session", "a") == "a"
    claims.reclaim("session", "b")
    assert claims.claim(2, "session", "c") == "b"


def test_a_worker_that_has_ended_holds_nothing() -> None:
    """The claims of a dead worker are free, those that others hold too are not."""
    claims = Claims()
    claims.claim(1, "mine", "a")
    claims.claim(1, "ours", "a")
    claims.claim(2, "ours", "b")
    claims.forget(1)
    assert claims.claim(2, "mine", "b") == "b"
    assert claims.claim(3, "ours", "c") == "a"


def test_only_what_is_held_can_be_released() -> None:
    """A release too many takes nothing from another worker."""
    claims = Claims()
    claims.claim(1, "session", "a")
    claims.release(2, "session")
    claims.release(2, "session")
    assert claims.claim(3, "session", "b") == "a"


def test_claims_are_bounded() -> None:
    """Of too many keys the oldest is forgotten."""
    claims = Claims(at_most=2)
    for key in ("one", "two", "three"):
        claims.claim(1, key, "a")
    assert len(claims) == 2
    assert claims.claim(2, "one", "b") == "b"


def test_pauses_grow_while_workers_die_young() -> None:
    """Each early death doubles the pause up to a bound; a worker that has lived long starts it anew."""
    backoff = Backoff()
    pauses = [backoff.pause_s(1.0) for _ in range(12)]
    assert pauses[0] < 0.2
    assert all(later >= 2 * earlier or later == LONGEST_S for earlier, later in pairwise(pauses))
    assert pauses[-1] == LONGEST_S
    assert backoff.pause_s(SOUND_S + 1) == pauses[0]
