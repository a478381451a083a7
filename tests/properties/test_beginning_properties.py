"""What matters of an answer's head, whichever heads were seen before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccflare import beginning
from ccflare.beginning import Head
from ccflare.wire import HOP_BY_HOP, Headers

NAMES = [
    b"Content-Type", b"content-type", b"Content-Encoding", b"content-length", b"Connection", b"X-Own", b"x-own", b"TE",
    b"anthropic-ratelimit-unified-status", b"Anthropic-RateLimit-Unified-Status", b"date", b"set-cookie", b"Trailer",
]  # fmt: skip
VALUES = [
    b"text/event-stream; charset=utf-8", b"TEXT/Event-Stream", b"application/json", b"gzip", b"allowed", b" Allowed ",
    b"rejected", b"keep-alive, x-own", b"close", b"date", b"",
]  # fmt: skip
HEADS = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=8)


def read(headers: Headers) -> Head:
    return Head(headers, tuple(name for name, _ in headers))


@given(HEADS)
def test_a_head_is_what_its_fields_say_one_by_one(headers: Headers) -> None:
    """The last of a repeated field counts; hop-by-hop fields, and those that `Connection` names, stay behind."""
    said = {name.lower(): value for name, value in headers}
    tokens = {
        token.strip() for name, value in headers if name.lower() == b"connection" for token in value.lower().split(b",")
    } - {b"close", b"keep-alive"}
    head = read(headers)
    assert head.streamed == said.get(b"content-type", b"").lower().startswith(b"text/event-stream")
    assert head.coding == said.get(b"content-encoding")
    assert head.routine == (said.get(b"anthropic-ratelimit-unified-status", b"allowed").strip().lower() == b"allowed")
    assert head.end_to_end == [
        pair for pair in headers if pair[0].lower() not in HOP_BY_HOP | {b"content-length"} | tokens
    ]


def test_what_is_remembered_of_heads_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Endless other names, and endlessly long ones, take no more memory; each head is still read right."""
    known: dict[tuple[bytes, ...], object] = {}
    monkeypatch.setattr(beginning, "_known", known)
    for number in range(1000):
        odd = b"x-%d" % number, b"1"
        assert read([odd, (b"content-length", b"1")]).end_to_end == [odd]
    assert 0 < len(known) <= 256
    known.clear()
    assert read([(b"x" * 5000, b"1")]).end_to_end
    assert not known
