"""JSON without the middles of its long strings, for whoever looks for the short ones.

A decoder goes through each byte of a string that it skips. A picture or a document in a request is one string of
megabytes, and while it is skipped nothing else is served. The search for the next quote goes through it twenty times as
fast.
"""

from typing import Final

KEPT_BYTES: Final = 512
"""At least so much is left of every string that was cut."""
_LONG = 2048
"""Bytes without a quote: fewer are not worth a cut."""
_FIRST, _LAST = 256, 8192
"""How far on the next look is taken, at first and at most: where quotes are dense there is little to be gained."""
_ESCAPE = 5
"""An escape sequence (the longest is `\\u0000`) that begins further before a place than this ends before it."""
_BACKSLASH = 92
_SAMPLE = 32
"""Bytes of a stretch that are looked at to learn whether it is inside of a string."""
_OUTSIDE = b" \t\r\n0123456789+-.eE,:[]{}truefalsn"
"""The bytes that JSON has outside of strings (RFC 8259): a stretch without quotes that has another one is inside."""


def abridged(document: bytes | bytearray) -> bytes | bytearray:
    """Return a document with the middles of long strings left out and everything else as it was.

    Where nothing was cut the document itself comes back. What is no JSON may be cut anywhere.
    """
    parts: list[bytes | bytearray] = []
    find = document.find
    begin = at = 0
    step = _FIRST
    while (quote := find(b'"', at)) >= 0:
        if quote - at < _LONG:
            at = quote + step
            step = min(2 * step, _LAST)
            continue
        cut, resume = at + KEPT_BYTES, quote - 1
        if document[resume] != _BACKSLASH:
            resume = quote
        if (
            document[resume - 1] != _BACKSLASH
            and find(b"\\", cut - _ESCAPE, cut) < 0
            and document[at : at + _SAMPLE].translate(None, _OUTSIDE)
        ):
            parts.append(document[begin:cut])
            begin = resume
        at, step = quote + _FIRST, _FIRST
    if not parts:
        return document
    parts.append(document[begin:])
    return b"".join(parts)
