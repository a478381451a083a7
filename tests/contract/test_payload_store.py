"""Payloads in the store: byte for byte, small, bound to their exchanges, forgotten by age and by size."""

import hashlib
import random
import sqlite3
import string
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ccflare.errors import StoreBusy, StoreError
from ccflare.payload import Content, Payload
from ccflare.records import Exchange
from ccflare.store import Batch, Store, open_store
from ccflare.store.packing import (
    BUDGET_SHARE,
    GROUP_BYTES,
    GROUP_MS,
    JOIN_BYTES,
    JOIN_MS,
    LONGEST_CHAIN,
    Packer,
    unpack,
)
from ccflare.store.phrases import PHRASES

PLENTY = 1 << 40


def payload(number: int, **fields: Any) -> Payload:
    made = Payload(
        id=f"x{number:05d}",
        timestamp_ms=10_000 + number,
        session="s",
        target="/v1/messages",
        request_head=b"content-type: application/json\nx-number: %d\n" % number,
        request=content(b'{"messages":[' + b'"again and again",' * 50 + b"%d]}" % number),
        status=200,
        response=content(b"answer %d" % number),
    )
    return msgspec.structs.replace(made, **fields)


def content(data: bytes) -> Content:
    return Content(data, len(data))


def conversation(turns: int, seed: int = 1) -> list[bytes]:
    """Bodies as an agent sends them: everything said so far, and one more turn of words that do not repeat."""
    rng = random.Random(seed)

    def text(size: int) -> str:
        return "".join(rng.choices(string.ascii_lowercase + "      ", k=size))

    system, said, bodies = text(20_000), [], []
    for _ in range(turns):
        said.append(f'{{"role":"user","content":"{text(700)}"}}')
        bodies.append(f'{{"messages":[{",".join(said)}],"system":"{system}","stream":true}}'.encode())
        said.append(f'{{"role":"assistant","content":"{text(700)}"}}')
    return bodies


def keep(store: Store, *payloads: Payload, budget_bytes: int = PLENTY) -> None:
    """Store payloads with their exchanges."""
    rows = [
        Exchange(
            id=each.id, timestamp_ms=each.timestamp_ms, method="POST", path="/v1/messages", status_code=200,
            success=True, response_time_ms=1,
        )
        for each in payloads
    ]  # fmt: skip
    store.write(Batch(exchanges=rows))
    assert store.payloads.write(payloads, budget_bytes=budget_bytes) == len(payloads)


def forget(store: Store, before_ms: int = 0, budget_bytes: int = PLENTY, at_most: int = 1000) -> int:
    return store.payloads.forget(before_ms=before_ms, budget_bytes=budget_bytes, at_most=at_most)


def kept(store: Store, *payloads: Payload) -> list[str]:
    """The ids of the payloads that are there; each must be the same as it was."""
    found = {each.id: store.payloads.read(each.id) for each in payloads}
    assert all(found[each.id] in (None, each) for each in payloads)
    return [name for name, each in found.items() if each is not None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ccflare.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    made = open_store(path)
    yield made
    made.close()


# Packing.

BODY = st.binary(max_size=200) | st.sampled_from(conversation(6)) | st.sampled_from(conversation(3, 2))


@settings(max_examples=60, deadline=None)
@given(
    bodies=st.lists(st.tuples(st.sampled_from(["s", "t", None]), BODY, st.binary(max_size=99)), max_size=30),
    remembered_bytes=st.sampled_from([0, 30_000, 1 << 24]),
)
def test_every_payload_comes_back_byte_for_byte(
    bodies: list[tuple[str | None, bytes, bytes]], remembered_bytes: int
) -> None:
    """Whatever bodies follow each other in whatever sessions, unpacking its chain gives each payload as it was."""
    packer, packed = Packer(remembered_bytes), {}
    for number, (session, request, response) in enumerate(bodies):
        made = payload(number, session=session, request=content(request), response=content(response))
        [each] = packer.pack([made])
        packed[made.id] = each
        chain = [each]
        while chain[0].base is not None:
            chain.insert(0, packed[chain[0].base])
            assert chain[0].group_id == each.group_id
        assert len(chain) <= LONGEST_CHAIN + 1
        assert unpack(chain) == made


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
    long = content(random.Random(1).randbytes(10_000))
    made = [payload(n, session=f"s{n % 3}", response=long) for n in range(60)]
    keep(store, *made, budget_bytes=1_000_000)
    with closing(sqlite3.connect(path)) as db:
        sizes = [size for (size,) in db.execute("SELECT bytes FROM payload_groups")]
    assert sum(sizes) > 600_000
    assert max(sizes) < 1_000_000 / BUDGET_SHARE + 20_000
    forget(store, budget_bytes=400_000)
    assert kept(store, *made)[-1] == "x00059"


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


# Writing and reading.


def test_any_payload_is_read_as_it_was_written(store: Store, path: Path) -> None:
    """Empty bodies, cut ones, no status, no session, odd characters; also by another connection."""
    made = [
        payload(0),
        payload(1, request=Content(), response=Content(), status=None, request_head=b""),
        payload(2, request=Content(b"abc", 10**9), response=Content(bytes(1024 * 1024), 2 * 1024 * 1024)),
        payload(3, session=None, target="/v1/\xff?\x00", response_head=b"x: \xe9\nx: \n"),
    ]
    keep(store, *made)
    other = open_store(path)
    assert kept(other, *made) == [each.id for each in made]
    other.close()
    assert store.payloads.read("unknown") is None


def test_a_payload_without_its_exchange_is_not_kept(store: Store) -> None:
    """What was cleared in the meantime does not come back, nor is anything compressed against it."""
    keep(store, payload(0))
    assert store.payloads.write([payload(1)], budget_bytes=PLENTY) == 0
    keep(store, payload(2))
    assert kept(store, payload(0), payload(1), payload(2)) == ["x00000", "x00002"]


def test_a_batch_that_is_written_again_is_not_kept_twice(store: Store) -> None:
    """A commit that was reported as failed and had succeeded may be repeated."""
    keep(store, payload(0), payload(1))
    size = store.payloads.size_bytes()
    assert store.payloads.write([payload(0), payload(1)], budget_bytes=PLENTY) == 0
    assert store.payloads.size_bytes() == size


def test_nothing_is_compressed_against_what_could_not_be_written(store: Store, path: Path) -> None:
    """After a failed transaction payloads are readable all the same."""
    keep(store, payload(0))
    quick = open_store(path, busy_timeout_s=0.01)
    other = sqlite3.connect(path, isolation_level=None)
    keep(quick, payload(1))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy):
        quick.payloads.write([payload(2)], budget_bytes=PLENTY)
    other.execute("ROLLBACK")
    other.close()
    keep(quick, payload(3))
    assert kept(quick, *map(payload, range(4))) == ["x00000", "x00001", "x00003"]
    quick.close()


def test_nothing_is_compressed_against_what_was_rolled_back(store: Store, path: Path) -> None:
    """A transaction that fails at its end leaves nothing that later payloads depend on."""
    keep(store, payload(0))
    other = sqlite3.connect(path)
    other.execute("CREATE TRIGGER full BEFORE INSERT ON payloads BEGIN SELECT RAISE(ABORT, 'no room'); END")
    with pytest.raises(ValueError, match="no room"):
        keep(store, payload(1))
    other.execute("DROP TRIGGER full")
    other.close()
    keep(store, payload(2))
    assert kept(store, *map(payload, range(3))) == ["x00000", "x00002"]


def test_a_batch_of_many_sessions_makes_one_group(store: Store, path: Path) -> None:
    """What is written besides the payloads themselves does not grow with the number of sessions."""
    keep(store, *(payload(n, session=f"s{n}") for n in range(100)))
    keep(store, *(payload(n, session=f"s{n}") for n in range(100, 200)))
    with closing(sqlite3.connect(path)) as db:
        found = db.execute("SELECT id, ended, bytes FROM payload_groups").fetchall()
        assert found == [("x00000", 10_199, db.execute("SELECT SUM(bytes) FROM payloads").fetchone()[0])]


def test_groups_of_a_session_each_are_forgotten(store: Store, path: Path) -> None:
    """As they were written before groups were of many sessions."""
    made = [payload(n, session=f"s{n}") for n in range(4)]
    keep(store, *made)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DELETE FROM payload_groups")
        db.execute("UPDATE payloads SET group_id = id")
        db.execute("INSERT INTO payload_groups SELECT id, timestamp, bytes FROM payloads")
    assert forget(store, before_ms=10_002) == 2
    assert kept(store, *made) == ["x00002", "x00003"]
    keep(store, payload(4, session="s3"))
    assert kept(store, payload(4, session="s3")) == ["x00004"]


def test_two_connections_write_at_once(store: Store, path: Path) -> None:
    """Each compresses against its own, and both read everything."""
    other = open_store(path)
    for number in range(0, 10, 2):
        keep(store, payload(number))
        keep(other, payload(number + 1))
    made = [payload(n) for n in range(10)]
    assert kept(store, *made) == kept(other, *made) == [each.id for each in made]
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT id FROM payload_groups ORDER BY id").fetchall() == [("x00000",), ("x00001",)]
    other.close()


def test_a_group_that_another_process_deletes_is_not_continued(store: Store, path: Path) -> None:
    """After a clear elsewhere new payloads of the session begin anew."""
    keep(store, payload(0))
    other = open_store(path)
    other.payloads.clear()
    other.close()
    keep(store, payload(1))
    assert kept(store, payload(0), payload(1)) == ["x00001"]


def test_opening_a_store_does_not_load_the_compressor(tmp_path: Path) -> None:
    """Commands that touch no payload do not pay for it."""
    code = (
        "import sys, pathlib; from ccflare.store import open_store; "
        f"open_store(pathlib.Path({str(tmp_path / 'x.db')!r})).close(); sys.exit('zstandard' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Forgetting.


def test_old_groups_go_and_young_ones_stay(store: Store) -> None:
    """A group is as old as its latest exchange, and goes as a whole."""
    old = [payload(n, session="old") for n in range(3)]
    later = [JOIN_MS + 20_000, JOIN_MS + 90_000]
    mixed = [payload(3 + n, session="mixed", timestamp_ms=at_ms) for n, at_ms in enumerate(later)]
    keep(store, *old, *mixed)
    assert forget(store, before_ms=JOIN_MS + 50_000) == 3
    assert forget(store, before_ms=JOIN_MS + 50_000) == 0
    assert kept(store, *old, *mixed) == ["x00003", "x00004"]


def test_a_large_group_goes_in_steps_the_rest_readable(store: Store) -> None:
    """Between the calls what is left can be read, and a group that is begun is ended."""
    made = [payload(n) for n in range(10)]
    young = payload(10, session="young", timestamp_ms=JOIN_MS + 90_000)
    keep(store, *made, young)
    assert forget(store, before_ms=50_000, at_most=4) == 4
    assert kept(store, *made) == [each.id for each in made[:6]]
    keep(store, payload(11, timestamp_ms=90_000))  # does not join what is being deleted
    assert [forget(store, before_ms=50_000, at_most=4) for _ in range(3)] == [4, 2, 0]
    assert kept(store, *made, young) == ["x00010"]
    assert store.payloads.read("x00011") == payload(11, timestamp_ms=90_000)


def test_the_oldest_go_when_there_is_too_much(store: Store) -> None:
    """Payloads are deleted until the rest is within the budget, and no further."""
    made = [
        payload(n, session=f"s{n}", timestamp_ms=n * JOIN_MS, response=content(random.Random(n).randbytes(1000)))
        for n in range(10)
    ]
    keep(store, *made)
    budget = store.payloads.size_bytes() * 55 // 100
    assert forget(store, budget_bytes=budget) == 5
    assert store.payloads.size_bytes() <= budget
    assert kept(store, *made) == [each.id for each in made[5:]]


def test_a_step_is_bounded_in_bytes(store: Store) -> None:
    """Large payloads are deleted a few at a time."""
    noise = random.Random(1)
    keep(store, *(payload(n, response=content(noise.randbytes(600_000))) for n in range(6)))
    assert [forget(store, budget_bytes=0) for _ in range(4)] == [2, 2, 2, 0]


def test_clearing_leaves_nothing(store: Store) -> None:
    """No payload, no group, no byte; and it goes on afterwards."""
    keep(store, payload(0), payload(1, session=None))
    store.payloads.clear()
    assert (kept(store, payload(0), payload(1, session=None)), store.payloads.size_bytes()) == ([], 0)
    keep(store, payload(2))
    assert kept(store, payload(2)) == ["x00002"]


def test_old_payloads_are_found_by_an_index(path: Path, store: Store) -> None:
    """Neither reading nor forgetting scans the payloads themselves."""
    db = sqlite3.connect(path)
    plans = [
        row[3]
        for query in (
            "SELECT id, ended FROM payload_groups ORDER BY ended, id LIMIT 1",
            "SELECT rowid, bytes FROM payloads WHERE group_id = 'x' ORDER BY rowid DESC LIMIT 9",
            "SELECT id FROM payloads WHERE id = 'x'",
        )
        for row in db.execute(f"EXPLAIN QUERY PLAN {query}")
    ]
    db.close()
    assert all("USING" in plan and "INDEX" in plan for plan in plans), plans
    assert not any("TEMP B-TREE" in plan for plan in plans), plans


# The original program's.


def test_the_originals_payloads_are_read(path: Path, store: Store) -> None:
    """Headers, decoded bodies and status; what cannot be read is not there."""
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE request_payloads (id TEXT PRIMARY KEY, json TEXT NOT NULL)")
    theirs = (
        '{"request":{"headers":{"a":"b"},"body":"aGVsbG8="},'
        '"response":{"status":201,"headers":{"c":"d"},"body":null},"meta":{}}'
    )
    broken = [("b1", "not JSON"), ("b2", "[]"), ("b3", '{"request":{"headers":[],"body":"%"}}')]
    db.executemany("INSERT INTO request_payloads VALUES (?, ?)", [("t", theirs), *broken])
    db.commit()
    db.close()
    assert store.payloads.read("t") == Payload(
        id="t", timestamp_ms=0, target="", request_head=b"a: b\n", request=content(b"hello"), status=201,
        response_head=b"c: d\n",
    )  # fmt: skip
    assert store.payloads.read("b1") is None
    odd = store.payloads.read("b3")
    assert odd is not None
    assert odd.request == content(b"%")


def test_the_originals_payloads_are_forgotten_by_age(path: Path, store: Store) -> None:
    """With their exchanges' time, or at once when there is no exchange; the budget does not count them."""
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE request_payloads (id TEXT PRIMARY KEY, json TEXT NOT NULL)")
    db.executemany("INSERT INTO request_payloads VALUES (?, '{}')", [("x00000",), ("gone",), ("x00001",)])
    db.commit()
    keep(store, payload(0), payload(1))
    db.execute("DELETE FROM payloads")
    db.execute("DELETE FROM payload_groups")
    db.commit()
    assert forget(store, before_ms=10_001, budget_bytes=0) == 2
    assert db.execute("SELECT id FROM request_payloads").fetchall() == [("x00001",)]
    store.payloads.clear()
    assert db.execute("SELECT COUNT(*) FROM request_payloads").fetchone() == (0,)
    db.close()


# What is left in the file.


def test_the_file_becomes_smaller_in_steps(path: Path, store: Store) -> None:
    """Unused pages are given back a few at a time, without a VACUUM."""
    keep(store, *(payload(n, response=content(random.Random(n).randbytes(500_000))) for n in range(4)))
    store.leftovers.checkpoint()
    before = path.stat().st_size
    while forget(store, budget_bytes=0):
        pass
    assert store.leftovers.give_back(at_most_pages=10) == 10
    while store.leftovers.give_back(at_most_pages=200):
        pass
    store.leftovers.checkpoint()
    assert path.stat().st_size < before / 5


def test_some_unused_pages_may_stay(store: Store) -> None:
    """What will be used again need not be given back."""
    keep(store, payload(0, response=content(random.Random(0).randbytes(900_000))))
    forget(store, budget_bytes=0)
    assert store.leftovers.give_back(at_most_pages=10_000, keep_pages=100) > 0
    assert store.leftovers.give_back(at_most_pages=10_000, keep_pages=100) == 0
    assert store.leftovers.give_back(at_most_pages=10_000) == 100


def test_a_file_that_was_not_made_to_shrink_stays_as_it_is(tmp_path: Path) -> None:
    """Nothing is tried on it, and nothing fails."""
    path = tmp_path / "fixed.db"
    open_store(path).close()
    db = sqlite3.connect(path, isolation_level=None)
    for statement in ("PRAGMA journal_mode = DELETE", "PRAGMA auto_vacuum = NONE", "VACUUM"):
        db.execute(statement).fetchall()
    db.close()
    store = open_store(path)
    keep(store, payload(0, response=content(random.Random(0).randbytes(100_000))))
    store.payloads.clear()
    assert store.leftovers.give_back(at_most_pages=100) == 0
    store.close()


def test_sign_ins_that_were_never_ended_are_forgotten(path: Path, store: Store) -> None:
    """The original's table, where there is one."""
    assert store.leftovers.forget_sign_ins(before_ms=50, at_most=10) == 0
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE oauth_sessions (id TEXT PRIMARY KEY, created_at INTEGER NOT NULL)")
    db.execute("INSERT INTO oauth_sessions VALUES ('old', 1), ('older', 0), ('new', 99)")
    db.commit()
    assert [store.leftovers.forget_sign_ins(before_ms=50, at_most=1) for _ in range(3)] == [1, 1, 0]
    assert db.execute("SELECT id FROM oauth_sessions").fetchall() == [("new",)]
    db.close()
