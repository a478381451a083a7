"""Payloads in the store: bound to their exchanges, read as they were written, forgotten by age and by size."""

import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from ccflare.errors import StoreBusy
from ccflare.payload import Content, Payload
from ccflare.store import Store, open_store
from ccflare.store.packing import JOIN_MS
from payload_kit import PLENTY, content, forget, keep, kept, payload

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
    for each in made:
        keep(store, each)
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
