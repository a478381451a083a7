"""Objects of the Claude API: files, batches, containers, skills, agents. Each belongs to the account that made it.

To every other account an object is a 404, so its id must be found twice: in the answers that show it, and in the
requests that name it. Both are looked for in the text as it stands, without decoding it. In an answer an id counts
only where the API itself writes one, never in what a model or a user wrote: escaped quotes do not match, and of
messages only containers and the outputs of code execution are read. In a request every string that is a known id
names it.
"""

import re
from collections.abc import Callable, Collection
from functools import lru_cache

Finder = Callable[[bytes], list[str]]
"""Returns the ids in a piece of an answer's text, in order, repeated ones included."""

MOST_NAMED = 256
"""Different ids that are read out of one request."""
BODY_END_BYTES = 1 << 20
"""How much of a request's body is searched, at its beginning and at its end each."""
_OVERLAP = 128
"""Longer than an id."""

KINDS = (
    "agent", "container", "depl", "drm", "drun", "env", "file", "mem", "memstore", "memver", "msgbatch", "sesn",
    "sesrsc", "session", "skill", "skillver", "sthr", "tcrt", "thread", "tnl", "uprof", "vcrd", "vlt", "work",
)  # fmt: skip
"""What stands before the `_` in the ids of what belongs to an account (API reference, November 2026).

Messages, tool uses and events are not asked for by their ids; those of an organisation (`wrkspc_`, `user_`,
`apikey_`) are its own and not an account's.
"""

_TAIL = rb"_[0-9A-Za-z]{8,80}"
_ID = rb"(?:" + "|".join(KINDS).encode() + rb")" + _TAIL
_FILE = rb"file" + _TAIL
_SPACE = rb"\s{0,8}"

_SHOWN = re.compile(rb'id"' + _SPACE + rb":" + _SPACE + rb'"(' + _ID + rb')"')
"""The value of `id`, `file_id`, `first_id`, ..."""
_CONTAINER = re.compile(
    rb'"container"' + _SPACE + rb":" + _SPACE + rb'\{[^{}]{0,128}"id"' + _SPACE + rb":" + _SPACE
    + rb'"(container' + _TAIL + rb')"'
)  # fmt: skip
_OUTPUT = re.compile(
    rb'execution_output"[^{}]{0,64}"file_id"' + _SPACE + rb":" + _SPACE + rb'"(' + _FILE + rb')"'
    rb'|"file_id"' + _SPACE + rb":" + _SPACE + rb'"(' + _FILE + rb')"[^{}]{0,64}execution_output"'
)  # fmt: skip
_LAST_SEGMENT = re.compile(rb"/(" + _ID + rb")\Z")


def in_message(text: bytes) -> list[str]:
    """Return the container of a message and the files that its code has written (see `Finder`).

    Nearly all messages have neither: two searches for a few bytes are all that they cost.
    """
    found = _CONTAINER.findall(text) if text.find(b'"container_') >= 0 else []
    if text.find(b'"file_') >= 0:
        found += [first or second for first, second in _OUTPUT.findall(text)]
    return [each.decode("ascii") for each in found] if found else found


def in_object(text: bytes) -> list[str]:
    """Return the ids that an object, or a page of them, shows (see `Finder`)."""
    return [each.decode("ascii") for each in _SHOWN.findall(text)]


_MESSAGES = b"/v1/messages"
_FINDERS: tuple[tuple[re.Pattern[bytes], Finder | None], ...] = (
    (re.compile(rb"/v1/messages/batches/[^/]+/results\Z|.*/events\b"), in_message),
    (re.compile(rb"/v1/messages/count_tokens\Z|/v1/complete\Z|/v1/models\b|/v1/chat/|.*/content\Z"), None),
    (re.compile(rb"/v1/"), in_object),
)
"""By path, the first that matches: how ids are found in an answer; None: there are none, or the text is a user's."""


def finder(method: bytes, path: bytes) -> Finder | None:
    """Return how ids are found in the answers to a request; None: not at all."""
    if path == _MESSAGES:
        return in_message
    if method == b"DELETE":
        return None  # what it shows is gone
    for pattern, found in _FINDERS:
        if pattern.match(path):
            return found
    return None


def named(target: bytes, body: bytes | bytearray | None, kinds: Collection[str]) -> list[str]:
    """Return the ids that a request names: in its path, then its query, then its body, each once.

    Only ids of some `kinds` are looked for. The body is searched when it is a JSON object, and of a long one its two
    ends; a compressed one names nothing.
    """
    if not kinds:
        return []
    in_target, in_body = _patterns(tuple(sorted(kinds)))
    found = dict.fromkeys(in_target.findall(target))
    if body and body[:64].lstrip()[:1] == b"{":
        _search(in_body, body, found)
    return [each.decode("ascii") for each in found]


def deleted(method: bytes, path: bytes) -> str | None:
    """Return the id of the object that a request deletes when it succeeds."""
    if method != b"DELETE":
        return None
    last = _LAST_SEGMENT.search(path)
    return None if last is None else last[1].decode("ascii")


@lru_cache(maxsize=64)
def _patterns(kinds: tuple[str, ...]) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """Return what ids of some kinds look like in a target and in JSON. One alternative less is a third of the time."""
    which = "|".join(kinds).encode()
    one = b"(" + (b"(?:" + which + b")" if len(kinds) > 1 else which) + _TAIL + b")"
    return re.compile(b"[/=]" + one + rb"(?![^/?&#])"), re.compile(b'"' + one + b'"')


def _search(pattern: re.Pattern[bytes], body: bytes | bytearray, found: dict[bytes, None]) -> None:
    """Add what is found at the beginning and at the end of a body."""
    again = max(BODY_END_BYTES - _OVERLAP, len(body) - BODY_END_BYTES)
    for start, end in ((0, BODY_END_BYTES), (again, len(body))):
        for match in pattern.finditer(body, start, end):
            found[match[1]] = None
            if len(found) >= MOST_NAMED:
                return
