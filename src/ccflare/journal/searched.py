"""Bodies that were searched for credentials: a turn repeats those before it, and only what is new in it is searched.

Searching a long body costs more than everything else that is done to keep it.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from typing import Final

import msgspec

from ccflare.records import CLIENT_KEY_BYTES
from ccflare.store.difference import Piece, Told, difference

REMEMBERED_BYTES: Final = 32 * 1024 * 1024
"""Bodies that are remembered, mostly the very objects that the store remembers too; those quiet longest go first."""
_SHORT_BYTES = 16 * 1024
"""Shorter ones are searched whole."""
_BRANCHES = 4
"""A session's conversations side by side: its main one and its agents'."""
_NEW_SHARE = 0.3
"""A body with a smaller share of new bytes continues the one that it is compared with."""


class _Body(msgspec.Struct, frozen=True, gc=False):
    data: bytes
    """As it is kept: without credentials."""
    looked_for: frozenset[int]
    """Hashes of the credentials that are not in it."""


class SearchedBodies:
    """The latest bodies of the sessions. Belongs to one thread."""

    def __init__(self, remembered_bytes: int = REMEMBERED_BYTES) -> None:
        self._remembered_bytes = remembered_bytes
        self._sessions: OrderedDict[str, list[_Body]] = OrderedDict()
        self._bytes = 0
        self._looked_at = b""
        self.told: Told | None = None
        """How the body that was looked at last is told by one before it; None where it was not compared, or is kept
        otherwise than it came."""

    def unsearched(self, session: str | None, body: bytes, credentials: Collection[bytes]) -> Sequence[bytes]:
        """Return the parts of a body that may have one of these credentials, or a client key, in them."""
        self.told = None
        if session is None or len(body) < _SHORT_BYTES:
            return (body,)
        looked_for = set(map(hash, credentials))
        for known in reversed(self._sessions.get(session, ())):
            if looked_for <= known.looked_for:
                told = Told(known.data, *difference(known.data, body))
                if len(told.fresh) <= _NEW_SHARE * len(body):
                    self.told, self._looked_at = told, body
                    margin = max(map(len, credentials), default=0) + CLIENT_KEY_BYTES
                    return list(_surroundings(body, told.pieces, margin))
        return (body,)

    def note(self, session: str | None, body: bytes, credentials: Iterable[bytes]) -> None:
        """Remember the body that was looked at last, as it is kept: without these credentials and client keys."""
        if session is None or len(body) < _SHORT_BYTES:
            return
        bodies = self._sessions.pop(session, [])
        self._bytes += len(body) - sum(len(each.data) for each in bodies)
        continued = None if self.told is None else self.told.base
        bodies = [each for each in bodies if each.data is not continued][1 - _BRANCHES :]
        if body is not self._looked_at:
            self.told = None
        self._bytes += sum(len(each.data) for each in bodies)
        self._sessions[session] = [*bodies, _Body(body, frozenset(map(hash, credentials)))]
        while self._bytes > self._remembered_bytes:
            self._bytes -= sum(len(each.data) for each in self._sessions.popitem(last=False)[1])


def _surroundings(body: bytes, pieces: Iterable[Piece], margin: int) -> Iterable[bytes]:
    """Yield what is new in a body with its surroundings, and those of places where but two known ones meet."""
    at = 0
    for _, known, new in pieces:
        at += known
        yield body[max(0, at - margin) : at + new + margin]
        at += new
