"""A JSON body of any length, of which little is kept.

What the meter needs of a body that was not streamed (model, stop reason, usage, error) stands in objects, and what is
long (the content) in an array. So a body is read with its arrays emptied: the memory stays small and bounded, no long
body has to be joined and decoded at its end, and its split into pieces does not matter.
"""

import re

_PLAIN = re.compile(rb'(?:[^"\[\]]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
"""Text without brackets, whole strings included."""
_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
"""What follows in a string up to its closing quote, or up to the end of the piece or a backslash that ends it."""

_BACKSLASH = 0x5C


class Outline:
    """Takes a JSON text in pieces and keeps it without what its arrays contain, at most `limit` bytes."""

    __slots__ = ("_depth", "_escaped", "_in_string", "_kept", "_limit", "overlong")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()
        self._depth = 0
        """Arrays that are open."""
        self._in_string = False
        self._escaped = False
        """The piece before ended with a backslash inside a string."""
        self.overlong = False
        """More than the limit would have to be kept; nothing is."""

    def feed(self, piece: bytes) -> None:
        """Take more of the text."""
        at = 0
        while at < len(piece) and not self.overlong:
            at = self._string(piece, at) if self._in_string else self._outside(piece, at)

    def text(self) -> bytes:
        """Return what is kept. It is JSON where the text is; a text that is not may only show so inside an array."""
        return bytes(self._kept)

    def _string(self, piece: bytes, start: int) -> int:
        """Read on inside a string. Returns the offset behind what was read."""
        at = _behind(_STRING, piece, start + self._escaped)
        self._escaped = False
        if at < len(piece):
            self._escaped = piece[at] == _BACKSLASH
            self._in_string = self._escaped
            at += 1
        self._keep(piece, start, at)
        return at

    def _outside(self, piece: bytes, start: int) -> int:
        """Read on to a bracket or a string that is not whole. Returns the offset behind it."""
        at = _behind(_PLAIN, piece, start)
        mark = piece[at : at + 1]
        if mark == b"]":
            self._keep(piece, start, at)
            self._depth -= self._depth > 0
            self._keep(piece, at, at + 1)
        else:
            self._keep(piece, start, at + 1)
            self._depth += mark == b"["
            self._in_string = mark == b'"'
        return at + 1

    def _keep(self, piece: bytes, start: int, end: int) -> None:
        if self._depth:
            return
        self._kept += piece[start:end]
        if len(self._kept) > self._limit:
            self._kept.clear()
            self.overlong = True


def _behind(pattern: re.Pattern[bytes], piece: bytes, start: int) -> int:
    """Return the offset behind what the pattern, which matches the empty text too, matches at `start`."""
    found = pattern.match(piece, start)
    return start if found is None else found.end()
