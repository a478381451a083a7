"""Frames of the bus: whatever the pieces they come in, what comes out is what went in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccflare.bus.frames import LONGEST, Frame, Kind, Splitter

FRAMES = st.builds(
    Frame,
    kind=st.sampled_from([int(kind) for kind in Kind]),
    topic=st.text(max_size=20),
    body=st.binary(max_size=200),
    worker=st.integers(0, 2**32 - 1),
    ticket=st.integers(0, 2**63),
)


@given(st.lists(FRAMES, max_size=5), st.integers(1, 50))
def test_any_split_gives_the_same_frames(frames: list[Frame], size: int) -> None:
    """Frames that arrive in pieces of any size come out whole and in order, and nothing is left."""
    data = b"".join(frame.packed() for frame in frames)
    splitter = Splitter()
    found = [frame for at in range(0, len(data), size) for frame in splitter.feed(data[at : at + size])]
    assert found == frames
    assert splitter.rest() == b""


def test_an_absurd_length_is_refused() -> None:
    """A frame that says to be longer than any may be is not waited for, and none is made."""
    with pytest.raises(ValueError, match="bytes"):
        list(Splitter().feed(b"\xff" * 64))
    with pytest.raises(ValueError, match="too long"):
        Frame(Kind.NEWS, "x", bytes(LONGEST + 1)).packed()
