"""Series: the exchanges of one account, model and client key that ended alike. Rows and their sums refer to them.

A filter is a set of series, whatever is combined in it: so nothing that is filtered has to be searched for. The rule:
their number is bounded, because the model of a failed exchange is whatever its client wrote.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from functools import cache, lru_cache
from operator import attrgetter
from typing import Literal, TypeAlias

import msgspec

from ccflare.records import Exchange, Outcome, outcome_of
from ccflare.store.database import Database, Value, chunks

OTHER = "(other)"
"""The model that stands for all models beyond the bound."""

_MODEL_CHARACTERS = 128
_ENOUGH = 2_000
"""So many series, and a model that never answered gets none of its own any more."""
_AT_MOST = 10_000
"""So many series, and no model gets one of its own any more."""
_ID_BYTES = 6
_ID_BITS = 47
"""What SQLite stores in 6 bytes. Of 10,000 ids two are the same in one of 3 million databases."""

_MODELS = "SELECT model FROM series WHERE model <> '' GROUP BY model ORDER BY MIN(outcome <> 'success'), model"

_Key: TypeAlias = tuple[str | None, str | None, int, bool, str | None]
"""Account, model, status, success, client key: as an exchange has them."""
_SeriesRow: TypeAlias = tuple[int, str, str, int, str, str]

_key_of: Callable[[Exchange], _Key] = attrgetter("account_id", "model", "status_code", "success", "client_key_id")


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which exchanges are meant; None does not restrict."""

    account_id: str | None = None
    """Empty: no account was used."""
    model: str | None = None
    """An id, or the begin of one up to a hyphen: `claude-3-opus` means `claude-3-opus-20240229` too."""
    status: int | Literal["error"] | Outcome | None = None
    """A status code, an outcome, or every outcome but success."""
    client_key_id: str | None = None
    """Empty: it came without a client key."""
    from_ms: int | None = None
    """The earliest arrival."""
    to_ms: int | None = None
    """The first arrival that is too late."""

    @property
    def restricts_series(self) -> bool:
        """Say whether it asks for more than a period."""
        return not (self.account_id is self.model is self.status is self.client_key_id is None)


def series_id(
    account: str | None, model: str | None, status: int | None, success: bool | None, client_key: str | None = None
) -> int:
    """Return a series' id: a hash, so that every process has the same without asking.

    Without a client key it is what it was before there were any.
    """
    parts = (account or "", series_model(model), status or 0, outcome_of(status or 0, bool(success)))
    return _hash(*parts, client_key) if client_key else _hash(*parts)


@lru_cache(maxsize=4096)
def _hash(*parts: str | int) -> int:
    digest = hashlib.blake2b(json.dumps(parts).encode(), digest_size=_ID_BYTES).digest()
    return int.from_bytes(digest) >> _ID_BYTES * 8 - _ID_BITS


def series_model(model: str | None) -> str:
    """Return a model as a series has it: not longer than a name can be."""
    return (model or "")[:_MODEL_CHARACTERS]


def matching(wanted: Filter) -> tuple[str, list[Value]]:
    """Return a condition on the columns of `series`, with its values."""
    conditions, values = ["1"], list[Value]()
    if wanted.account_id is not None:
        conditions.append("account = ?")
        values.append(wanted.account_id)
    if wanted.model is not None:
        model = series_model(wanted.model)
        conditions.append("(model = ? OR substr(model, 1, ?) = ?)")
        values += [model, len(model) + 1, f"{model}-"]
    if wanted.client_key_id is not None:
        conditions.append("client_key = ?")
        values.append(wanted.client_key_id)
    if isinstance(wanted.status, int):
        conditions.append("status = ?")
        values.append(wanted.status)
    elif wanted.status is not None:
        conditions.append("outcome <> ?" if wanted.status == "error" else "outcome = ?")
        values.append("success" if wanted.status == "error" else wanted.status)
    return " AND ".join(conditions), values


class Series:
    """The series of a database. What it remembers stays true whatever other connections do."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._rows: dict[_Key, _SeriesRow] = {}

    def of(self, exchanges: Sequence[Exchange]) -> list[int]:
        """Return the series of each exchange. Inside the transaction that writes them: it makes those that are new."""
        keys = list(map(_key_of, exchanges))
        chosen = self._chosen(dict.fromkeys(keys))
        # All of them every time: another connection may have cleared the history, or this one rolled back.
        for rows in chunks(list(set(chosen.values()))):
            self._db.run(_insert(len(rows)), [value for row in rows for value in row])
        return [chosen[key][0] for key in keys]

    def models(self) -> list[str]:
        """Return the models there are, those that answered first."""
        statement = (
            "SELECT model FROM series WHERE model <> '' GROUP BY model ORDER BY MIN(outcome <> 'success'), model"
        )
        return [model for (model,) in self._db.rows(statement)]

    def clear(self) -> None:
        """Forget all series."""
        self._db.run("DELETE FROM series")

    def _chosen(self, keys: Collection[_Key]) -> dict[_Key, _SeriesRow]:
        """Return the series of each key: its own, or the one for all models beyond the bound."""
        chosen = {key: self._rows[key] for key in keys if key in self._rows}
        fresh = [key for key in keys if key not in chosen]
        known = self._known() if fresh else set()
        for key in fresh:
            account, model, status, success, client_key = key
            chosen[key] = _row(account, model, status, success, client_key)
            if chosen[key][0] not in known and len(known) >= (_AT_MOST if success else _ENOUGH):
                chosen[key] = _row(account, OTHER, status, success, client_key)
            elif model is None or len(model) <= _MODEL_CHARACTERS:
                self._rows[key] = chosen[key]
            known.add(chosen[key][0])
        return chosen

    def _known(self) -> set[int]:
        """Return all ids: one row, because every row that is fetched beside a busy event loop waits for its turn."""
        found = self._db.one("SELECT json_group_array(id) FROM series")
        return set(json.loads(found[0])) if found else set()


@cache
def _insert(rows: int) -> str:
    return f"""
        INSERT INTO series (id, account, model, status, outcome, client_key)
        VALUES {", ".join(["(?, ?, ?, ?, ?, ?)"] * rows)}
        ON CONFLICT (id) DO NOTHING"""  # noqa: S608  # question marks


def _row(account: str | None, model: str | None, status: int, success: bool, client_key: str | None) -> _SeriesRow:
    made = series_id(account, model, status, success, client_key)
    return (made, account or "", series_model(model), status, outcome_of(status, success), client_key or "")
