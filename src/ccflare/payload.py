"""What was said in an exchange: captured as it passes, redacted before anything keeps it.

The one rule: a `Captured` has credentials in it and is never stored, logged or shown; a `Payload` has none.
Capturing keeps references to bytes that exist anyway, and never touches the exchange whatever goes wrong in it.
"""

import contextlib
import logging
import re
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import unquote_to_bytes

import msgspec

from ccflare.records import CLIENT_KEY, CLIENT_KEY_PREFIX, Exchange, Secret
from ccflare.wire import ByteBudget, Headers, lines_of

log = logging.getLogger("ccflare.Proxy")

Decode: TypeAlias = Callable[[bytes, bytes], bytes]
"""Returns the readable form of a body with a `Content-Encoding`, as far as there is one. Never raises."""

MAX_BODY_BYTES: Final = 1024 * 1024
"""How much of a body is kept, as it was on the wire."""
MASK: Final = "***"
CREDENTIAL_WORDS: Final = (
    r"auth|authentication|authorization|bearer|cookie2?|dpop|jwt|assertion|secret|password|passwd|passphrase|pwd|pass"
    r"|credentials?|sig|signature|(?:api|access|auth|private|session|subscription|functions|litellm|master)[-_]?key"
    r"|[a-z]*token"
)
"""What names of credentials have in them, between dashes or underscores."""

_STEP_BYTES = 16 * 1024
_SHORTEST_SECRET = 16
"""What is shorter is a placeholder such as `dummy`, and may be a word of the conversation."""
_SHORTEST_REST = 8
"""So much of a secret's beginning is taken for it where a body was cut."""

_NAME = re.compile(rf"(?:^|[-_])(?:{CREDENTIAL_WORDS})(?:$|[-_])", re.IGNORECASE)
_KEY = re.compile(r"(sk-ant-|ccf_)[A-Za-z0-9_-]+")
_BEARER = re.compile(r"(bearer(?:\s|\\[nrt])+)[A-Za-z0-9._~+/=-]+", re.IGNORECASE)
_USER = re.compile(r'://[^\s/"?#<>\\]*@')
_PARAMETER = re.compile(r"[^&;]+")
_WORD = re.compile(rb"[^\s;,=\"]+=*")
_MASKED = MASK.encode()
_CODING = b"content-encoding"
_MARKS = (b"sk-ant-", CLIENT_KEY_PREFIX.encode(), b"earer", b"EARER")
"""Without one of these, or a URL with a user, there is nothing that `masked` would mask."""


class Content(msgspec.Struct, frozen=True):
    """A body as it was on the wire: all of it, or its beginning. Its bytes do not show in its repr."""

    data: bytes = b""
    length: int = 0
    """What passed; more than `data` has when the body was cut."""

    @property
    def truncated(self) -> bool:
        """Whether there was more than is kept."""
        return self.length > len(self.data)

    def __repr__(self) -> str:
        return f"Content({len(self.data)} of {self.length} bytes)"


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """What client and upstream said to each other in an exchange, without credentials."""

    id: str
    """The exchange's."""
    timestamp_ms: int
    session: str | None = None
    target: str
    """Path and query."""
    request_head: bytes = b""
    """The client's fields as it sent them, without its request line: see `field_lines`."""
    request: Content = Content()
    status: int | None = None
    """What the client got; None when no answer was begun."""
    response_head: bytes = b""
    response: Content = Content()

    @property
    def request_headers(self) -> tuple[tuple[str, str], ...]:
        """The client's fields; bytes beyond ASCII are read as Latin-1."""
        return _fields(self.request_head)

    @property
    def response_headers(self) -> tuple[tuple[str, str], ...]:
        """The fields of the answer that the client got."""
        return _fields(self.response_head)

    def __repr__(self) -> str:
        return f"Payload({self.id}, {self.request}, {self.status}, {self.response})"


class Tape:
    """Keeps the beginning of one body, as far as there is room for it."""

    __slots__ = ("_budget", "_granted", "cut", "failed", "kept_bytes", "length", "parts")

    def __init__(self, budget: ByteBudget) -> None:
        self.parts: list[bytes | bytearray] = []
        self.kept_bytes = 0
        """How much is kept; known when the tape has been released."""
        self.length = 0
        """Of the body, whatever is kept of it."""
        self.cut = self.failed = False
        self._budget = budget
        self._granted = 0

    def add(self, data: bytes | bytearray) -> None:
        """Keep a piece that is not changed any more. Never raises."""
        try:
            self.length += len(data)
            if self.length <= self._granted:
                self.parts.append(data)
            elif not self.cut:
                self._extend(data)
        except Exception:
            log.warning("Failed to capture streaming response", exc_info=True)
            self.parts, self.cut, self.failed = [], True, True

    async def listen(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield pieces on, keeping them."""
        try:
            async for piece in pieces:
                self.add(piece)
                yield piece
        finally:
            close = getattr(pieces, "aclose", None)
            if close is not None:
                await close()

    def content(self) -> Content:
        """Return what was kept."""
        parts = self.parts
        return Content(bytes(parts[0]) if len(parts) == 1 else b"".join(parts), self.length)

    def release(self) -> None:
        """Keep nothing further, and give back what was taken of the budget: the rest is counted elsewhere."""
        # Every exchange comes by twice, and `min` takes ten times as long.
        self.kept_bytes = self.length if self.length < self._granted else self._granted  # noqa: FURB136  # see above
        self._budget.give(self._granted)
        self._granted, self.cut = 0, True

    def _extend(self, data: bytes | bytearray) -> None:
        """Ask for more room; without it, keep what fits and nothing further."""
        wanted = self._granted + _STEP_BYTES
        if not self.length <= wanted <= MAX_BODY_BYTES:
            wanted = min(max(wanted, self.length), MAX_BODY_BYTES)
        if self._budget.take(wanted - self._granted):
            self._granted = wanted
        if self.length <= self._granted:
            self.parts.append(data)
            return
        self.cut = True
        room = self._granted - (self.length - len(data))
        if room > 0:
            self.parts.append(data[:room])


class Captured:
    """What is captured of one exchange, credentials included; while it runs, and until it has been redacted."""

    __slots__ = (
        "id", "known", "request", "request_headers", "response", "response_lines", "response_names", "secrets",
        "session", "status", "target", "timestamp_ms",
    )  # fmt: skip

    def __init__(
        self, target: bytes, headers: Headers, budget: ByteBudget, known: dict[object, Any] | None = None
    ) -> None:
        self.id, self.timestamp_ms = "", 0
        self.session: str | None = None
        self.target = target
        self.request_headers = headers
        self.known = {} if known is None else known
        """What was found out about requests with this target and these headers: see `_RequestHead`."""
        self.request = Tape(budget)
        self.status: int | None = None
        self.response_lines = b""
        self.response_names: tuple[bytes, ...] = ()
        self.response = Tape(budget)
        self.secrets: list[Secret] = []
        """The credentials of the accounts that were tried."""

    def answered(self, status: int, lines: bytes, names: tuple[bytes, ...]) -> None:
        """Note the head of the answer that the client gets: its lines, and all names in them that are not our own."""
        self.status, self.response_lines, self.response_names = status, lines, names

    def close(self, exchange: Exchange) -> bool:
        """End with the exchange. False when nothing good has come of it: then nothing is to be kept."""
        self.id, self.timestamp_ms, self.session = exchange.id, exchange.timestamp_ms, exchange.session
        for tape, what in ((self.request, "request"), (self.response, "answer")):
            tape.release()
            if tape.length > MAX_BODY_BYTES and not tape.failed:
                log.warning("Buffer truncated at 1MB: the %s of %s has %d bytes", what, self.id, tape.length)
        if self.request.length < exchange.request_bytes:  # noqa: PLR1730  # see `Tape.release`
            self.request.length = exchange.request_bytes
        return not (self.request.failed or self.response.failed)

    @property
    def size_bytes(self) -> int:
        """About how many bytes of memory it holds."""
        heads = 250 * len(self.request_headers) + len(self.response_lines)
        parts = len(self.request.parts) + len(self.response.parts)
        return 2_000 + heads + 60 * parts + self.request.kept_bytes + self.response.kept_bytes

    def __repr__(self) -> str:
        return f"Captured({self.id}, ***)"


class _Names(msgspec.Struct, frozen=True):
    """What the names of a head say of it."""

    credentials: dict[bytes, bytes]
    """Those of credentials; with each what its lines begin with."""
    coded: bool
    """Whether the body has a `Content-Encoding`."""


_known_names: dict[tuple[bytes, ...], _Names] = {}
"""The same few heads come again and again."""
_KNOWN_HEADS = 8
"""With so many different credentials one head is remembered."""
_MOST_NAMES = 256
_LONGEST_NAMES = 4096
"""Of one head together."""


class Searched(Protocol):
    """Knows which parts of a request's body were searched for credentials before."""

    def unsearched(self, session: str | None, body: bytes, credentials: Collection[bytes]) -> Sequence[bytes]:
        """Return the parts of a body that may have one of these credentials, or a client key, in them."""
        ...

    def note(self, session: str | None, body: bytes, credentials: Iterable[bytes]) -> None:
        """Take note of the body that was looked at last, as it is kept."""
        ...


def redacted(captured: Captured, decode: Decode, searched: Searched) -> Payload:
    """Return what may be kept. Bodies stay byte for byte, except that credentials of this very exchange are masked, and
    whatever is a client key.

    A coded body with one of them inside cannot be masked, and one whose coding is not known might have one: nothing
    but its length is kept of it.
    """
    head, names = _request_head(captured), _names(captured.response_names)
    secrets, body = head.secrets, captured.request.content()
    parts = searched.unsearched(captured.session, body.data, secrets.values)
    request = _masked_content(body, head.coding, secrets, decode, parts)
    searched.note(captured.session, request.data, secrets.values)
    response_head = _head(captured.response_lines, names, secrets)
    coding, answer = _coding(response_head) if names.coded else None, captured.response.content()
    return Payload(
        id=captured.id,
        timestamp_ms=captured.timestamp_ms,
        session=captured.session,
        target=head.target,
        request_head=head.with_length(captured.request_headers),
        request=request,
        status=captured.status,
        response_head=response_head,
        response=_masked_content(answer, coding, secrets, decode, (answer.data,)),
    )


def field_lines(headers: Iterable[tuple[str, str]]) -> bytes:
    """Return fields as a payload has them: `name: value` and a line feed for each, in Latin-1."""
    lines = [f"{name}: {value}".replace("\n", " ") + "\n" for name, value in headers]
    return "".join(lines).encode("latin-1", "replace")


def _fields(head: bytes) -> tuple[tuple[str, str], ...]:
    lines = (line.partition(": ") for line in head.decode("latin-1").split("\n")[:-1])
    return tuple((name, value) for name, _, value in lines)


def is_credential(name: str) -> bool:
    """Say whether a header, member or parameter of this name has a credential as its value."""
    return _NAME.search(name) is not None


def masked(text: str) -> str:
    """Mask keys, bearer tokens and the user part of URLs wherever they stand in a text."""
    if "@" in text and "://" in text:
        text = _USER.sub(f"://{MASK}@", text)
    return without_keys(text)


def without_keys(text: str) -> str:
    """Mask keys and bearer tokens wherever they stand in a text."""
    if "sk-ant-" not in text and "ccf_" not in text and "earer" not in text and "EARER" not in text:
        return text  # as nearly all are
    return _BEARER.sub(rf"\g<1>{MASK}", _KEY.sub(rf"\g<1>{MASK}", text))


def redacted_target(target: str) -> str:
    """Return a request target without credentials, those in the query's parameters included."""
    path, mark, query = target.partition("?")
    return masked(path) + mark + (_PARAMETER.sub(lambda found: _parameter(found.group()), query) if query else "")


def _parameter(text: str) -> str:
    name, equals, value = text.partition("=")
    plain = unquote_to_bytes(value.replace("+", " ")).decode("latin-1")
    plain_name = unquote_to_bytes(name.replace("+", " ")).decode("latin-1")
    if value and (is_credential(plain_name) or plain_name.lower() in {"key", "code"} or masked(plain) != plain):
        return name + equals + MASK
    return masked(text)


class _RequestHead:
    """A request's target and head without credentials, and the credentials of an exchange with it.

    Clients send the same head again and again, but for the length of the body; so it is redacted once.
    """

    __slots__ = ("_before", "_behind", "_length_at", "coding", "secrets", "target")

    def __init__(self, captured: Captured) -> None:
        headers = captured.request_headers
        names = _names(tuple([name for name, _ in headers]))
        self.target = redacted_target(captured.target.decode("latin-1"))
        self.secrets = secrets = _Secrets(captured, names)
        at = [number for number, (name, _) in enumerate(headers) if name.lower() == b"content-length"]
        self._length_at = at[0] if len(at) == 1 else None
        if self._length_at is None:
            self._before, self._behind = _head(lines_of(headers), names, secrets), b""
        else:
            self._before = _head(lines_of(headers[: at[0]]), names, secrets) + headers[at[0]][0] + b": "
            self._behind = b"\n" + _head(lines_of(headers[at[0] + 1 :]), names, secrets)
        self.coding = _coding(self._before + self._behind) if names.coded else None

    def with_length(self, headers: Headers) -> bytes:
        """Return the head of headers that are the same but for the length."""
        at = self._length_at
        return self._before if at is None else self._before + headers[at][1] + self._behind


def _request_head(captured: Captured) -> _RequestHead:
    known, credentials = captured.known, tuple(captured.secrets)
    found: _RequestHead | None = known.get(credentials)
    if found is None:
        if len(known) >= _KNOWN_HEADS:
            known.clear()
        found = known[credentials] = _RequestHead(captured)
    return found


def _head(lines: bytes, names: _Names, secrets: "_Secrets") -> bytes:
    """Return header lines as they are kept, without credentials. `names`: of what can be one among them.

    They are looked at as a whole: nearly always there is nothing in them but in fields that are named like credentials.
    """
    text = b"\n" + lines.replace(b"\r", b"")  # no value has one; to look for two bytes takes four times as long
    for begin in names.credentials.values():
        text = _without_values(text, begin)
    text = text[1:]
    # Few heads have an `@`, and one byte is found in a tenth of the time of three.
    if _any_in(text, secrets.marks) or (text.find(b"@") >= 0 and text.find(b"://") >= 0):
        return b"".join([_masked_line(line, secrets) for line in text.split(b"\n")[:-1]])
    return text


def _without_values(text: bytes, begin: bytes) -> bytes:
    """Mask what stands in the lines of a text that begin so, if anything does."""
    parts = text.split(begin)
    for at in range(1, len(parts)):
        value, end, more = parts[at].partition(b"\n")
        if value:
            parts[at] = _MASKED + end + more
    return begin.join(parts)


def _any_in(text: bytes, parts: Iterable[bytes]) -> bool:
    """Say whether any of some parts is in a text. One by one: the longer a part is, the sooner it is searched for.

    `in` would make and forget an error for each: bytes ask first whether what is looked for is a number.
    """
    for each in parts:  # noqa: SIM110  # `any` costs as much as a search in a short body
        if text.find(each) >= 0:
            return True
    return False


def _names(names: tuple[bytes, ...]) -> _Names:
    found = _known_names.get(names)
    if found is None:
        credentials = {name: b"\n%b: " % name for name in names if is_credential(name.decode("latin-1"))}
        found = _Names(credentials, any(name.lower() == _CODING for name in names))
        if sum(map(len, names)) <= _LONGEST_NAMES:
            if len(_known_names) >= _MOST_NAMES:
                _known_names.clear()
            _known_names[names] = found
    return found


def _masked_line(line: bytes, secrets: "_Secrets") -> bytes:
    name, _, value = line.partition(b": ")
    for secret in secrets.values:
        value = value.replace(secret, _MASKED)
    return b"%b: %b\n" % (name, masked(value.decode("latin-1")).encode("latin-1"))


class _Secrets:
    """The credentials that an exchange was made with, as they may stand in what was said."""

    __slots__ = ("marks", "values")

    def __init__(self, captured: Captured, names: _Names) -> None:
        found = {secret.reveal().encode("ascii") for secret in captured.secrets}
        for name, value in captured.request_headers:
            if name in names.credentials:
                found.update(_WORD.findall(value))
        self.values = sorted([each for each in found if len(each) >= _SHORTEST_SECRET], key=len, reverse=True)
        """The longest first."""
        self.marks = (*_MARKS, *[value for value in self.values if not _any_in(value, _MARKS)])
        """Without one of these, or a URL with a user, there is nothing to be masked in a head."""

    def are_in(self, body: bytes) -> bool:
        """Say whether any of them, or a client key, is in a body."""
        if _any_in(body, self.values):
            return True
        return CLIENT_KEY.search(body) is not None


def _masked_content(
    content: Content, coding: bytes | None, secrets: _Secrets, decode: Decode, parts: Sequence[bytes]
) -> Content:
    """Overwrite secrets in a body, its length unchanged. `parts`: what of it may have any."""
    data = content.data
    if coding is not None and data:
        plain = decode(coding, data)
        if not plain or secrets.are_in(plain):
            return Content(b"", content.length)
    for part in parts:
        if secrets.are_in(part):
            for secret in secrets.values:
                data = data.replace(secret, b"*" * len(secret))
            data = CLIENT_KEY.sub(lambda found: b"*" * len(found[0]), data)
            break
    if content.length > len(data):
        for secret in secrets.values:
            with contextlib.suppress(StopIteration):
                rest = next(_beginnings_at_the_end(data, secret))
                data = data[:-rest] + b"*" * rest
    return content if data is content.data else Content(data, content.length)


def _coding(head: bytes) -> bytes | None:
    """Return the value of the first `Content-Encoding` among field lines."""
    begin = b"\n%b: " % _CODING
    at = (b"\n" + head.lower()).find(begin)
    return None if at < 0 else head[at + len(begin) - 1 : head.index(b"\n", at)]


def _beginnings_at_the_end(data: bytes, secret: bytes) -> Iterator[int]:
    """Yield the lengths of beginnings of a secret that cut data may end with, longest first."""
    for length in range(len(secret) - 1, _SHORTEST_REST - 1, -1):
        if data.endswith(secret[:length]):
            yield length
