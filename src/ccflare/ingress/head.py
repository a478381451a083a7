"""Request heads, and the recognition of one that came before.

The heads of one connection are nearly always the same but for the length of the body. What was found about a head by
llhttp, by the rules of `reader` and by the gate depends on its bytes alone: the same bytes need not be parsed again.
"""

import re

import msgspec

from ccflare.wire import Headers, HeadMemory

LONGEST_KNOWN = 4 * 1024
"""Longer heads are parsed each time: what is kept of one is some twenty times as long, for each open connection."""
_DIGITS = 9
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)", re.IGNORECASE)


class RequestHead(msgspec.Struct, gc=False):
    """What a client asks for. Requests may share its parts, so they are replaced and never changed."""

    method: bytes
    target: bytes
    headers: Headers
    fields: dict[bytes, bytes]
    """The headers by lower-case name, without white space around them; of a repeated one the last value."""
    http_version: str
    memory: HeadMemory


def new_head(method: bytes, target: bytes, headers: Headers, http_version: str) -> RequestHead:
    """Return a head of which nothing is known yet."""
    fields = {name.lower(): value.strip() for name, value in headers}
    return RequestHead(method, target, headers, fields, http_version, HeadMemory())


class KnownHead:
    """The head of a request that was let in, to be compared with what comes next."""

    __slots__ = ("_before", "_behind", "_digits", "_head", "_length_at")

    def __init__(self, head: RequestHead, before: bytes, digits: bytes, behind: bytes) -> None:
        self._head, self._before, self._digits, self._behind = head, before, digits, behind
        names = [name.lower() for name, _ in head.headers]
        self._length_at = names.index(b"content-length")

    def again(self, data: bytes) -> tuple[RequestHead, int] | None:
        """Return the head that bytes begin with, and its size, when it is this one but for the length."""
        before = self._before
        if not data.startswith(before):
            return None
        at = len(before)
        end = data.find(b"\r", at, at + _DIGITS + 1)
        digits = data[at:end]
        if end < 0 or not digits.isdigit() or not data.startswith(self._behind, end):
            return None
        if digits != self._digits:
            self._digits, self._head = digits, self._with_length(digits)
        return self._head, end + len(self._behind)

    def _with_length(self, digits: bytes) -> RequestHead:
        head = self._head
        headers, fields = head.headers.copy(), head.fields.copy()
        headers[self._length_at] = (headers[self._length_at][0], digits)
        fields[b"content-length"] = digits
        return RequestHead(head.method, head.target, headers, fields, head.http_version, head.memory)


def known_head(head: RequestHead, data: bytes) -> KnownHead | None:
    """Return what recognises a head, given the bytes that it was read from; None where it cannot be.

    The head has been found good, and `data` begins with it. Its request has a `Content-Length`.
    """
    end = data.find(b"\r\n\r\n") + 4
    found = _LENGTH.search(data, 0, end)
    if found is None or end > LONGEST_KNOWN or data.startswith(b"\r\n"):
        return None
    begin, behind = found.span(1)
    return KnownHead(head, data[:begin], found[1], data[behind:end])
