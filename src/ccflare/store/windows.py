"""The rate-limit windows of every account, as upstream described them last."""

import logging
from collections.abc import Iterable

import msgspec

from ccflare.forecast import AccountWindows, Aside, KeptBudget, KeptWindow
from ccflare.store.database import Database, Row

log = logging.getLogger("ccflare.store")

_SELECT = "SELECT account_id, said_at, windows, budgets, asides FROM account_windows"

_UPSERT = """
    INSERT INTO account_windows (account_id, said_at, windows, budgets, asides)
    SELECT ?1, ?2, ?3, ?4, ?5 WHERE EXISTS (SELECT 1 FROM accounts WHERE id = ?1)
    ON CONFLICT (account_id) DO UPDATE
    SET said_at = excluded.said_at, windows = excluded.windows, budgets = excluded.budgets, asides = excluded.asides"""

_encode = msgspec.json.Encoder().encode
_windows = msgspec.json.Decoder(tuple[KeptWindow, ...])
_budgets = msgspec.json.Decoder(tuple[KeptBudget, ...])
_asides = msgspec.json.Decoder(tuple[Aside, ...])


class WindowTable:
    """A part of a store: reads by anyone, writes with the journal's batches."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def all(self) -> dict[str, AccountWindows]:
        """Return what is known, by account id. A row that cannot be read is logged and left out."""
        found = (_windows_of(row) for row in self._db.rows(_SELECT))
        return {each.account_id: each for each in found if each is not None}

    def put(self, windows: Iterable[AccountWindows]) -> None:
        """Replace what is known of some accounts, in the caller's transaction; of accounts that are gone nothing."""
        self._db.run_many(_UPSERT, [_row(each) for each in windows])

    def forget(self, account_id: str) -> None:
        """Forget an account, in the caller's transaction."""
        self._db.run("DELETE FROM account_windows WHERE account_id = ?", (account_id,))


def _row(each: AccountWindows) -> tuple[str, int, str, str, str | None]:
    asides = _encode(each.asides).decode() if each.asides else None
    return each.account_id, each.said_at_ms, _encode(each.windows).decode(), _encode(each.budgets).decode(), asides


def _windows_of(row: Row) -> AccountWindows | None:
    account_id, said_at_ms, windows, budgets, asides = row
    try:
        return AccountWindows(
            account_id, said_at_ms, _windows.decode(windows), _budgets.decode(budgets), _asides.decode(asides or "[]")
        )
    except (msgspec.MsgspecError, TypeError) as error:
        log.warning("What is kept of the limits of account %s cannot be read: %s", account_id, error)
        return None
