"""What is kept of a body: as much as there is room for, in steps, and nothing behind what was cut."""

from hypothesis import given
from hypothesis import strategies as st

from ccflare.payload import _STEP_BYTES, MAX_BODY_BYTES, Tape
from ccflare.wire import ByteBudget

SIZES = st.sampled_from([0, 1, 100, _STEP_BYTES - 1, _STEP_BYTES, _STEP_BYTES + 1, 3 * _STEP_BYTES, MAX_BODY_BYTES])
LIMITS = SIZES | st.sampled_from([5 * _STEP_BYTES, 2 * MAX_BODY_BYTES])


@given(sizes=st.lists(SIZES, max_size=6), limit=LIMITS)
def test_a_tape_takes_room_in_steps(sizes: list[int], limit: int) -> None:
    """Of the budget it has whole steps, or what the body is longer, up to the bound; it gives back all of it."""
    budget = ByteBudget(limit)
    tape = Tape(budget)
    granted = kept = length = 0
    cut = False
    for size in sizes:
        tape.add(bytes(size))
        length += size
        if length > granted and not cut:
            wanted = min(max(granted + _STEP_BYTES, length), MAX_BODY_BYTES)
            granted = wanted if wanted <= limit else granted
            cut = length > granted
        kept = granted if cut else length
        assert (budget.held, tape.length, tape.cut) == (granted, length, cut)
        assert sum(map(len, tape.parts)) == kept

    tape.release()

    assert (budget.held, tape.kept_bytes, tape.failed) == (0, kept, False)
