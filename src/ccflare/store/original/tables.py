"""Rows of the original's tables moved into ours.

The migrations make our tables beside the original's, which step aside under another name: so an upgraded schema is a
new one by construction. Columns with our names are taken over, with their types put right; all others are added to
our table and kept. Tables that we do not have are not touched.
"""

import sqlite3
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from typing import NamedTuple, TypeAlias

Step: TypeAlias = Callable[[sqlite3.Connection], None]
"""One migration, applied inside the caller's transaction."""

MOVED = ("accounts", "requests")
"""Tables that are both the original's and ours."""
_THEIR_INDEXES = tuple(f"idx_{table}_" for table in MOVED)
"""How the original and its fork name theirs: each costs a write per request, and we ask none of their questions."""

_INTEGER = (
    "CASE typeof({0}) WHEN 'integer' THEN {0} WHEN 'real' THEN CAST({0} AS INTEGER) "
    "WHEN 'text' THEN CASE WHEN {0} GLOB '[0-9]*' AND {0} NOT GLOB '*[^0-9]*' THEN CAST({0} AS INTEGER) END END"
)
_READ = {
    "INTEGER": _INTEGER,
    "BOOLEAN": _INTEGER,
    "REAL": "CASE typeof({0}) WHEN 'integer' THEN {0} WHEN 'real' THEN {0} END",
    "TEXT": "CAST({0} AS TEXT)",
}
_EMPTY = {"INTEGER": "0", "TEXT": "''"}


class Column(NamedTuple):
    """A column as `PRAGMA table_xinfo` describes it; `default` is SQL."""

    name: str
    type: str
    required: bool
    default: str | None
    key: bool


class Schema(NamedTuple):
    """What the newest migrations make: columns by table, and the names of indexes."""

    columns: dict[str, frozenset[str]]
    indexes: frozenset[str]


def schema_of(steps: Sequence[Step]) -> Schema:
    """Return the schema that all migrations together make."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as memory:
        for step in steps:
            step(memory)
        made = memory.execute("SELECT type, name FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
        columns = {
            name: frozenset(column.name for column in columns_of(memory, name))
            for kind, name in made
            if kind == "table"
        }
        return Schema(columns, frozenset(name for kind, name in made if kind == "index"))


def columns_of(connection: sqlite3.Connection, table: str) -> list[Column]:
    """Return the columns of a table, none when there is no such table."""
    found = connection.execute(f"PRAGMA table_xinfo({quoted(table)})").fetchall()
    return [
        Column(name, kind, bool(required), default, bool(key)) for _, name, kind, required, default, key, _ in found
    ]


def tables_of(connection: sqlite3.Connection) -> set[str]:
    """Return the names of all tables."""
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def quoted(name: str) -> str:
    """Return a name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def make_room(connection: sqlite3.Connection, schema: Schema) -> tuple[dict[str, str], list[str]]:
    """Give away the names that our schema needs: return the tables' new names, and what goes with them.

    The latter are the statements of indexes and triggers that somebody has added, to be made again afterwards.
    """
    aside: dict[str, str] = {}
    attached: list[str] = []
    for kind, name, table, sql in connection.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE type IN ('index', 'trigger') AND sql IS NOT NULL"
    ).fetchall():
        if table not in MOVED and name not in schema.indexes:
            continue
        if name not in schema.indexes and not name.startswith(_THEIR_INDEXES):
            attached.append(sql)
        connection.execute(f"DROP {kind} {quoted(name)}")
    present = tables_of(connection)
    for table in sorted(present & schema.columns.keys()):
        aside[table] = _free(f"original_{table}", present | schema.columns.keys())
        connection.execute(f"ALTER TABLE {quoted(table)} RENAME TO {quoted(aside[table])}")
    return aside, attached


def move(connection: sqlite3.Connection, source: str, target: str, later: Collection[str]) -> int:
    """Copy all rows of a table into ours and drop it; return how many. `later`: column names of later migrations."""
    ours = {column.name.lower(): column for column in columns_of(connection, target)}
    targets, values = [], []
    for column in columns_of(connection, source):
        known = ours.get(column.name.lower())
        targets.append(quoted(known.name if known else _add(connection, target, column, later)))
        values.append(_value(known, column.name) if known else quoted(column.name))
    statement = f"INSERT INTO {quoted(target)} ({', '.join(targets)}) SELECT {', '.join(values)} FROM {quoted(source)}"  # noqa: S608  # names out of the schema
    moved = connection.execute(statement).rowcount
    connection.execute(f"DROP TABLE {quoted(source)}")
    return moved


def _add(connection: sqlite3.Connection, table: str, column: Column, later: Collection[str]) -> str:
    """Add a column that we do not know; return its name. It must not keep us from inserting rows of our own."""
    name = f"original_{column.name}" if column.name.lower() in {each.lower() for each in later} else column.name
    default = "" if column.default is None else f" DEFAULT ({column.default})"
    required = " NOT NULL" if column.required and column.default not in {None, "NULL"} else ""
    connection.execute(f"ALTER TABLE {quoted(table)} ADD COLUMN {quoted(name)} {column.type}{required}{default}")
    return name


def _value(column: Column, source: str) -> str:
    """Return the SQL that reads one of our columns out of the original's."""
    value = _READ[column.type].format(quoted(source))
    if column.key:
        return f"COALESCE({value}, lower(hex(randomblob(16))))"
    fallback = column.default or (_EMPTY[column.type] if column.required else None)
    return f"COALESCE({value}, {fallback})" if fallback else value


def _free(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name
