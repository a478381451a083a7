"""Heads of answers, and those that look like earlier ones: they are read by one pattern instead of field by field.

The answers of an upstream have the same fields in the same order, and differ in values. What llhttp has accepted
often enough becomes a pattern: all of it word for word, the framing too, but for the values of ordinary fields.
The one rule: nothing matches that llhttp would refuse or read in another way. What does not match is for llhttp.
Lines stay the bytes that they came as: they are what the client gets.
"""

import re
from itertools import groupby
from operator import itemgetter

import msgspec

from ccflare.limits import STATUS_FIELD
from ccflare.wire import HOP_BY_HOP, Headers, connection_tokens, lines_of, pairs_of

_LEARNT_AFTER = 16
"""Making a pattern takes a millisecond or two, as long as a hundred heads need: it is not made for a rare one."""
_MOST_KNOWN = 64
_LONGEST_BYTES = 2048
"""Of all names together."""

_VALUE = rb"[!-~\x80-\xff][ -~\x80-\xff]*+(?<! )"
"""A value without a doubt: nothing but visible characters and inner spaces."""
_VALUES = {
    b"content-length": rb"[1-9][0-9]{0,14}",
    b"transfer-encoding": b"chunked",
    b"connection": b"keep-alive",
}
_DROPPED = HOP_BY_HOP | {b"content-length"}
"""What is not meant for the client: the framing is written anew."""
_LOOKED_AT = (b"content-length", b"content-type", b"content-encoding", STATUS_FIELD)
"""Whose values are wanted with every head."""
_ALL, _RUN = b"all", b"run"
_UNUSUAL = frozenset({b"proxy-connection", b"upgrade"})
"""llhttp reads more than a value in these."""


class HeaderSection(msgspec.Struct, frozen=True, gc=False):
    """The fields of an answer. Names keep their spelling; optional white space around values is gone.

    Of a repeated field that is looked at the last value counts.
    """

    names: tuple[bytes, ...]
    """In order: those of heads of one form are one object."""
    lines: bytes
    """All fields: see `lines_of`."""
    end_to_end: bytes
    """Those that are meant for the client."""
    content_type: bytes | None
    coding: bytes | None
    """`Content-Encoding`."""
    limit_status: bytes | None

    @classmethod
    def of(cls, headers: Headers) -> "HeaderSection":
        """Return what pairs say."""
        said = {name.lower(): value for name, value in headers}
        dropped = _DROPPED | (connection_tokens(headers) - {b"close"})
        kept = [pair for pair in headers if pair[0].lower() not in dropped]
        names = tuple([name for name, _ in headers])
        _, *looked_at = map(said.get, _LOOKED_AT)
        return cls(names, lines_of(headers), lines_of(kept), *looked_at)

    @property
    def headers(self) -> Headers:
        """The fields as pairs; made anew each time."""
        return pairs_of(self.lines)


class ResponseHead(msgspec.Struct, frozen=True, gc=False):
    """The head of a final answer."""

    status: int
    reason: bytes
    section: HeaderSection
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

    __slots__ = ("_looked_at", "_match", "_names", "_runs")

    def __init__(self, names: tuple[bytes, ...]) -> None:
        pattern, groups = b"", [_ALL]
        for kept, run in groupby(names, lambda name: name.lower() not in _DROPPED):
            if kept:
                groups.append(_RUN)
            lines = b"".join([_line(name, groups) for name in run])
            pattern += b"(%b)" % lines if kept else lines
        last = {name: at for at, name in enumerate(groups)}
        self._names = names
        self._match = re.compile(rb"HTTP/1\.1 200 OK\r\n(" + pattern + rb")\r\n").match
        # `read` puts an empty one and None behind the groups. None is the value of a field that is not there; with the
        # empty one twice in front, there is a tuple of runs however many there are.
        self._looked_at = itemgetter(0, *[last.get(name, -1) for name in _LOOKED_AT])
        self._runs = itemgetter(-2, -2, *[at for at, name in enumerate(groups) if name == _RUN])

    def read(self, data: bytes) -> tuple[ResponseHead, int] | None:
        """Return the head at the beginning of some data, and where it ends; None when it is of another form."""
        found = self._match(data)
        if found is None:
            return None
        groups = (*found.groups(), b"", None)
        lines, length, *looked_at = self._looked_at(groups)
        section = HeaderSection(self._names, lines, b"".join(self._runs(groups)), *looked_at)
        size = None if length is None else int(length)
        return ResponseHead(200, b"OK", section, "1.1", size, size is None, False, True), found.end()


def _line(name: bytes, groups: list[bytes]) -> bytes:
    """Return the pattern of a field; one whose value is wanted is a group more."""
    lower = name.lower()
    value = _VALUES.get(lower, _VALUE)
    if lower in _LOOKED_AT:
        groups.append(lower)
        value = b"(%b)" % value
    return re.escape(name) + b": " + value + rb"\r\n"


_known: dict[tuple[bytes, ...], Form | int] = {}
"""By the names of a head; how often it was seen, as long as it has no form."""


def form_of(head: ResponseHead) -> Form | None:
    """Return the form of a head that llhttp has read; None while it is not seen often, and for unusual ones."""
    if head.status != 200 or head.reason != b"OK" or head.http_version != "1.1" or not head.keep_alive:
        return None
    names = head.section.names
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
