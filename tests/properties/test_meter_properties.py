"""Metering and pricing for every split of the bytes, every coding and any nonsense."""

import json
import re
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from answer_kit import CODINGS, block_start, compressed, delta, error, message_delta, start, stop
from ccflare.meter import Meter, Metered
from ccflare.meter.body import Outline
from ccflare.pricing import BUNDLED, cost, merge
from ccflare.sse import Event, EventReader
from ccflare.usage import Usage

WANTED = frozenset({b"", b"message_start", b"error"})
LIMIT = 40
LINES = st.sampled_from(
    [
        b"event: message_start",
        b"event:error",
        b"event: other",
        b"event: " + b"y" * LIMIT,
        b"event:",
        b"event",
        b'data: {"type":"message_stop"}',
        b"data: " + b"x" * LIMIT,
        b"data:",
        b"data",
        b"dat",
        b": " + b"c" * LIMIT,
        b"",
        b"",
        b"id: 1",
        b"\xef\xbb\xbf",
        b"\xef\xbb\xbfdata: 1",
        b"nonsense \xff",
    ]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
STREAMS = st.lists(st.tuples(LINES, ENDS), max_size=14).map(lambda lines: b"".join(a + b for a, b in lines))
CUTS = st.lists(st.integers(0, 60), max_size=30)

CLASSES = {
    "input_tokens": "input",
    "output_tokens": "output",
    "cache_read_input_tokens": "cache_read",
    "cache_creation_5m_tokens": "cache_write_5m",
    "cache_creation_1h_tokens": "cache_write_1h",
}
COUNTS = st.none() | st.integers(0, 1 << 40)
USAGES = st.fixed_dictionaries(
    {},
    optional={
        "input_tokens": COUNTS,
        "output_tokens": COUNTS,
        "cache_read_input_tokens": COUNTS,
        "cache_creation_input_tokens": COUNTS,
        "cache_creation": st.fixed_dictionaries({"ephemeral_5m_input_tokens": COUNTS}),
        "server_tool_use": st.fixed_dictionaries({"web_search_requests": COUNTS}),
        "speed": st.none() | st.sampled_from(["fast", "standard", "é"]),
    },
)
TEXTS = st.text(max_size=20).map(delta)
PIECES = st.lists(
    st.one_of(
        TEXTS,
        TEXTS,
        USAGES.map(start),
        USAGES.map(message_delta),
        st.sampled_from([block_start(), stop(), error(), b": ping\r\n", b"data: {}\r\r", b"event: message_delta\n"]),
    ),
    max_size=8,
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='ab"\\[]{},:é\n', max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


def pieces_of(data: bytes, sizes: list[int]) -> list[bytes]:
    """Cut data into pieces of these sizes and the rest."""
    pieces, at = [], 0
    for size in sizes:
        pieces.append(data[at : at + size])
        at += size
    return [*pieces, data[at:]]


def metered(pieces: list[bytes], *, streamed: bool, coding: bytes | None = None) -> Metered:
    meter = Meter(streamed=streamed, coding=coding)
    for piece in pieces:
        meter.feed(piece, 1.0)
    return meter.end(complete=True)


def events_by_the_book(stream: bytes) -> list[Event]:
    """Read a whole stream in the plain way of the standard, with the reader's bounds."""
    events: list[Event] = []
    data: list[bytes] = []
    name, size, lost = b"", 0, False
    for line in [*re.split(rb"\r\n|\n|\r", stream.removeprefix(b"\xef\xbb\xbf")), b""]:
        key, _, value = line.partition(b":")
        if not line:
            if data:
                events.append((name, None if lost or name not in WANTED else b"\n".join(data)))
            name, data, size, lost = b"", [], 0, False
        elif key == b"event":
            name = value.removeprefix(b" ") if len(line) <= LIMIT else b"?"
            lost |= bool(data) and name not in WANTED
        elif key == b"data":
            data.append(value.removeprefix(b" "))
            size += max(len(line), len(b"data:"))
            lost |= name not in WANTED or size > LIMIT
    return events


def without_arrays(value: Any) -> Any:
    if isinstance(value, list):
        return []
    return {key: without_arrays(each) for key, each in value.items()} if isinstance(value, dict) else value


@settings(deadline=None, max_examples=300)
@given(STREAMS, CUTS)
def test_any_split_gives_the_same_events(stream: bytes, sizes: list[int]) -> None:
    """However a stream is cut, its events are those of the whole."""
    whole, cut = EventReader(WANTED, LIMIT), EventReader(WANTED, LIMIT)
    expected = [*whole.feed(stream), whole.end()]
    assert [*(each for piece in pieces_of(stream, sizes) for each in cut.feed(piece)), cut.end()] == expected


@settings(deadline=None, max_examples=300)
@given(STREAMS)
def test_events_are_those_of_the_standard(stream: bytes) -> None:
    """A reader that keeps little finds what a plain one finds that keeps everything."""
    reader = EventReader(WANTED, LIMIT)
    found, last = reader.feed(stream), reader.end()
    assert [*found, *([last] if last else [])] == events_by_the_book(stream)


@settings(deadline=None)
@given(PIECES, CUTS, st.sampled_from(CODINGS), st.booleans())
def test_any_split_and_coding_gives_the_same_usage(
    pieces: list[bytes], sizes: list[int], coding: bytes, cr: bool
) -> None:
    """Usage is a function of the text alone: not of its pieces, its coding or its line ends."""
    expected = metered([b"".join(pieces)], streamed=True)
    text = [piece.replace(b"\n", b"\r\n") if cr else piece for piece in pieces]
    coded = pieces_of(b"".join(compressed(coding, text)), sizes)
    assert metered(coded, streamed=True, coding=coding) == expected


@settings(deadline=None)
@given(USAGES, CUTS, st.sampled_from(CODINGS), JSON)
def test_a_body_and_a_stream_tell_the_same(
    usage: dict[str, Any], sizes: list[int], coding: bytes, content: Any
) -> None:
    """The same usage is read from a body, whatever its content, split and coding, as from a stream."""
    body = json.dumps({"model": "m", "content": [content], "stop_reason": "end_turn", "usage": usage}).encode()
    told = metered(pieces_of(b"".join(compressed(coding, [body])), sizes), streamed=False, coding=coding)
    assert told.usage == metered([start(usage, "m"), message_delta({})], streamed=True).usage
    assert told.problem is None


@settings(deadline=None)
@given(JSON, CUTS, st.booleans())
def test_an_outline_is_the_value_with_empty_arrays(value: Any, sizes: list[int], ascii_only: bool) -> None:
    """Any JSON text, in any pieces, keeps everything but what its arrays contain."""
    outline = Outline(1 << 20)
    for piece in pieces_of(json.dumps(value, ensure_ascii=ascii_only).encode(), sizes):
        outline.feed(piece)
    assert json.loads(outline.text()) == without_arrays(value)


@settings(deadline=None)
@given(
    st.lists(st.binary(max_size=60) | PIECES.map(b"".join), max_size=6),
    st.booleans(),
    st.sampled_from([None, *CODINGS]),
)
def test_arbitrary_bytes_never_raise(pieces: list[bytes], streamed: bool, coding: bytes | None) -> None:
    """Whatever upstream sends, there is a result, and it can be asked everything."""
    told = metered(pieces, streamed=streamed, coding=coding)
    assert told.failure is None or told.failure
    assert told.output_tokens_per_second is None
    price = cost(told.usage, BUNDLED)
    assert price is None or price >= 0


@given(st.sampled_from(sorted(BUNDLED.models)), st.tuples(*[st.integers(0, 10**9)] * 5), st.sampled_from([None, "us"]))
def test_a_cost_is_exact_to_half_a_micro_dollar(model: str, tokens: tuple[int, ...], geo: str | None) -> None:
    """The integer result is the nearest to the exact sum of tokens times rates."""
    counts: dict[str, Any] = dict(zip(CLASSES, tokens, strict=True))
    usage = Usage(model=model, inference_geo=geo, **counts)
    price = BUNDLED.models[model]
    rates = price.long_context[0].rates if price.long_context and sum(tokens) - tokens[1] > 100_000 else price.rates
    exact = Fraction(sum(count * getattr(rates, CLASSES[name]) for name, count in counts.items()), 10**6)
    if geo == "us" and "inference_geo=us" in price.factors_permille:
        exact *= Fraction(11, 10)
    found = cost(usage, BUNDLED)
    assert found is not None
    assert found - Fraction(1, 2) <= exact < found + Fraction(1, 2)


@given(
    st.binary(max_size=80)
    | JSON.map(lambda value: json.dumps({"anthropic": {"models": {"m": {"cost": value}}}}).encode())
)
def test_documents_of_nonsense_are_refused(document: bytes) -> None:
    """A document that is none is refused with a ValueError that says so; nothing else happens."""
    with pytest.raises(ValueError, match="the fetched prices"):
        merge(BUNDLED, document, "2026-12-01")


ODD = st.none() | st.booleans() | st.integers(-2, 1 << 50) | st.floats(0, 9) | st.text(max_size=4) | st.just({"a": 1})
NESTED = {
    "cache_creation": ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"),
    "output_tokens_details": ("thinking_tokens",),
    "server_tool_use": ("web_search_requests", "web_fetch_requests", "code_execution_requests"),
}
MESSAGES = st.fixed_dictionaries(
    {"type": st.sampled_from(["message", "error", 7])},
    optional={
        "model": st.just("claude-x") | ODD,
        "stop_reason": ODD,
        "error": ODD,
        "usage": ODD
        | st.fixed_dictionaries(
            {},
            optional={name: st.integers(0, 99) | ODD for name in ("input_tokens", "output_tokens", "speed", "other")}
            | {
                name: ODD | st.fixed_dictionaries({}, optional=dict.fromkeys(fields, st.integers(0, 9) | ODD))
                for name, fields in NESTED.items()
            },
        ),
    },
)


@settings(deadline=None, max_examples=200)
@given(MESSAGES)
def test_the_quick_way_tells_what_the_patient_one_does(message: dict[str, Any]) -> None:
    """A message that is as it should be is read at once; what is read of it is what looking at each field gives."""
    body = json.dumps(message).encode()
    quick = metered([body], streamed=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ccflare.meter.read_message", lambda _data: None)
        assert metered([body], streamed=False) == quick
