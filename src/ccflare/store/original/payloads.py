"""The original program's payloads: without the credentials that it stored in clear, and as we know payloads.

A payload is JSON: `{request: {headers, body}, response: {status, headers, body}, meta}`. Bodies stay exactly as they
are. Outside of them every member with a credential's name is masked, and so is every text that looks like one.
"""

import base64
import binascii
import json
import re
import sqlite3
from typing import Any

from ccflare.payload import CREDENTIAL_WORDS, MASK, Content, Payload, field_lines, is_credential, masked, without_keys

_MEMBER = re.compile(
    rf'("(?:[\w-]*[-_])?(?:{CREDENTIAL_WORDS})(?:[-_][\w-]*)?"\s*:\s*")(?:[^"\\]+|\\.)*', re.IGNORECASE
)


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
        clean_text = _MEMBER.sub(rf"\g<1>{MASK}", without_keys(text))
        return None if clean_text == text else clean_text.encode("latin-1")
    return None if clean == payload else json.dumps(clean, separators=(",", ":")).encode("ascii")


def _clean(value: Any) -> Any:
    match value:
        case dict():
            return {name: _member(name, each) for name, each in value.items()}
        case [str(name), str() | list() as each] if is_credential(name):
            return [name, _mask(each)]  # headers as a list of pairs
        case list():
            return [_clean(each) for each in value]
        case str():
            return masked(value)
    return value


def _member(name: str, value: Any) -> Any:
    if name == "body":
        return value
    return _mask(value) if is_credential(name) else _clean(value)


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


def read_payload(exchange_id: str, timestamp_ms: int, raw: bytes) -> Payload | None:
    """Return a stored payload as ours; None when it cannot be read. It does not say which path was asked for."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    request, response = (_part(found, name) for name in ("request", "response"))
    status = response.get("status")
    return Payload(
        id=exchange_id,
        timestamp_ms=timestamp_ms,
        target="",
        request_head=_field_lines(request.get("headers")),
        request=_content(request.get("body")),
        status=status if isinstance(status, int) else None,
        response_head=_field_lines(response.get("headers")),
        response=_content(response.get("body")),
    )


def _part(found: Any, name: str) -> dict[str, Any]:
    part = found.get(name) if isinstance(found, dict) else None
    return part if isinstance(part, dict) else {}


def _field_lines(headers: Any) -> bytes:
    items = headers.items() if isinstance(headers, dict) else ()
    return field_lines((name, value) for name, value in items if isinstance(value, str))


def _content(body: Any) -> Content:
    try:
        data = base64.b64decode(body, validate=True) if isinstance(body, str) else b""
    except (binascii.Error, ValueError):
        data = str(body).encode("utf-8", "replace")
    return Content(data, len(data))
