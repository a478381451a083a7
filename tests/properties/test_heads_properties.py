"""Heads that are recognised, against llhttp: who knows their form must read whatever comes as who does not."""

from itertools import pairwise
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ccflare.limits import read_limits
from ccflare.transport import heads
from ccflare.transport.heads import HeaderSection, ResponseHead
from ccflare.transport.http1 import MAX_HEAD_BYTES, ResponseParser
from ccflare.wire import Headers, pairs_of

FIELDS = b"Date: Mon, 30 Nov 2026\r\nSet-Cookie: a=1; b\r\nconnection: keep-alive\r\nx-y: caf\xe9\r\nset-cookie: c\r\n"
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n" + FIELDS + b'\r\n{"a": true}'
EMPTY = b"HTTP/1.1 200 OK\r\n" + FIELDS + b"Content-Length: 0\r\n\r\n"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\n"
    + FIELDS
    + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n!\r\n0\r\nX-Sum: 1\r\n\r\n"
)
KNOWN = {"length": LENGTH, "empty": EMPTY, "chunked": CHUNKED}
ENOUGH = 20
"""So many answers of one form and it is known."""
FRAGMENTS = [
    b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b": ", b"\0", b"\x7f", b"\x80", b"0", b"9" * 20, b"HTTP/1.1 200 OK\r\n",
    b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"\r\n folded", b"0\r\n\r\n",
    b"Upgrade: x\r\n", b"X: \r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"gzip, ", b"close, ",
]  # fmt: skip

NAMES = [
    b"Content-Type", b"content-type", b"Content-Encoding", b"Connection", b"Keep-Alive", b"TE", b"Trailer", b"x.odd*+|",
    b"anthropic-ratelimit-unified-status", b"Anthropic-RateLimit-Unified-5h-Utilization", b"retry-after", b"Set-Cookie",
]  # fmt: skip
VALUES = [
    b"text/event-stream",
    b"gzip",
    b"allowed",
    b"rejected",
    b"0.5",
    b"7",
    b"a: b",
    b"x" * 40,
    b"caf\xe9 \\ (",
    b":",
]

Told = tuple[bytes, ResponseHead | None, bool, bool, bool, str | None]


class Watched(ResponseParser):
    """Counts the fields that llhttp reads."""

    __slots__ = ("fields",)

    def __init__(self) -> None:
        self.fields = 0
        super().__init__()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields += 1
        super().on_header(name, value)


def knowing(answer: bytes, times: int = ENOUGH) -> Watched:
    """Return a parser that has read an answer so often."""
    parser = Watched()
    for _ in range(times):
        parser.expect(b"POST")
        parser.feed(answer)
        assert parser.complete
        assert parser.reusable
    return parser


def story(parser: ResponseParser, pieces: list[bytes], method: bytes = b"POST") -> tuple[list[Told], bool]:
    """Feed pieces and the end; return what the parser says after each, and whether it can be used again."""
    told: list[Told] = []

    def note(body: bytes) -> None:
        error = None if parser.error is None else str(parser.error)
        told.append((body, parser.head, parser.complete, parser.done, parser.reusable, error))

    parser.expect(method)
    for piece in pieces:
        if not parser.done:
            note(parser.feed(piece))
    reusable = parser.complete and parser.reusable
    if not parser.done:
        parser.eof()
        note(b"")
    return told, reusable


def same(known: str, pieces: list[bytes], method: bytes = b"POST") -> None:
    """Assert that knowing the form makes no difference, neither for this answer nor for the next one."""
    new, old = ResponseParser(), knowing(KNOWN[known], 1)
    told, reusable = story(old, pieces, method)
    assert (told, reusable) == story(new, pieces, method)
    if reusable:
        assert story(old, [CHUNKED, b"more"]) == story(ResponseParser(), [CHUNKED, b"more"])


@pytest.fixture(autouse=True, scope="module")
def _all_known() -> None:
    for answer in KNOWN.values():
        knowing(answer)


def test_a_head_in_a_known_form_is_not_read_field_by_field() -> None:
    """llhttp sees nothing of a whole answer with a length, of a chunked one our own field and the trailer."""
    for known, fields in (("length", 0), ("chunked", 2)):
        parser = knowing(KNOWN[known])
        before = parser.fields
        parser.expect(b"POST")
        parser.feed(KNOWN[known])
        assert parser.complete
        assert parser.fields - before == fields, known


def test_other_values_are_no_other_form() -> None:
    """Only what names and framing are is remembered; values are read from each answer."""
    parser = knowing(LENGTH)
    before = parser.fields
    parser.expect(b"POST")
    other = LENGTH.replace(b"11", b"2").replace(b"a=1", b"something else").replace(b'{"a": true}', b"{}")
    assert parser.feed(other) == b"{}"
    assert parser.fields == before
    assert parser.head is not None
    assert parser.head.content_length == 2
    assert parser.head.section.headers[2] == (b"Set-Cookie", b"something else; b")


def answer_of(names: list[bytes], values: list[bytes], framing: bytes, at: int) -> tuple[bytes, Headers]:
    """Return an answer with these fields and a framing at some place among them, and its fields."""
    odd = [(name, b"keep-alive" if name == b"Connection" else value) for name, value in zip(names, values, strict=True)]
    size = b"chunked" if framing == b"Transfer-Encoding" else b"%d" % (len(values[0]) if values else 3)
    headers = [*odd[:at], (framing, size), *odd[at:]]
    body = b"0\r\n\r\n" if framing == b"Transfer-Encoding" else b"x" * int(size)
    return b"HTTP/1.1 200 OK\r\n" + b"".join(b"%b: %b\r\n" % pair for pair in headers) + b"\r\n" + body, headers


@given(
    st.lists(st.tuples(*[st.sampled_from(each) for each in (NAMES, VALUES, VALUES)]), max_size=8),
    st.sampled_from([b"Content-Length", b"content-length", b"Transfer-Encoding"]),
    st.integers(0, 8),
)
def test_what_a_pattern_takes_out_is_what_the_fields_say(
    fields: list[tuple[bytes, ...]], framing: bytes, at: int
) -> None:
    """Lines for the client, pairs, limits, and what is looked at: of a known head as of one read field by field."""
    names, learnt, values = ([field[part] for field in fields] for part in range(3))
    with patch.object(heads, "_known", {}):
        parser = knowing(answer_of(names, learnt, framing, at)[0])
        answer, headers = answer_of(names, values, framing, at)
        before = parser.fields
        parser.expect(b"POST")
        parser.feed(answer)
        assert parser.fields - before == (framing == b"Transfer-Encoding"), "it was not recognised"
        new = ResponseParser()
        new.feed(answer)
    assert parser.head is not None
    assert parser.head == new.head
    section = parser.head.section
    assert section == HeaderSection.of(headers)
    assert section.headers == headers
    assert read_limits(pairs_of(section.lines), 1) == read_limits(headers, 1)


def test_heads_of_one_form_share_their_names() -> None:
    """What is known about the names of one is found for the next without comparing them."""
    parser, names = knowing(LENGTH), []
    for _ in range(2):
        story(parser, [LENGTH])
        assert parser.head is not None
        names.append(parser.head.section.names)
    assert names[0] is names[1]


@pytest.mark.parametrize("known", sorted(KNOWN))
def test_any_other_byte_makes_no_difference(known: str) -> None:
    """With every byte replaced by every other, taken away, or doubled, an answer is read as llhttp reads it."""
    answer = KNOWN[known]
    for at in range(len(answer)):
        same(known, [answer[:at] + answer[at + 1 :]])
        same(known, [answer[: at + 1] + answer[at:]])
        for byte in (*range(33), *b":aA0129;,", 127, 128, 255):
            same(known, [answer[:at] + bytes([byte]) + answer[at + 1 :]])


@pytest.mark.parametrize("known", sorted(KNOWN))
@pytest.mark.parametrize("method", [b"POST", b"HEAD"])
def test_no_split_makes_a_difference(known: str, method: bytes) -> None:
    """Cut in two anywhere, or into single bytes, a known answer is read as llhttp reads it; so are bytes behind it."""
    answer = KNOWN[known] + b"HTTP"
    same(known, [bytes([byte]) for byte in answer], method)
    for at in range(len(answer) + 1):
        same(known, [answer[:at], answer[at:]] if at < len(answer) else [answer[:-4]], method)


@settings(max_examples=500)
@given(
    st.sampled_from(sorted(KNOWN)),
    st.lists(st.tuples(st.integers(0, 220), st.integers(0, 8), st.sampled_from(FRAGMENTS) | st.binary(max_size=4))),
    st.lists(st.integers(0, 300), max_size=4),
    st.sampled_from([b"POST", b"HEAD"]),
)
@example("length", [(17, 0, b"Content-Length: 11\r\n")], [], b"POST")
@example("length", [(33, 2, b"11 ")], [], b"POST")
@example("length", [(33, 2, b"0")], [], b"POST")
@example("length", [(33, 2, b"0x")], [], b"POST")
@example("chunked", [(17, 0, b"Content-Length: 3\r\n")], [], b"POST")
def test_no_change_makes_a_difference(
    known: str, changes: list[tuple[int, int, bytes]], cuts: list[int], method: bytes
) -> None:
    """Whatever is put into a known answer, taken out of it and wherever it is cut, it is read as llhttp reads it."""
    answer = KNOWN[known]
    for at, gone, put in changes:
        answer = answer[:at] + put + answer[at + gone :]
    marks = [0, *sorted(min(cut, len(answer)) for cut in cuts), len(answer)]
    same(known, [piece for a, b in pairwise(marks) if (piece := answer[a:b])], method)


def test_a_large_head_is_for_llhttp() -> None:
    """A known form does not lift the bound on a head."""
    for size in (1000, MAX_HEAD_BYTES - 300, MAX_HEAD_BYTES, MAX_HEAD_BYTES + 300):
        same("length", [LENGTH.replace(b"a=1", b"x" * size)])
        same("length", [LENGTH.replace(b"11", b"%d" % size), b"y" * (size - 11)])


@pytest.mark.parametrize(
    "change",
    [
        (b"200 OK", b"201 Created"),
        (b"200 OK", b"200 Fine"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"Date", b"Upgrade"),
        (b"Date", b"Proxy-Connection"),
        (b"Date", b"x" * 3000),
        (b"keep-alive", b"x-own"),
    ],
)
def test_an_unusual_head_has_no_form(change: tuple[bytes, bytes]) -> None:
    """What could mean more than it says is read by llhttp however often it comes."""
    answer = LENGTH.replace(*change)
    parser = Watched()
    for seen in range(ENOUGH * 2):
        parser.expect(b"POST")
        parser.feed(answer)
        assert parser.complete
        assert parser.fields == 6 * (seen + 1)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Endless other heads take no more memory, and heads that come often are learnt after them as before."""
    known: dict[tuple[bytes, ...], object] = {}
    monkeypatch.setattr(heads, "_known", known)
    for number in range(1000):
        knowing(LENGTH.replace(b"Date", b"x-%d" % number), 1)
    assert 0 < len(known) <= 64
    knowing(LENGTH)
    parser = knowing(LENGTH, 1)
    before = parser.fields
    story(parser, [LENGTH])
    assert parser.fields == before
