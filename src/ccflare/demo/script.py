"""How an answer reaches the wire: bytes, pauses and an end, worked out before the first byte is sent.

An answer without faults is one write. Everything else is a list of steps that a connection plays, so each way
of misbehaving can be read off here.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

from ccflare.demo.content_coding import SMALLEST, accepted, encoder
from ccflare.demo.faults import Action
from ccflare.demo.grammar import PING, error_frame
from ccflare.demo.reply import EDGE_LINES, REASONS, Reply, Usage, date_line


class Pause(NamedTuple):
    """Wait; zero lets what was written leave as a packet of its own."""

    seconds: float


class End(NamedTuple):
    """How the answer ends.

    `keep` the connection, `close` it, `reset` it, or `hang`: stay silent for ever. `whole` says that the
    answer went out as it was meant.
    """

    how: str
    whole: bool = True


Step: TypeAlias = bytes | Pause | End


class Ask(NamedTuple):
    """What about a request decides the form of its answer."""

    request_id: str
    accept: bytes | None = None
    head_only: bool = False
    keep_alive: bool = True
    chunks: bool = True
    """The client speaks HTTP/1.1."""


class Form(Protocol):
    """A server's own habits."""

    @property
    def gzip_sse(self) -> bool:
        """Whether event streams are compressed for who accepts it."""
        ...

    @property
    def coding(self) -> str:
        """The content coding that is used."""
        ...


@dataclass(slots=True)
class Script:
    """An answer ready to be played. `entity` is the body after content coding, before framing."""

    steps: list[Step]
    head: bytes = b""
    entity: bytes = b""
    started: Usage | None = None
    """Token counts that are told once the first piece of the body is out."""
    told: Usage | None = None
    """Token counts that are told when every step was played."""
    first_body_step: int = 0


def plain(reply: Reply, ask: Ask, form: Form) -> Script:
    """Script an answer that goes out as it should, in one write."""
    coding = _coding(reply, {}, ask, form)
    end = End("close" if reply.close or not ask.keep_alive else "keep")
    if reply.events is None or ask.head_only:
        entity = reply.body if coding is None else _encoded(reply.body, coding)
        head = _head(reply, ask, coding, _length_line(reply, len(entity)))
        wire = head if ask.head_only else head + entity
        return Script([wire, end], head, entity, reply.started, reply.usage)
    pieces = reply.events if coding is None else _encode_each(reply.events, coding)
    entity = b"".join(pieces)
    head = _head(reply, ask, coding, _framing_line(ask))
    if not ask.chunks:
        return Script([head + entity, End("close")], head, entity, reply.started, reply.usage)
    parts = [head]
    parts += [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
    parts.append(b"0\r\n\r\n")
    return Script([b"".join(parts), end], head, entity, reply.started, reply.usage)


def scripted(reply: Reply, action: Action, ask: Ask, form: Form, rng: random.Random) -> Script:
    """Script an answer with an action's delays, shapes and breakages."""
    steps = _prelude(action)
    if steps and isinstance(steps[-1], End):
        return Script(steps)
    items = _stream_items(reply.events, action, ask, rng) if reply.events is not None else _body_items(reply, action)
    started, told = _told(reply, items)
    coding = _coding(reply, action, ask, form)
    items = _regrouped(_coded(items, coding), str(action.get("chunking", "event")))
    framing = _framing(reply, action, ask)
    entity = b"".join(item for item in items if isinstance(item, bytes))
    cut = any(isinstance(item, End) for item in items)
    declared = _declared(entity, action, cut=cut, whole=len(reply.body))
    length_line = _length_line(reply, declared) if framing == "length" else _framing_line(ask, framing)
    closing = bool(action.get("close") or framing == "close" or reply.close or not ask.keep_alive)
    head = _head(reply, ask, coding, length_line, closing=closing, more=_bulk(action))
    steps.append(head)
    first = len(steps)
    disconnect = action.get("disconnect", {})
    if disconnect.get("phase") == "after_headers":
        steps += [Pause(0.0), _break(disconnect)]
        return Script(steps, head, b"")
    if not ask.head_only:
        steps += _framed(items, framing, action)
    if not isinstance(steps[-1], End):
        steps.append(_end(action, closing=closing))
    return Script(steps, head, entity, started, told, first)


# Before the head.


def _prelude(action: Action) -> list[Step]:
    steps: list[Step] = []
    if action.get("delay_headers"):
        steps.append(Pause(float(action["delay_headers"])))
    disconnect = action.get("disconnect", {})
    if disconnect.get("phase") in {"accept", "before_headers"}:
        return [*steps, _break(disconnect)]
    malformed = action.get("malformed")
    if malformed == "bad_status_line":
        return [*steps, b"HTTP/1.1 two-hundred OK\r\ncontent-length: 2\r\n\r\n{}", End("close", whole=False)]
    if malformed == "garbage":
        return [
            *steps,
            b"\x00\x16\x03\x01 this is not HTTP at all\r\n\r\n\xff\xfe",
            End("close", whole=False),
        ]
    for status in action.get("interim", ()):
        steps += [b"HTTP/1.1 %d Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n" % status, Pause(0.0)]
    return steps


def _break(disconnect: dict[str, Any]) -> End:
    return End("reset" if disconnect.get("how") == "rst" else "close", whole=False)


# The head.


def _head(  # the parts of one head
    reply: Reply,
    ask: Ask,
    coding: str | None,
    framing: bytes,
    *,
    closing: bool | None = None,
    more: bytes = b"",
) -> bytes:
    if closing is None:
        closing = reply.close or not ask.keep_alive
    coded = b"content-encoding: %b\r\nvary: Accept-Encoding\r\n" % coding.encode() if coding else b""
    return b"".join(
        (
            b"HTTP/1.1 %d %b\r\n" % (reply.status, REASONS.get(reply.status, b"Unknown")),
            date_line(),
            b"content-type: %b\r\n" % reply.content_type if reply.content_type else b"",
            framing,
            b"connection: close\r\n" if closing else b"connection: keep-alive\r\n",
            b"cache-control: no-cache\r\n" if reply.events is not None else b"",
            coded,
            reply.lines,
            b"request-id: %b\r\n" % ask.request_id.encode(),
            b"traceresponse: 00-0000000000%b-%b-01\r\n"
            % (ask.request_id[-22:].encode(), ask.request_id[-16:].encode()),
            EDGE_LINES,
            b"cf-ray: %b-SIM\r\n" % ask.request_id[-16:].encode(),
            more,
            b"\r\n",
        )
    )


def _length_line(reply: Reply, length: int) -> bytes:
    return b"" if reply.status in {204, 304} else b"content-length: %d\r\n" % length


def _framing_line(ask: Ask, framing: str = "chunked") -> bytes:
    return b"transfer-encoding: chunked\r\n" if framing == "chunked" and ask.chunks else b""


def _framing(reply: Reply, action: Action, ask: Ask) -> str:
    framing = action.get("framing") or ("length" if reply.events is None else "chunked")
    malformed = action.get("malformed")
    if malformed in {"short_length", "long_length"}:
        return "length"
    if malformed == "bad_chunk":
        return "chunked"
    return "close" if framing == "chunked" and not ask.chunks else str(framing)


def _declared(entity: bytes, action: Action, *, cut: bool, whole: int) -> int:
    """Return the length the head announces, which may be a lie."""
    match action.get("malformed"):
        case "short_length":
            return max(0, len(entity) - 10)
        case "long_length":
            return len(entity) + 100
        case _:
            return max(whole, len(entity) + 100) if cut else len(entity)


def _bulk(action: Action) -> bytes:
    """Return as many bytes of further fields as an action asks for."""
    size = int(action.get("big_headers", 0))
    return b"".join(b"x-bulk-%04d: %b\r\n" % (number, b"b" * 1000) for number in range(-(-size // 1015)))


# The body.


def _body_items(reply: Reply, action: Action) -> list[Step]:
    body = reply.body
    items: list[Step] = [Pause(float(action["delay"]))] if action.get("delay") else []
    if action.get("malformed") == "truncated_json":
        return [*items, body[: len(body) // 2]]
    disconnect = action.get("disconnect", {})
    if disconnect.get("phase") == "mid":
        return [*items, body[: len(body) // 2], Pause(0.0), _break(disconnect)]
    if action.get("stall") or action.get("hold_open"):
        return [
            *items,
            body[: len(body) // 2],
            *_silence(action.get("stall") or {}, pings=False),
            body[len(body) // 2 :],
        ]
    return [*items, body]


def _stream_items(events: list[bytes], action: Action, ask: Ask, rng: random.Random) -> list[Step]:
    """Return the events of a stream as an action has them: fewer, more, different, later."""
    events = _altered(_kept(events, action.get("drop_events", ())), action)
    stop = _stop_at(events, action)
    stall = action.get("stall")
    items: list[Step] = [Pause(float(action["delay_first_event"]))] if action.get("delay_first_event") else []
    for number, event in enumerate(events[:stop]):
        if stall is not None and number == int(stall.get("after_events", 0)):
            items += _silence(stall, pings=True)
        if number and action.get("pace"):
            items.append(Pause(max(0.0, action["pace"] + rng.uniform(-1, 1) * action.get("jitter", 0.0))))
        items.append(_newlines(event, action))
    failure = action.get("error_event")
    if failure is not None:
        kind = failure.get("error", "overloaded_error")
        items.append(_newlines(error_frame(kind, failure.get("message", "Overloaded"), ask.request_id), action))
    disconnect = action.get("disconnect", {})
    if disconnect.get("phase") == "mid":
        half = _newlines(events[stop], action) if stop < len(events) and disconnect.get("half_event") else b""
        items += [half[: len(half) // 2], Pause(0.02), _break(disconnect)]
    elif action.get("hold_open"):
        items.append(End("hang", whole=False))
    return items


def _kept(events: list[bytes], dropped: Iterable[str]) -> list[bytes]:
    heads = tuple(b"event: %b\n" % name.encode() for name in dropped)
    return [event for event in events if not event.startswith(heads)] if heads else events


def _stop_at(events: list[bytes], action: Action) -> int:
    """Return how many events go out before an error or a break; half of them where nothing is said."""
    disconnect = action.get("disconnect", {})
    cause = action.get("error_event") or (disconnect if disconnect.get("phase") == "mid" else None)
    if cause is None:
        return len(events)
    return min(len(events), int(cause.get("after_events", len(events) // 2)))


def _altered(events: list[bytes], action: Action) -> list[bytes]:
    match action.get("malformed"):
        case "bad_json":
            at = min(4, len(events) - 1)
            return [
                *events[:at],
                b'event: content_block_delta\ndata: {"type": "content_block_delta", oops\n\n',
                *events[at + 1 :],
            ]
        case "unknown_event":
            strange = b'event: future_event\ndata: {"type":"future_event","more":[1,2,3]}\n\n'
            return [events[0], strange, *events[1:-1], strange, *events[-1:]]
        case "comments":
            return [part for event in events for part in (b": a comment\n\n", event)]
        case "no_event_line":
            return [event.partition(b"\n")[2] for event in events]
        case "truncated_json":
            return events[: len(events) // 2]
        case _:
            return events


def _newlines(event: bytes, action: Action) -> bytes:
    return event.replace(b"\n", b"\r\n") if action.get("newline") == "crlf" else event


def _silence(stall: dict[str, Any], *, pings: bool) -> list[Step]:
    """Return a pause of so many seconds, or for ever, perhaps with pings."""
    seconds = stall.get("seconds")
    every = stall.get("ping_every") if pings else None
    if every and seconds is not None:
        return [step for _ in range(int(seconds / every)) for step in (Pause(float(every)), PING)]
    return [End("hang", whole=False)] if seconds is None else [Pause(float(seconds))]


def _told(reply: Reply, items: list[Step]) -> tuple[Usage | None, Usage | None]:
    """Return which token counts the first piece and the whole answer tell."""
    if reply.events is None:
        whole = not any(isinstance(item, End) for item in items)
        return None, reply.usage if whole else None
    data = [item for item in items if isinstance(item, bytes)]
    started = (
        reply.started
        if any(b"event: message_start" in item or b'"type":"message_start"' in item for item in data)
        else None
    )
    final = any(b'"type":"message_delta"' in item or item == b"data: [DONE]\n\n" for item in data)
    return started, reply.usage if final else started


# Coding, grouping, framing.


def _coding(reply: Reply, action: Action, ask: Ask, form: Form) -> str | None:
    mode = action.get("gzip", "auto")
    if mode == "never" or (reply.events is None and not reply.body):
        return None
    wanted = str(action.get("coding", form.coding))
    if mode == "always":
        return wanted
    if ask.accept is None or wanted not in accepted(ask.accept):
        return None
    if reply.events is None:
        return wanted if len(reply.body) >= SMALLEST else None
    return wanted if action.get("gzip_sse", form.gzip_sse) else None


def _encoded(body: bytes, coding: str) -> bytes:
    coder = encoder(coding)
    return coder.encode(body) + coder.finish()


def _encode_each(pieces: list[bytes], coding: str) -> list[bytes]:
    coder = encoder(coding)
    return [*map(coder.encode, pieces), coder.finish()]


def _coded(items: list[Step], coding: str | None) -> list[Step]:
    if coding is None:
        return items
    coder = encoder(coding)
    out: list[Step] = [coder.encode(item) if isinstance(item, bytes) else item for item in items]
    if not any(isinstance(item, End) for item in items):
        out.append(coder.finish())
    return out


def _regrouped(items: list[Step], chunking: str) -> list[Step]:
    if chunking == "event":
        return items
    kind, _, size = chunking.partition(":")
    if kind == "bytes":
        return _cut(items, int(size))
    most = int(size) if kind == "group" else len(items) or 1
    out: list[Step] = []
    held: list[bytes] = []
    for item in items:
        if isinstance(item, bytes):
            held.append(item)
        elif isinstance(item, End):
            out += [b"".join(held), item]
            held = []
        elif kind == "all":
            out.insert(0, item)
        if len(held) >= most or (isinstance(item, Pause) and held and kind == "group"):
            out.append(b"".join(held))
            held = []
        if isinstance(item, Pause) and kind == "group":
            out.append(item)
    return [*out, b"".join(held)] if held else out


def _cut(items: list[Step], size: int) -> list[Step]:
    """Cut every run of bytes into pieces of `size`, each a packet of its own."""
    out: list[Step] = []
    run = b""
    for item in [*items, Pause(0.0)]:
        if isinstance(item, bytes):
            run += item
            continue
        for at in range(0, len(run), size):
            out += [run[at : at + size], Pause(0.0)]
        run = b""
        out.append(item)
    return out


def _framed(items: list[Step], framing: str, action: Action) -> list[Step]:
    if framing != "chunked":
        return items
    steps: list[Step] = []
    broken_at = len(items) // 2 if action.get("malformed") == "bad_chunk" else -1
    for number, item in enumerate(items):
        if number == broken_at:
            return [*steps, b"zz-not-a-size\r\noops\r\n", End("close", whole=False)]
        if not isinstance(item, bytes):
            steps.append(item)
        elif item:
            steps.append(b"%x\r\n%b\r\n" % (len(item), item))
    if not steps or not isinstance(steps[-1], End):
        steps.append(b"0\r\n\r\n")
    return steps


def _end(action: Action, *, closing: bool) -> End:
    lies = action.get("malformed") in {"short_length", "long_length"}
    if closing or lies or action.get("close_silently"):
        return End("close", whole=not lies)
    return End("keep")
