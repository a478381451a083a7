"""The ids of objects that an answer shows, read while it passes. What an id looks like is the provider's."""

from collections.abc import Callable

from ccflare.coding import decoder

MATCH_BYTES = 512
"""The longest text that one match of a finder may take."""
READ_BYTES = 1 << 20
"""How much of an answer is looked at, decoded."""
MOST_SHOWN = 2000
"""Different ids that are read out of one answer."""

Finder = Callable[[bytes], list[str]]
"""Returns the ids in a text, wherever in it they stand."""

_AT_ONCE = 16 * 1024


class Sightings:
    """Collects ids from the pieces of an answer as they are on the wire (`coding`: its `Content-Encoding`).

    Never raises; the memory is bounded; the split into pieces does not matter.
    """

    __slots__ = ("_decoder", "_find", "_found", "_text")

    def __init__(self, find: Finder, coding: bytes | None = None) -> None:
        self._find = find
        self._decoder = decoder(coding, READ_BYTES)
        self._found: dict[str, None] = {}
        self._text = bytearray()
        """What has not been searched yet, behind the end of what has."""

    def feed(self, data: bytes, _now: float = 0.0) -> None:
        """Take the next piece of the answer."""
        if self._decoder is None:
            return
        self._text += self._decoder.feed(data)
        if len(self._text) >= _AT_ONCE:
            self._search()
            del self._text[:-MATCH_BYTES]

    def end(self) -> tuple[str, ...]:
        """Return the ids, each once. To be called behind the last piece."""
        self._search()
        self._text.clear()
        return tuple(self._found)

    def _search(self) -> None:
        if len(self._found) < MOST_SHOWN:
            self._found.update(dict.fromkeys(self._find(bytes(self._text))[:MOST_SHOWN]))
