"""What was said in exchanges: written by the journal, read by people, forgotten by age and by size."""

from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from itertools import chain
from typing import TYPE_CHECKING

import msgspec

from ccflare.payload import Payload
from ccflare.store.database import Database, Value, chunks
from ccflare.store.difference import NOTHING_TOLD, Told

if TYPE_CHECKING:
    from ccflare.store.packing import Packed, Packer

# It answers with one row: every row that is fetched beside a busy event loop waits for its turn.
_WANTED_AND_OPEN = """
    SELECT
        (SELECT json_group_array(value) FROM json_each(?)
         WHERE value IN (SELECT id FROM requests) AND value NOT IN (SELECT id FROM payloads)),
        (SELECT COUNT(*) FROM json_each(?) JOIN payload_groups ON payload_groups.id = value WHERE ended > 0)"""

_CHAIN = """
    WITH RECURSIVE chain (id, base, depth) AS (
        SELECT id, base, 0 FROM payloads WHERE id = ?
        UNION ALL SELECT payloads.id, payloads.base, depth + 1 FROM chain JOIN payloads ON payloads.id = chain.base
        WHERE depth < 1000
    )
    SELECT
        payloads.id, payloads.timestamp, payloads.group_id, payloads.base, COALESCE(holder.head, x''),
        payloads.request, CASE depth WHEN 0 THEN payloads.response END,
        payloads.packing, payloads.frame_of, payloads.place
    FROM chain
    JOIN payloads ON payloads.id = chain.id
    LEFT JOIN payloads AS holder ON holder.id = COALESCE(payloads.frame_of, payloads.id)
    ORDER BY depth DESC"""

_OLDEST = "SELECT id, ended FROM payload_groups ORDER BY ended, id LIMIT 1"
_NEWEST_OF = "SELECT rowid, bytes FROM payloads WHERE group_id = ? ORDER BY rowid DESC LIMIT ?"
_DELETE_FROM = "DELETE FROM payloads WHERE group_id = ? AND rowid >= ?"
_SHRINK_GROUP = "UPDATE payload_groups SET ended = 0, bytes = bytes - ? WHERE id = ?"
_DELETE_GROUP = """
    DELETE FROM payload_groups WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM payloads WHERE group_id = ?1)"""

_THEIRS = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'request_payloads'"
_SELECT_THEIRS = """
    SELECT COALESCE(requests.timestamp, 0), CAST(json AS BLOB)
    FROM request_payloads LEFT JOIN requests USING (id) WHERE request_payloads.id = ?"""
_DELETE_THEIRS = """
    DELETE FROM request_payloads WHERE rowid IN (
        SELECT first.number
        FROM (SELECT rowid AS number, id FROM request_payloads ORDER BY rowid LIMIT ?) AS first
        LEFT JOIN requests ON requests.id = first.id
        WHERE COALESCE(requests.timestamp, 0) < ?
    )"""

_STEP_BYTES = 1024 * 1024
"""So much is deleted at once; a single payload may be more."""


class Payloads:
    """A part of a store. Compressed together are the payloads that one connection has written."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def write(self, payloads: Sequence[Payload], told: Mapping[str, Told] = NOTHING_TOLD, *, budget_bytes: int) -> int:
        """Keep payloads whose exchanges are stored, in one transaction; return how many are new.

        Of the others nothing is kept: their exchanges were cleared in the meantime. The budget is what all may take;
        the smaller it is, the fewer are put together that can only be forgotten together. `told` are requests, by
        their exchange's id, that were compared with an earlier one already.
        """
        self._packer.keep_within(budget_bytes)
        try:
            with self._db.transaction():
                packed = self._packer.pack(self._wanted(payloads), told)
                self._insert(packed)
        except BaseException:
            self._packer.forget()  # nothing may be compressed against what is not stored
            raise
        return len(packed)

    def read(self, exchange_id: str) -> Payload | None:
        """Return what was said in an exchange; None when it was not kept. Raises StoreError when it is damaged."""
        from ccflare.store.packing import Packed, unpack

        chain = [Packed(*row) for row in self._db.rows(_CHAIN, (exchange_id,))]
        return unpack(chain) if chain else self._read_theirs(exchange_id)

    def size_bytes(self) -> int:
        """Return what all payloads take; those of the original program do not count."""
        row = self._db.one("SELECT COALESCE(SUM(bytes), 0) FROM payload_groups")
        return int(row[0]) if row else 0

    def forget(self, *, before_ms: int, budget_bytes: int, at_most: int) -> int:
        """Delete some of the payloads that are too old or too many, the oldest first; return how many.

        A group goes as a whole, if need be over several calls. Of the original's payloads age alone decides.
        """
        with self._db.transaction():
            forgotten = self._forget_ours(before_ms, budget_bytes, at_most)
            if not forgotten and self._has_theirs():
                forgotten = self._db.run(_DELETE_THEIRS, (at_most, before_ms))
        return forgotten

    def clear(self) -> None:
        """Delete all payloads, in the caller's transaction if there is one."""
        self._db.run("DELETE FROM payloads")
        self._db.run("DELETE FROM payload_groups")
        if self._has_theirs():
            self._db.run("DELETE FROM request_payloads")

    @cached_property
    def _packer(self) -> "Packer":
        from ccflare.store.packing import Packer

        return Packer()

    def _wanted(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Return those that are to be kept. New groups begin when an open one was deleted, by whomever."""
        ids, groups = [each.id for each in payloads], self._packer.groups_of(payloads)
        [(wanted, still_open)] = self._db.rows(_WANTED_AND_OPEN, (_json(ids), _json(list(groups))))
        if still_open != len(groups):
            self._packer.forget()
        chosen = set(msgspec.json.decode(wanted))
        return [each for each in payloads if each.id in chosen]

    def _insert(self, packed: Sequence["Packed"]) -> None:
        groups: dict[str, tuple[str, int, int]] = {}
        for some in chunks(packed):
            values: list[Value] = []
            for each in some:
                size = len(each.frame)
                _, ended, before = groups.get(each.group_id, ("", 0, 0))
                groups[each.group_id] = each.group_id, max(ended, each.timestamp_ms), size + before
                values += (
                    each.id, each.timestamp_ms, each.group_id, each.base, size, each.frame, each.packing,
                    each.frame_of, each.place,
                )  # fmt: skip
            self._db.run(_insert_payloads(len(some)), values)
        for some_groups in chunks(list(groups.values())):
            self._db.run(_upsert_groups(len(some_groups)), list(chain.from_iterable(some_groups)))

    def _forget_ours(self, before_ms: int, budget_bytes: int, at_most: int) -> int:
        forgotten, over_bytes = 0, self.size_bytes() - budget_bytes
        left_bytes = _STEP_BYTES
        while forgotten < at_most and left_bytes > 0:
            oldest = self._db.one(_OLDEST)
            if oldest is None or (oldest[1] >= before_ms and over_bytes <= 0):
                break
            count, size = self._forget_of(oldest[0], at_most - forgotten, left_bytes)
            forgotten += count
            over_bytes -= size
            left_bytes -= size
        return forgotten

    def _forget_of(self, group_id: str, at_most: int, at_most_bytes: int) -> tuple[int, int]:
        """Delete the newest of a group, on which no other depends; return how many, and their bytes.

        What a frame takes counts with its first payload, which goes last.
        """
        first, count, size = 0, 0, 0
        for number, one in self._db.rows(_NEWEST_OF, (group_id, at_most)):
            first, count, size = number, count + 1, size + one
            if size >= at_most_bytes:
                break
        self._db.run(_DELETE_FROM, (group_id, first))
        self._db.run(_SHRINK_GROUP, (size, group_id))
        self._db.run(_DELETE_GROUP, (group_id,))
        return count, size

    def _has_theirs(self) -> bool:
        return self._db.one(_THEIRS) is not None

    def _read_theirs(self, exchange_id: str) -> Payload | None:
        """Read what the original program kept."""
        from ccflare.store.original.payloads import read_payload

        row = self._db.one(_SELECT_THEIRS, (exchange_id,)) if self._has_theirs() else None
        return None if row is None or row[1] is None else read_payload(exchange_id, row[0], row[1])


@cache
def _insert_payloads(count: int) -> str:
    places = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?, ?)"] * count)
    return f"""
        INSERT INTO payloads (id, timestamp, group_id, base, bytes, head, packing, frame_of, place)
        VALUES {places}"""  # noqa: S608  # question marks


@cache
def _upsert_groups(count: int) -> str:
    return f"""
        INSERT INTO payload_groups (id, ended, bytes) VALUES {", ".join(["(?, ?, ?)"] * count)}
        ON CONFLICT (id) DO UPDATE SET ended = max(ended, excluded.ended), bytes = bytes + excluded.bytes"""  # noqa: S608  # question marks


def _json(texts: list[str]) -> str:
    return msgspec.json.encode(texts).decode()
