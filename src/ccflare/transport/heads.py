"""Heads of answers, and those that look like earlier ones: they are read by one pattern instead of field by field.

The answers of an upstream have the same fields in the same order, and differ in values. What llhttp has accepted
often enough becomes a pattern: all of it word for word, the framing too, but for the values of ordinary fields.
The one rule: nothing matches that llhttp would refuse or read in another way. What does not match is for llhttp.
"""

import re

import msgspec

from ccflare.wire import Headers

_LEARNT_AFTER = 16
"""Making a pattern takes a millisecond or two, as long as a hundred heads need: it is not made for a rare one."""
_MOST_KNOWN = 64
_LONGEST_BYTES = 2048
"""Of all names together."""

_VALUE = rb"([!-~\x80-\xff][ -~\x80-\xff]*+)(?<! )"
"""A value without a doubt: nothing but visible characters and inner spaces."""
_VALUES = {
    b"content-length": rb"([1-9][0-9]{0,14})",
    b"transfer-encoding": b"(chunked)",
    b"connection": b"(keep-alive)",
}
_UNUSUAL = frozenset({b"proxy-connection", b"upgrade"})
"""llhttp reads more than a value in these."""


class ResponseHead(msgspec.Struct, frozen=True, gc=False):
    """The head of a final answer. Names keep their spelling; optional white space around values is gone."""

    status: int
    reason: bytes
    headers: Headers
    names: tuple[bytes, ...]
    """The names of `headers`: those of heads of one form are one object."""
    http_version: str
    content_length: int | None
    """What `Content-Length` says, also in answers to HEAD; None when it is absent."""
    chunked: bool
    close_delimited: bool
    """The body ends where the connection does."""
    keep_alive: bool
    """The peer will take another request on this connection after the answer."""


class Form:
    """All of a head but its values. Made of the names of one that was `200 OK` in HTTP/1.1, and kept the connection."""

    __slots__ = ("_length_at", "_match", "_names")

    def __init__(self, names: tuple[bytes, ...]) -> None:
        lower = [name.lower() for name in names]
        values = [_VALUES.get(name, _VALUE) for name in lower]
        fields = [re.escape(name) + b": " + value + rb"\r\n" for name, value in zip(names, values, strict=True)]
        self._names = names
        self._match = re.compile(rb"HTTP/1\.1 200 OK\r\n" + b"".join(fields) + rb"\r\n").match
        self._length_at = lower.index(b"content-length") if b"content-length" in lower else None

    def read(self, data: bytes) -> tuple[ResponseHead, int] | None:
        """Return the head at the beginning of some data, and where it ends; None when it is of another form."""
        found = self._match(data)
        if found is None:
            return None
        values, at = found.groups(), self._length_at
        headers = list(zip(self._names, values, strict=True))
        length = None if at is None else int(values[at])
        return ResponseHead(200, b"OK", headers, self._names, "1.1", length, at is None, False, True), found.end()


_known: dict[tuple[bytes, ...], Form | int] = {}
"""By the names of a head; how often it was seen, as long as it has no form."""


def form_of(head: ResponseHead) -> Form | None:
    """Return the form of a head that llhttp has read; None while it is not seen often, and for unusual ones."""
    if head.status != 200 or head.reason != b"OK" or head.http_version != "1.1" or not head.keep_alive:
        return None
    names = head.names
    known = _known.get(names, 0)
    if isinstance(known, Form):
        return known
    lower = {name.lower() for name in names}
    framed = head.chunked or head.content_length is not None
    if not framed or lower & _UNUSUAL or sum(map(len, names)) > _LONGEST_BYTES:
        return None
    if not known and len(_known) >= _MOST_KNOWN:
        _known.clear()
    _known[names] = learnt = Form(names) if known + 1 >= _LEARNT_AFTER else known + 1
    return learnt if isinstance(learnt, Form) else None
