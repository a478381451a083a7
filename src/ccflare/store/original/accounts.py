"""The original's accounts made fit: names that tell them apart, and a reason for each that cannot be used.

Nothing is guessed. A name stays as it is unless it cannot be shown or another account has it; an account that could
send its credential to the wrong place is paused; one without a usable credential needs a new sign-in.
"""

import sqlite3
from typing import Any

from ccflare.providers import PROVIDERS
from ccflare.records import Secret
from ccflare.store.original.tables import quoted
from ccflare.wire import BaseUrl

_LONGEST_NAME = 100
_PAUSED_BY = "upgrade"

Changes = dict[str, str | int | None]


def make_names_unique(connection: sqlite3.Connection, table: str) -> list[tuple[str, str]]:
    """Give every account a printable name of its own; return old and new names. The oldest keeps a shared name."""
    wanted = connection.execute(
        f"SELECT rowid, CAST(COALESCE(name, '') AS TEXT) FROM {quoted(table)} ORDER BY created_at, rowid"  # noqa: S608  # quoted
    ).fetchall()
    taken = {readable(name) for _, name in wanted}
    given: set[str] = set()
    renamed = []
    for rowid, name in wanted:
        new = readable(name)
        if new in given:
            new = _numbered(new, taken)
            taken.add(new)
        given.add(new)
        if new != name:
            connection.execute(f"UPDATE {quoted(table)} SET name = ? WHERE rowid = ?", (new, rowid))  # noqa: S608  # quoted
            renamed.append((name, new))
    return renamed


def readable(name: str) -> str:
    """Return a name that can be shown and typed: unprintable characters become `_`, an empty one `account`."""
    return "".join(each if each.isprintable() else "_" for each in name).strip() or "account"


def _numbered(name: str, taken: set[str]) -> str:
    number = 2
    while (candidate := f"{name[: _LONGEST_NAME - 1 - len(str(number))].rstrip()}-{number}") in taken:
        number += 1
    return candidate


def settle(connection: sqlite3.Connection, now_ms: int) -> list[str]:
    """Mark the accounts that cannot be used as they are; return their names."""
    cursor = connection.execute("SELECT rowid, * FROM accounts ORDER BY created_at, id")
    columns = [name for name, *_ in cursor.description[1:]]
    troubled = []
    for rowid, *row in cursor.fetchall():
        account = dict(zip(columns, row, strict=True))
        changes = undecodable(account) | tidied(account)
        changes |= judged(account | changes, now_ms)
        if changes:
            assignments = ", ".join(f"{quoted(column)} = ?" for column in changes)
            connection.execute(f"UPDATE accounts SET {assignments} WHERE rowid = ?", (*changes.values(), rowid))  # noqa: S608  # quoted
        if changes.get("expired_reason") or changes.get("paused_reason"):
            troubled.append(account["name"])
    return troubled


def undecodable(account: dict[str, Any]) -> Changes:
    """Return the texts that were not UTF-8 as they were read, with a replacement for each wrong byte."""
    return {column: value for column, value in account.items() if isinstance(value, str) and "\ufffd" in value}


def tidied(account: dict[str, Any]) -> Changes:
    """Return what changes about stored credentials without changing what they are.

    Blanks around one were never sent. better-ccflare repeats an API key in the columns of the tokens.
    """
    api_key = (account["api_key"] or "").strip()
    access = (account["access_token"] or "").strip()
    refresh = (account["refresh_token"] or "").strip()
    if api_key and refresh in ("", api_key):
        refresh = ""
        access = "" if access == api_key else access
    if refresh and not _usable(access):
        access = ""  # a new one is fetched with the refresh token
    tidy: Changes = {"api_key": api_key or None, "access_token": access or None, "refresh_token": refresh}
    if api_key and not refresh:
        tidy["expires_at"] = None
    return {column: value for column, value in tidy.items() if account[column] != value}


def judged(account: dict[str, Any], now_ms: int) -> Changes:
    """Return what keeps an account from being used, as changes to its row."""
    changes: Changes = {}
    if reason := _credential_trouble(account):
        changes["expired_reason"] = reason
    if reason := _destination_trouble(account):
        changes["paused_reason"] = reason
        if not account["paused"]:
            changes |= {"paused": 1, "paused_by": _PAUSED_BY, "paused_at": now_ms}
    return changes


def _credential_trouble(account: dict[str, Any]) -> str | None:
    api_key, access, refresh = account["api_key"], account["access_token"], account["refresh_token"]
    if not (api_key or access or refresh):
        return "it has neither an API key nor tokens: remove it and add it again"
    proof = refresh or api_key or access
    if not _usable(proof):
        kind = "refresh token" if refresh else "API key" if api_key else "access token"
        return f"its stored {kind} has characters that no credential has: remove it and add it again"
    return None


def _destination_trouble(account: dict[str, Any]) -> str | None:
    """Say why an account's credential might go to somebody it is not meant for."""
    if account["provider"] not in PROVIDERS:
        return f"its provider {account['provider']!r} is not known here"
    if account.get("custom_endpoint") and not account["base_url"]:
        return "it had a custom_endpoint, which is not taken over: add it again with --base-url"
    try:
        BaseUrl.parse(account["base_url"] or PROVIDERS[account["provider"]].base_url)
    except ValueError:
        return "its base_url is not an address"
    return None


def _usable(text: str) -> bool:
    try:
        Secret(text)
    except ValueError:
        return False
    return True
