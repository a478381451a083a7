"""Which account serves a request: what a request belongs to, and the order of the candidates.

The one strategy is `session`: prompt caches belong to an account, so whatever shares a cache shares an
account. The session's key is the id that the client gave, else a fingerprint of what decides the cache, else
the client itself.
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from operator import attrgetter
from typing import Any, Protocol, TypeVar

import msgspec

from ccflare.abridged import KEPT_BYTES, abridged
from ccflare.wire import Headers

HASHED_BYTES = 64 * 1024
"""Each part of a request adds at most this many bytes to its fingerprint."""

PLENTY = 0.2
LITTLE = 0.05

_BILLING = b'"x-anthropic-billing-header'
_BILLING_WITHIN = 512
_REMEMBERED_BYTES = 1024
"""Longer metadata, and longer ids, are read each time."""
_SESSION_SUFFIX = re.compile(r"_session_([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})\Z")
_UPLOADS = (b"/v1/messages/batches", b"/v1/files")
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_NOTHING = msgspec.Raw()
_SHORT_BYTES = 16 * 1024
"""Shorter bodies are not worth abridging."""
_SURELY_WHOLE = KEPT_BYTES // 12
"""A name of so many characters was not cut: at most 12 bytes make one, as two escape sequences."""


class Peek(msgspec.Struct, frozen=True):
    """What routing needs to know of a request. It holds no view of the body."""

    model: str | None = None
    stream: bool = False
    session_id: str | None = None
    """What the client itself calls the conversation (or its user)."""
    fingerprint: str | None = None
    """Hash of what decides the prompt cache; only made when the client gave no id."""


class _Asked(msgspec.Struct):
    model: str | None = None
    stream: bool | None = None
    metadata: msgspec.Raw = _NOTHING


class _Prompt(msgspec.Struct):
    model: str | None = None
    system: msgspec.Raw = _NOTHING
    tools: msgspec.Raw = _NOTHING
    messages: list[msgspec.Raw] = []


class _Metadata(msgspec.Struct):
    user_id: str | None = None


class _UserId(msgspec.Struct):
    session_id: str


class _Message(msgspec.Struct):
    role: str = ""
    content: msgspec.Raw = _NOTHING


class _Block(msgspec.Struct):
    """The parts of a content block that stay the same when its cache breakpoint moves on."""

    text: msgspec.Raw = _NOTHING
    source: msgspec.Raw = _NOTHING
    content: msgspec.Raw = _NOTHING


_read_asked = msgspec.json.Decoder(_Asked).decode
_read_prompt = msgspec.json.Decoder(_Prompt).decode
_read_metadata = msgspec.json.Decoder(_Metadata).decode
_read_user_id = msgspec.json.Decoder(_UserId).decode
_read_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_read_message = msgspec.json.Decoder(_Message).decode
_read_blocks = msgspec.json.Decoder(list[_Block]).decode


def named_session(headers: Headers) -> str | None:
    """Return what a field of the client calls the conversation."""
    for name, value in headers:
        if len(name) == 24 and value and name.lower() == b"x-claude-code-session-id":
            return value.decode("latin-1")
    return None


def peek(path: bytes, session_id: str | None, body: bytes | bytearray | None) -> Peek:
    """Look at a request, decoding its body only in part. Never raises.

    `session_id` is what `named_session` has found. A body that cannot be read (none, compressed, not JSON, wrong types)
    has no model. Uploads are not looked into: they name no single model and may be very large.
    """
    if not body or path.startswith(_UPLOADS):
        return Peek(None, False, session_id)
    try:
        asked = _read_asked(body) if len(body) < _SHORT_BYTES else _asked_at_length(body)
    except _UNREADABLE:
        return Peek(None, False, session_id)
    fingerprint = None
    if session_id is None:
        session_id = _remembered_session(asked.metadata)
        if session_id is None:
            fingerprint = _fingerprint(body)
    return Peek(asked.model, asked.stream is True, session_id, fingerprint)


def _asked_at_length(body: bytes | bytearray) -> _Asked:
    """Read a long body without its long strings, or all of it where one of these may be what is looked for."""
    short = abridged(body)
    if short is not body:
        with suppress(*_UNREADABLE):
            asked = _read_asked(short)
            if len(asked.model or "") <= _SURELY_WHOLE and len(asked.metadata) < KEPT_BYTES:
                return asked
    return _read_asked(body)


def session_key(seen: Peek, client: str) -> str:
    """Return the key of a request's session: 32 hexadecimal digits, nothing of what the client sent.

    `client` is the id of the key that the client came with, else its address. This machine is one client,
    whichever of its addresses `localhost` meant.

    Ids that clients choose are told apart by `client`, so that nobody can join another's session. The
    fingerprint is not: who sends the same prompt shares its cache. A request with neither belongs to its
    client.
    """
    session_id = seen.session_id
    if session_id is None:
        return seen.fingerprint or _digest("client", _machine(client))
    return (_known_key if len(session_id) <= _REMEMBERED_BYTES else _key)(client, session_id)


class Candidate(Protocol):
    """What the order of accounts looks at."""

    @property
    def id(self) -> str:
        """The account's id."""
        ...

    @property
    def priority(self) -> int:
        """Lower is used first."""
        ...

    @property
    def bucket(self) -> int:
        """What `headroom_bucket` says."""
        ...

    @property
    def in_flight(self) -> int:
        """Exchanges that the account is serving now."""
        ...

    @property
    def idle_rank(self) -> int:
        """Minus the instant of the last use, so that the account used last is the first."""
        ...


C = TypeVar("C", bound=Candidate)

rank: Callable[[Any], Any] = attrgetter("priority", "bucket", "in_flight", "idle_rank", "id")
"""The sort key of a candidate: priority, headroom, fewest in flight, used last, id."""


def headroom_bucket(headroom: float | None) -> int:
    """Return 0 for plenty left or unknown, 1 for little, 2 for almost nothing."""
    if headroom is None or headroom >= PLENTY:
        return 0
    return 1 if headroom >= LITTLE else 2


def order(candidates: Iterable[C], bound_account_id: str | None = None, *, key: Callable[[Any], Any] = rank) -> list[C]:
    """Return candidates in the order in which they are to be tried: the bound one, then by their rank."""
    ordered = sorted(candidates, key=key)
    for index, candidate in enumerate(ordered):
        if candidate.id == bound_account_id:
            ordered.insert(0, ordered.pop(index))
            break
    return ordered


def _remembered_session(metadata: msgspec.Raw) -> str | None:
    """Return the session id in `metadata`, the same in every turn of a session: it is read in the first one."""
    if not metadata:
        return None
    raw = bytes(metadata)
    return _known_session(raw) if len(raw) <= _REMEMBERED_BYTES else _metadata_session(raw)


@lru_cache(maxsize=4096)
def _known_session(metadata: bytes) -> str | None:
    return _metadata_session(metadata)


def _metadata_session(metadata: bytes) -> str | None:
    """Return the session id in `metadata.user_id`: of its JSON, of its suffix, or all of it."""
    try:
        user_id = _read_metadata(metadata).user_id
    except _UNREADABLE:
        return None
    if not user_id:
        return None
    if user_id.startswith("{"):
        try:
            return _read_user_id(user_id).session_id or user_id
        except _UNREADABLE:
            return user_id
    suffix = _SESSION_SUFFIX.search(user_id)
    return suffix[1] if suffix else user_id


def _fingerprint(body: bytes | bytearray) -> str | None:
    """Hash model, tools, system and first user message; None when there are no messages."""
    try:
        request = _read_prompt(body)
    except _UNREADABLE:
        return None
    content = _first_user_content(request.messages)
    if content is None:
        return None
    digest = hashlib.blake2b(digest_size=16, person=b"prompt")
    for part in (
        [(request.model or "").encode()],
        [request.tools],
        _system(request.system),
        _content(content),
    ):
        left = HASHED_BYTES
        for piece in part:
            view = memoryview(piece)[:left]
            left -= len(view)
            digest.update(b"%d:" % len(view))
            digest.update(view)
        digest.update(b";")
    return digest.hexdigest()


def _first_user_content(messages: list[msgspec.Raw]) -> msgspec.Raw | None:
    for raw in messages:
        try:
            message = _read_message(raw)
        except _UNREADABLE:
            continue
        if message.role == "user":
            return message.content
    return None


def _system(system: msgspec.Raw) -> list[msgspec.Raw]:
    """Return the pieces of a system prompt without the billing block, which differs between turns."""
    blocks = [system]
    if _starts(system, b"["):
        try:
            blocks = _read_list(system)
        except _UNREADABLE:
            return blocks
    if blocks and _BILLING in bytes(memoryview(blocks[0])[:_BILLING_WITHIN]):
        del blocks[0]
    return blocks


def _starts(raw: msgspec.Raw, prefix: bytes) -> bool:
    return bytes(memoryview(raw)[: len(prefix)]) == prefix


def _content(content: msgspec.Raw) -> list[msgspec.Raw]:
    """Return what a message says, the same whether it is written as a string or as blocks, with or without a
    breakpoint: clients mark only their newest message, so the first one changes its form in the next turn.
    """
    if not _starts(content, b"["):
        return [content]
    try:
        blocks = _read_blocks(content)
    except _UNREADABLE:
        return [content]
    return [piece for block in blocks for piece in (block.text, block.source, block.content) if piece]


def _digest(kind: str, *parts: str) -> str:
    digest = hashlib.blake2b(digest_size=16, person=kind.encode())
    for part in parts:
        value = part.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(value))
        digest.update(value)
    return digest.hexdigest()


def _machine(client: str) -> str:
    return "127.0.0.1" if client == "::1" or client.startswith(("127.", "::ffff:127.")) else client


def _key(client: str, session_id: str) -> str:
    return _digest("id", _machine(client), session_id)


_known_key = lru_cache(maxsize=4096)(_key)
