"""The database and what is in it: its soundness, the accounts, the last hour."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any, Final

import msgspec

from ccflare.doctor.masking import Mask
from ccflare.doctor.report import Facts, Finding, Part, iso
from ccflare.forecast import AccountWindows, Outlook
from ccflare.records import UNREADABLE, Account, State, state_of, token_trouble
from ccflare.store import open_store
from ccflare.store.checkup import DISK_FULL, NOT_A_FILE, Checkup, Identity, examine, file_sizes, is_held, newest_schema

BUSY_S: Final = 1.0
LARGE_LOG_BYTES: Final = 256 * 1024 * 1024
"""SQLite's own log (`-wal`) is this long only when something keeps it from being taken over."""

OVER_BUDGET: Final = 1.1
"""Retention works in steps: a tenth more is nothing to tell."""

_ADD = "ccflare --add-account NAME --api-key"
_RESUME: Final = "ccflare --resume NAME"
_SIGN_IN: Final = "ccflare accounts reauth NAME"
_MEND: Final = f"mend what the reason names; if that does not help: {_SIGN_IN}"
NO_ACCOUNTS: Final = (Finding("error", "There are no accounts", f"add one: {_ADD}"),)
_NEXT_START = "it is brought up to date at the next start"


def examine_database(path: Path, identity: Identity, payload_budget_bytes: int) -> Part:
    """Say how large the database is and whether it is sound."""
    sizes = file_sizes(path) if identity.belonging != "missing" else {}
    facts: Facts = {
        "path": str(path),
        "belonging": identity.belonging,
        "schema": identity.schema,
        "newest_schema": newest_schema(),
        "bytes": sizes.get(""),
        "wal_bytes": sizes.get("-wal"),
    }
    findings = list(_about_identity(path, identity))
    if sizes.get("-wal", 0) > LARGE_LOG_BYTES:
        message = f"SQLite's log beside the database has {sizes['-wal'] // 1_000_000} MB"
        findings.append(Finding("warning", message, "something reads the database all the time: end it"))
    if identity.belonging not in {"ours", "older"}:
        return Part(facts, tuple(findings))
    if is_held(path):
        message = "Another program holds the database: nothing can be recorded or changed"
        findings.append(Finding("error", message, "end the program that keeps it locked"))
    checkup = examine(path)
    if checkup.integrity not in {None, "ok"}:
        findings.append(_corrupt(str(checkup.integrity)))
    if (checkup.payload_bytes or 0) > payload_budget_bytes * OVER_BUDGET:
        message = f"Kept headers and bodies take {(checkup.payload_bytes or 0) // 1_000_000} MB, more than they may"
        findings.append(Finding("warning", message, "a running server deletes the oldest, a little at a time"))
    return Part(facts | _checked(checkup), tuple(findings))


def _checked(checkup: Checkup) -> Facts:
    facts: Facts = msgspec.to_builtins(checkup)
    facts["integrity"] = checkup.integrity or "not known: the check takes too long"
    facts["oldest_request"] = iso(facts.pop("oldest_request_ms"))
    facts["newest_request"] = iso(facts.pop("newest_request_ms"))
    return facts


def _about_identity(path: Path, identity: Identity) -> Iterator[Finding]:
    detail = f" ({identity.detail})" if identity.detail else ""
    match identity.belonging:
        case "missing" | "empty":
            yield Finding("note", f"There is no database at {path} yet", "it is made when it is needed")
        case "original":
            yield Finding("note", f"{path} is the original program's database", _NEXT_START)
        case "older":
            yield Finding("note", f"The database has schema {identity.schema}, this program's is newer", _NEXT_START)
        case "newer":
            message = f"The database was written by a newer ccflare (schema {identity.schema})"
            yield Finding("error", message, "install that version again, or set ccflare_DB_PATH")
        case "foreign":
            yield Finding("error", f"{path} is not ccflare's database{detail}", "set ccflare_DB_PATH to another file")
        case "locked":
            yield Finding("error", f"The database is locked{detail}", "end the program that keeps it locked")
        case "corrupt":
            yield _corrupt(identity.detail or "")
        case "unreadable":
            yield _unreadable(path, identity)
        case "ours":
            pass


def _unreadable(path: Path, identity: Identity) -> Finding:
    if identity.detail == NOT_A_FILE:
        return Finding("error", f"{path} is not a file", "set ccflare_DB_PATH to the path of a file")
    message = f"The database cannot be read ({identity.detail})"
    if identity.detail == DISK_FULL:
        return Finding("error", message, f"make room where {path.parent} is: SQLite needs some to read it, too")
    return Finding("error", message, f"see who owns {path}, and its mode")


def _corrupt(what: str) -> Finding:
    advice = "stop the server, keep a copy, and save what can be read: sqlite3 OLD .recover | sqlite3 NEW"
    return Finding("error", f"The database is damaged: {what}", advice)


# The accounts.


def examine_accounts(path: Path, session_ms: int, mask: Mask, now_ms: int) -> Part:
    """Return every account as it stands, and what keeps accounts from serving."""
    with closing(open_store(path, busy_timeout_s=BUSY_S)) as store:
        accounts, windows = store.accounts(), store.windows.all()
        sessions = store.session_counts(bound_since_ms=now_ms - session_ms)
    rows = [
        _row(account, windows.get(account.id, AccountWindows(account.id)).at(now_ms), mask, now_ms)
        | {"sessions": sessions.get(account.id, 0)}
        for account in accounts
    ]
    each_one = (_about_one(account, row, now_ms) for account, row in zip(accounts, rows, strict=True))
    findings = [*_about_all(accounts, now_ms), *chain.from_iterable(each_one)]
    return Part({"total": len(rows), "accounts": rows}, tuple(findings))


def _row(account: Account, windows: Sequence[Outlook], mask: Mask, now_ms: int) -> Facts:
    state = state_of(account, now_ms)
    return {
        "name": mask.account(account.name),
        "provider": account.provider,
        "kind": account.kind,
        "state": state,
        "reason": _reason(account, state, mask, now_ms),
        "base_url": None if account.base_url is None else mask.url(account.base_url),
        "priority": account.priority,
        "expires_at": iso(account.expires_at_ms),
        "rate_limited_until": iso(account.limited_until_ms),
        "rate_limit_status": account.rate_limit_status,
        "rate_limit_reset": iso(account.rate_limit_reset_ms),
        "last_used": iso(account.last_used_ms or None),
        "requests": account.request_count,
        "windows": [shown_window(window) for window in windows],
    }


def _reason(account: Account, state: State, mask: Mask, now_ms: int) -> str | None:
    """Say why an account does not serve, in upstream's words; a person's own words are not shown."""
    reasons = {
        "active": token_trouble(account, now_ms),
        "expired": account.expired_reason,
        "auth_failed": account.auth_failed_reason,
        "rate_limited": account.limited_reason,
    }
    reason = reasons.get(state)
    return mask.text(reason) if reason else None


def shown_window(window: Outlook) -> dict[str, Any]:
    """Return a window in its JSON form."""
    return {
        "name": window.name,
        "utilization": window.utilization,
        "status": window.status,
        "reset": iso(window.reset_ms),
        "runs_out_at": iso(window.runs_out_at_ms),
    }


def _about_all(accounts: Sequence[Account], now_ms: int) -> Iterator[Finding]:
    if not accounts:
        yield from NO_ACCOUNTS
        return
    states = Counter(_standing(account, now_ms) for account in accounts)
    if states["active"]:
        return
    counted = ", ".join(f"{count} {state}" for state, count in states.items())
    yield Finding("error", f"No account can serve requests: {counted}", _way_back(accounts, now_ms))


def _way_back(accounts: Sequence[Account], now_ms: int) -> str:
    """Say what brings accounts back, by what keeps them from serving."""
    waiting = [account.limited_until_ms or 0 for account in accounts if state_of(account, now_ms) == "rate_limited"]
    by_standing = dict.fromkeys((_standing(account, now_ms), _remedy(account, now_ms)) for account in accounts)
    several = len({standing for standing, _ in by_standing}) > 1
    told = [f"{standing}: {remedy}" if several else remedy for standing, remedy in by_standing if remedy]
    if waiting:
        told = [f"the first is back at {iso(min(waiting))}", *told, f"or add one: {_ADD}"]
    return "; ".join(told)


def _remedy(account: Account, now_ms: int) -> str:
    """Say what has an account serve again; nothing for one that serves, or comes back by itself."""
    remedies = {
        "active": _MEND if token_trouble(account, now_ms) else "",
        "paused": _RESUME,
        "expired": _SIGN_IN,
        "auth_failed": _remedy_of_refusal(account),
    }
    return remedies.get(state_of(account, now_ms), "")


def _remedy_of_refusal(account: Account) -> str:
    if account.auth_failed_reason == UNREADABLE:
        return "start the server with ccflare_SECRET_KEY in its environment"
    if account.kind == "oauth":
        return f"{_SIGN_IN}; when upstream was wrong: {_RESUME}"
    return f"replace the key, then {_RESUME}"


def _standing(account: Account, now_ms: int) -> str:
    state = state_of(account, now_ms)
    return "without a good token" if state == "active" and token_trouble(account, now_ms) else state


def _about_one(account: Account, row: Facts, now_ms: int) -> Iterator[Finding]:
    name, why, remedy = row["name"], f" ({row['reason']})" if row["reason"] else "", _remedy(account, now_ms)
    match row["state"]:
        case "expired":
            yield Finding("warning", f"{name} needs a new sign-in{why}", remedy)
        case "active" if why:
            yield Finding("warning", f"{name} cannot serve{why}", remedy)
        case "auth_failed" if account.auth_failed_reason == UNREADABLE:
            yield Finding("warning", f"The server cannot read the credential of {name}", remedy)
        case "auth_failed":
            yield Finding("warning", f"The credential of {name} was refused{why}", remedy)
    for window in row["windows"]:
        if window["runs_out_at"] is not None:
            message = f"At the pace of the last hour the {window['name']} window of {name} is used up"
            yield Finding("note", f"{message} at {window['runs_out_at']}, before it resets")


# The last hour.


def last_hour(path: Path, now_ms: int) -> Part:
    """Return the overview of the last hour, as the dashboard shows it."""
    from ccflare.analytics import Question, analyse

    with closing(open_store(path, busy_timeout_s=BUSY_S)) as store:
        overview = analyse(store, Question(range="1h"), now_ms).overview
    facts: Facts = msgspec.to_builtins(overview)
    return Part(facts)
