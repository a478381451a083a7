"""Credentials out of the payloads that the original program stored with them in clear.

A payload is JSON: `{request: {headers, body}, response: {status, headers, body}, meta}`. Bodies stay exactly as they
are. Outside of them every member with a credential's name is masked, and so is every text that looks like one.
"""

import json
import re
import sqlite3
from typing import Any, Final

MASK: Final = "***"

_WORDS = r"authorization|cookie2?|api-?key|access-?key|secret|password|token"
_NAME = re.compile(rf"(?:^|[-_])(?:{_WORDS})(?:$|[-_])", re.IGNORECASE)
_KEY = re.compile(r"sk-ant-[A-Za-z0-9_-]+")
_BEARER = re.compile(r"(bearer(?:\s|\\[nrt])+)[A-Za-z0-9._~+/=-]+", re.IGNORECASE)
_MEMBER = re.compile(rf'("(?:[\w-]*[-_])?(?:{_WORDS})(?:[-_][\w-]*)?"\s*:\s*")(?:[^"\\]+|\\.)*', re.IGNORECASE)


def redact_payloads(connection: sqlite3.Connection) -> int:
    """Redact the rows of `request_payloads`, one at a time; return how many had something to redact."""
    redacted, last = 0, -(1 << 63)
    while row := connection.execute(
        "SELECT rowid, CAST(json AS BLOB) FROM request_payloads WHERE rowid > ? ORDER BY rowid LIMIT 1", (last,)
    ).fetchone():
        last, raw = row
        clean = None if raw is None else without_credentials(raw)
        if clean is not None:
            connection.execute("UPDATE request_payloads SET json = CAST(? AS TEXT) WHERE rowid = ?", (clean, last))
            redacted += 1
    return redacted


def without_credentials(raw: bytes) -> bytes | None:
    """Return a stored payload without its credentials, None when it has none.

    What cannot be parsed keeps every byte except those of keys, bearer tokens and members with a credential's name.
    """
    try:
        payload = json.loads(raw)
        clean = _clean(payload)
    except (ValueError, RecursionError):
        text = raw.decode("latin-1")  # whatever the bytes are, they come back the same
        masked = _MEMBER.sub(rf"\g<1>{MASK}", _masked(text))
        return None if masked == text else masked.encode("latin-1")
    return None if clean == payload else json.dumps(clean, separators=(",", ":")).encode("ascii")


def _clean(value: Any) -> Any:
    match value:
        case dict():
            return {name: _member(name, each) for name, each in value.items()}
        case [str(name), str() | list() as each] if _NAME.search(name):
            return [name, _mask(each)]  # headers as a list of pairs
        case list():
            return [_clean(each) for each in value]
        case str():
            return _masked(value)
    return value


def _member(name: str, value: Any) -> Any:
    if name == "body":
        return value
    return _mask(value) if _NAME.search(name) else _clean(value)


def _mask(value: Any) -> Any:
    """Mask all text in a credential's value; numbers and the like say nothing."""
    match value:
        case str():
            return MASK if value else value
        case list():
            return [_mask(each) for each in value]
        case dict():
            return {name: _mask(each) for name, each in value.items()}
    return value


def _masked(text: str) -> str:
    """Mask keys and bearer tokens wherever they stand in a text."""
    return _BEARER.sub(rf"\g<1>{MASK}", _KEY.sub(f"sk-ant-{MASK}", text))
