"""How payloads are packed: byte for byte, small, told by each other, together in frames and groups."""

import hashlib
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ccflare.errors import StoreError
from ccflare.payload import Payload
from ccflare.store import Store
from ccflare.store.packing import (
    BUDGET_SHARE,
    FRAME_BYTES,
    GROUP_BYTES,
    GROUP_MS,
    JOIN_BYTES,
    JOIN_MS,
    LONGEST_CHAIN,
    Packed,
    Packer,
    unpack,
)
from ccflare.store.phrases import PHRASES
from payload_kit import content, conversation, forget, keep, kept, payload

BODY = st.binary(max_size=200) | st.sampled_from(conversation(6)) | st.sampled_from(conversation(3, 2))


@settings(max_examples=60, deadline=None)
@given(
    bodies=st.lists(st.tuples(st.sampled_from(["s", "t", None]), BODY, st.binary(max_size=99)), max_size=30),
    remembered_bytes=st.sampled_from([0, 30_000, 1 << 24]),
    at_once=st.sampled_from([1, 2, 12, 30]),
)
def test_every_payload_comes_back_byte_for_byte(
    bodies: list[tuple[str | None, bytes, bytes]], remembered_bytes: int, at_once: int
) -> None:
    """Whatever bodies follow each other in whatever sessions, unpacking its chain gives each payload as it was."""
    packer, packed = Packer(remembered_bytes), dict[str, Packed]()
    made = [
        payload(number, session=session, request=content(request), response=content(response))
        for number, (session, request, response) in enumerate(bodies)
    ]
    for start in range(0, len(made), at_once):
        for each in packer.pack(made[start : start + at_once]):
            packed[each.id] = each if each.frame_of is None else whole(each, packed[each.frame_of])
    for expected in made:
        chain = [packed[expected.id]]
        while chain[0].base is not None:
            chain.insert(0, packed[chain[0].base])
        assert {each.group_id for each in chain} == {chain[0].group_id}
        assert len(chain) <= LONGEST_CHAIN + 1
        assert unpack(chain) == expected


def whole(packed: Packed, holder: Packed) -> Packed:
    """Return a payload with the frame that it shares, as the store reads it."""
    assert (packed.frame, packed.group_id, holder.place) == (b"", holder.group_id, 0)
    assert holder.frame_of is None
    return msgspec.structs.replace(packed, frame=holder.frame)


def test_a_conversation_takes_little_room(store: Store) -> None:
    """Forty turns take less than a twelfth of what the best they could take one by one."""
    made = [payload(n, request=content(body)) for n, body in enumerate(conversation(40))]
    keep(store, *made)
    alone = sum(len(zstandard.ZstdCompressor(level=3).compress(each.request.data)) for each in made)
    assert store.payloads.size_bytes() < alone / 12
    assert kept(store, *made) == [each.id for each in made]


def test_a_turn_takes_little_more_than_what_is_new_in_it() -> None:
    """Wherever a client changes something else meanwhile: a counter in front, a breakpoint that moves on."""
    packer, said = Packer(), [f'{{"text":"{random.Random(n).randbytes(1500).hex()}"MARK}}' for n in range(12)]
    sizes = []
    for turn in range(1, 13):
        head = f'{{"system":"counted {turn * 7919}, {random.Random(99).randbytes(10_000).hex()}","messages":['
        messages = [text.replace("MARK", ',"mark":1' if n >= turn - 2 else "") for n, text in enumerate(said[:turn])]
        body = (head + ",".join(messages) + "]}").encode()
        sizes.append(len(packer.pack([payload(turn, request=content(body))])[0].frame))
    assert sizes[0] > 10_000
    assert max(sizes[1:]) < 2_500  # of 3,000 digits, which are 1,500 bytes


def test_conversations_side_by_side_in_one_session_are_told_apart() -> None:
    """An agent's bodies between the main ones are each compressed against their own kind."""
    packer = Packer()
    pairs = list(zip(conversation(12), conversation(12, 2), strict=True))
    made = [payload(n, request=content(body)) for n, body in enumerate(body for pair in pairs for body in pair)]
    packed = packer.pack(made)
    assert [int(each.base[1:]) for each in packed[2:] if each.base] == list(range(22))


def test_a_conversation_that_rests_is_taken_up_again() -> None:
    """However many turns of another one came meanwhile, the next turn is compressed against its own last one."""
    packer, agent = Packer(), conversation(2, 2)
    bodies = [agent[0], *conversation(12), agent[1]]
    packed = packer.pack([payload(n, request=content(body)) for n, body in enumerate(bodies)])
    assert packed[-1].base == packed[0].id


def test_what_is_not_alike_depends_on_nothing() -> None:
    """A body that has nothing in common with those before it can be read by itself."""
    packer, noise = Packer(), random.Random(1)
    packed = packer.pack([payload(n, request=content(noise.randbytes(9_000))) for n in range(3)])
    assert [each.base for each in packed] == [None, None, None]


def test_a_group_lasts_an_hour() -> None:
    """So that what is old can go while the conversation goes on."""
    packed = Packer().pack([payload(n, timestamp_ms=1 + n * GROUP_MS // 2) for n in range(4)])
    assert [each.group_id for each in packed] == ["x00000", "x00000", "x00002", "x00002"]
    assert [each.base for each in packed] == [None, "x00000", None, "x00002"]


def test_sessions_begin_in_one_group_and_go_on_in_it() -> None:
    """For a while all that begin do so in the same one; when others begin elsewhere, they stay where they are."""
    times = {"a": 0, "b": JOIN_MS - 1, None: 10, "c": JOIN_MS}
    packer = Packer()
    packer.pack([payload(n, session=each, timestamp_ms=at_ms) for n, (each, at_ms) in enumerate(times.items())])
    again = [payload(10 + n, session=each, timestamp_ms=JOIN_MS + 1) for n, each in enumerate([*times, "d"])]
    packed = packer.pack(again)
    assert [each.group_id for each in packed] == ["x00000", "x00000", "x00003", "x00003", "x00003"]
    assert [each.base for each in packed] == ["x00000", "x00001", None, "x00003", None]


@pytest.mark.parametrize(
    ("at_ms", "group"),
    [(1 - GROUP_MS, "x00001"), (2 - GROUP_MS, "x00000"), (JOIN_MS, "x00000"), (JOIN_MS + 1, "x00001")],
)
def test_a_session_that_arrived_earlier_and_took_longer_begins_no_group(at_ms: int, group: str) -> None:
    """Unless the clock was set: then a group would be kept for what arrived at quite another time."""
    packer = Packer()
    packer.pack([payload(0, timestamp_ms=1)])
    assert packer.pack([payload(1, session="t", timestamp_ms=at_ms)])[0].group_id == group


def test_a_group_has_an_end_in_bytes() -> None:
    """Sessions begin there until it has some, and go on there until it has many; then they begin with a whole body."""
    packer, noise = Packer(), random.Random(1)
    packer.pack([payload(0, session="first")])

    def fill(numbers: range) -> None:
        """Go on in a session with so many MiB."""
        long = content(noise.randbytes(1 << 20))
        packed = packer.pack([payload(number, session="first", response=long) for number in numbers])
        assert {each.group_id for each in packed} == {"x00000"}

    fill(range(1, 1 + JOIN_BYTES // (1 << 20)))
    joined = packer.pack([payload(100, session="late"), payload(101, session="first")])
    assert [(each.group_id, each.base is None) for each in joined] == [("x00100", True), ("x00000", False)]
    fill(range(200, 200 + (GROUP_BYTES - JOIN_BYTES) // (1 << 20)))
    begun = packer.pack([payload(300, session="first"), payload(301, session="late")])
    assert [(each.group_id, each.base) for each in begun] == [("x00100", None), ("x00100", "x00100")]


def test_a_group_is_a_small_part_of_the_budget(store: Store, path: Path) -> None:
    """However small that is: what is dropped together was said at nearly the same time."""
    made = [payload(n, session=f"s{n % 3}", response=content(random.Random(n).randbytes(10_000))) for n in range(60)]
    keep(store, *made, budget_bytes=1_000_000)
    with closing(sqlite3.connect(path)) as db:
        sizes = [size for (size,) in db.execute("SELECT bytes FROM payload_groups")]
    assert sum(sizes) > 600_000
    assert max(sizes) < 1_000_000 / BUDGET_SHARE + 20_000
    forget(store, budget_bytes=400_000)
    assert kept(store, *made)[-1] == "x00059"


def test_what_is_written_together_shares_frames(store: Store, path: Path) -> None:
    """Answers that are alike take the room of one; a frame is bounded, and so is what is unpacked for one payload."""
    noise = random.Random(1).randbytes(8_000)
    made = [payload(n, session=f"s{n}", response=content(noise)) for n in range(40)]
    keep(store, *made)
    assert kept(store, *made) == [each.id for each in made]
    assert store.payloads.size_bytes() < 4 * len(noise)
    plain_bytes = 40 * len(noise)
    with closing(sqlite3.connect(path)) as db:
        frames = db.execute("SELECT head, bytes FROM payloads WHERE frame_of IS NULL").fetchall()
        shared = db.execute("SELECT DISTINCT head, bytes FROM payloads WHERE frame_of IS NOT NULL").fetchall()
    assert shared == [(b"", 0)]
    assert plain_bytes / FRAME_BYTES < len(frames) <= 2 + plain_bytes // FRAME_BYTES
    for frame, size in frames:
        assert size == len(frame)
        assert zstandard.frame_content_size(frame) <= FRAME_BYTES + 200


def test_frames_do_not_reach_beyond_a_group(store: Store) -> None:
    """When one group is dropped, another written with it can be read."""
    keep(store, payload(0, session="old"))
    both = [
        payload(1 + n, session=session, timestamp_ms=10_000 + JOIN_MS + n)
        for n, session in enumerate(["new", "old", "new"])
    ]
    keep(store, *both)
    assert forget(store, before_ms=10_002 + JOIN_MS) == 2
    assert kept(store, payload(0, session="old"), *both) == ["x00001", "x00003"]


def test_a_frame_that_is_gone_is_damage(store: Store, path: Path) -> None:
    """Of the payloads that shared it none is taken for one that was never kept."""
    keep(store, *(payload(n, session=f"s{n}") for n in range(3)))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DELETE FROM payloads WHERE id = 'x00000'")
        db.execute("UPDATE payloads SET place = 7 WHERE id = 'x00002'")
        db.execute("UPDATE payloads SET frame_of = NULL, head = ? WHERE id = 'x00002'", (_frame(b"[1,1]\nab"),))
    for each in ("x00001", "x00002"):
        with pytest.raises(StoreError, match="damaged"):
            store.payloads.read(each)


def _frame(plain: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3).compress(plain)


def test_payloads_of_the_eleventh_schema_are_read(store: Store, path: Path) -> None:
    """Each had a frame of its own, without a line of lengths."""
    made = [payload(n, request=content(body)) for n, body in enumerate(conversation(5))]
    for each in made:
        keep(store, each)
    dictionary = zstandard.ZstdCompressionDict(PHRASES, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    with closing(sqlite3.connect(path)) as db, db:
        for key, frame in db.execute("SELECT id, head FROM payloads").fetchall():
            plain = zstandard.ZstdDecompressor(dict_data=dictionary).decompress(frame).partition(b"\n")[2]
            alone = zstandard.ZstdCompressor(level=3, dict_data=dictionary).compress(plain)
            db.execute("UPDATE payloads SET packing = 2, head = ? WHERE id = ?", (alone, key))
    assert kept(store, *made) == [each.id for each in made]


def test_payloads_of_the_ninth_schema_are_read(store: Store, path: Path) -> None:
    """Head, request and answer were frames of their own, the first two with those of the base as their prefix."""
    made = [payload(n, request=content(body)) for n, body in enumerate(conversation(5))]
    keep(store, *made)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DELETE FROM payloads")
        db.executemany(
            "INSERT INTO payloads (id, timestamp, group_id, base, bytes, head, request, response)"
            " VALUES (?, ?, 'x00000', ?, 1, ?, ?, ?)",
            _as_in_the_ninth_schema(made),
        )
    assert kept(store, *made) == [each.id for each in made]


def _as_in_the_ninth_schema(payloads: list[Payload]) -> Iterator[tuple[str | int | bytes | None, ...]]:
    def frame(data: bytes, prefix: bytes) -> bytes:
        dictionary = zstandard.ZstdCompressionDict(prefix, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if prefix else None
        return zstandard.ZstdCompressor(level=3, dict_data=dictionary).compress(data)

    base, head, request = None, b"", b""
    for each in payloads:
        before, head = head, msgspec.json.encode(
            (
                each.session, each.target, each.request_headers, each.request.length, each.status,
                each.response_headers, each.response.length,
            )
        )  # fmt: skip
        frames = frame(head, before), frame(each.request.data, request), frame(each.response.data, b"")
        yield each.id, each.timestamp_ms, base, *frames
        base, request = each.id, each.request.data


def test_the_phrases_are_those_that_payloads_were_written_with() -> None:
    """Another text would make every stored payload unreadable."""
    assert hashlib.sha256(PHRASES).hexdigest() == "1754f9eadaf6461a26934cfb249b68833ff23b51907e904338de6c6f2f2bf41d"


@pytest.mark.parametrize("damage", [b"", b"garbage", zstandard.ZstdCompressor().compress(bytes(5_000_000))])
def test_a_damaged_payload_is_an_error_and_no_more(store: Store, path: Path, damage: bytes) -> None:
    """Bytes that are not what was written, or would unpack to far more than a body, raise StoreError."""
    keep(store, payload(0), payload(1))
    db = sqlite3.connect(path)
    db.execute("UPDATE payloads SET head = ? WHERE id = 'x00000'", (damage,))
    db.commit()
    db.close()
    for each in ("x00000", "x00001"):
        with pytest.raises(StoreError, match="damaged"):
            store.payloads.read(each)
