"""What the meter reads out of answers."""

import json
import tracemalloc
from typing import Any

import msgspec
import pytest

from answer_kit import CODINGS, START_USAGE, block_start, compressed, delta, error, event, message_delta, start, stop
from ccflare.meter import EVENT_BYTES, OUTLINE_BYTES, PLAIN_BYTES, Meter, Metered
from ccflare.meter.body import Outline
from ccflare.usage import NOT_SAID, Usage

BODY: dict[str, Any] = {
    "model": "claude-sonnet-5",
    "id": "msg_01",
    "type": "message",
    "role": "assistant",
    "content": [
        {"type": "text", "text": 'a "quoted" [bracket] \\ é', "citations": [[1, "]"], {}]},
        {"input": {"[": "}"}},
    ],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {**START_USAGE, "output_tokens": 42, "server_tool_use": {"web_search_requests": 2}},
}
SPLIT = Usage(
    model="claude-sonnet-5",
    input_tokens=11,
    output_tokens=1,
    cache_read_input_tokens=5000,
    cache_creation_input_tokens=300,
    cache_creation_5m_tokens=100,
    cache_creation_1h_tokens=200,
    service_tier="standard",
    inference_geo="global",
)


def metered(*pieces: bytes, coding: bytes | None = None, complete: bool = True) -> Metered:
    """Meter an event stream whose pieces come a second apart."""
    meter = Meter(streamed=True, coding=coding)
    for at, piece in enumerate(pieces):
        meter.feed(piece, float(at))
    return meter.end(complete=complete)


def metered_body(body: bytes, coding: bytes | None = None, complete: bool = True) -> Metered:
    meter = Meter(streamed=False, coding=coding)
    meter.feed(body, 0.0)
    return meter.end(complete=complete)


def test_a_stream_from_beginning_to_end() -> None:
    """The input side comes from the start, the output side from the end, and times from the content alone."""
    end = {"output_tokens": 90, "output_tokens_details": {"thinking_tokens": 30}}
    ping = event("ping", {"type": "ping"})
    told = metered(start(), block_start(), delta(), ping, delta(), message_delta(end), stop())
    assert told == Metered(
        streamed=True,
        complete=True,
        usage=msgspec.structs.replace(SPLIT, output_tokens=90, thinking_tokens=30, stop_reason="end_turn"),
        finished=True,
        first_content_at=1.0,
        last_content_at=4.0,
    )
    assert told.failure is None
    assert told.output_tokens_per_second == 30.0


def test_the_last_value_of_each_field_wins() -> None:
    """Several deltas are cumulative: nothing is added up, the input side may be restated, null takes nothing away."""
    first = {"input_tokens": 20, "output_tokens": 10, "server_tool_use": {"web_search_requests": 1}}
    second = {"input_tokens": 411, "cache_read_input_tokens": 0, "output_tokens": 50, "speed": "fast"}
    third = {"input_tokens": None, "output_tokens": 60, "server_tool_use": {"web_search_requests": 3}}
    deltas = [message_delta(first, None), message_delta(second, "tool_use"), message_delta(third, None)]
    assert metered(start(), *deltas, stop()).usage == msgspec.structs.replace(
        SPLIT,
        input_tokens=411,
        output_tokens=60,
        cache_read_input_tokens=0,
        web_search_requests=3,
        speed="fast",
        stop_reason="tool_use",
    )


@pytest.mark.parametrize("coding", CODINGS)
def test_every_coding_is_read(coding: bytes) -> None:
    """A compressed answer tells the same, streamed or not, as it arrives."""
    pieces = [start(), delta(), delta(), message_delta({"output_tokens": 9}), stop()]
    told = metered(*compressed(coding, pieces), coding=coding.upper())
    assert (told.usage.output_tokens, told.finished, told.problem) == (9, True, None)
    assert (told.first_content_at, told.last_content_at) == (1.0, 2.0)
    body = b"".join(compressed(coding, [json.dumps(BODY).encode()]))
    assert metered_body(body, coding).usage.output_tokens == 42


@pytest.mark.parametrize(
    ("pieces", "failure", "output"),
    [
        ([start(), delta(), message_delta({"output_tokens": 9})], "truncated stream", 9),
        ([start(), delta()], "truncated stream", 1),
        ([start(), delta()[:-1]], "truncated stream", 1),
        ([start()[:40]], "truncated stream", None),
        ([], "truncated stream", None),
        ([start(), message_delta({"output_tokens": 9}), stop()[:-1]], None, 9),
        ([start(), message_delta({"output_tokens": 9}), stop()[:-8]], "truncated stream", 9),
        ([start(), message_delta({"output_tokens": 9})[:-1], b""], "truncated stream", 9),
        ([start(), delta(), error()], "overloaded_error: Overloaded", 1),
        ([start(), error(), error("api_error", "again"), stop()], "overloaded_error: Overloaded", 1),
        ([start(), b"event: error\ndata: nonsense\n\n"], "error", 1),
        ([start(), b"event: error\ndata: {}\n\n"], "error", 1),
    ],
)
def test_streams_that_end_badly(pieces: list[bytes], failure: str | None, output: int | None) -> None:
    """What was seen is kept, and the failure says what was missing or what the error was."""
    told = metered(*pieces)
    assert told.failure == failure
    assert told.usage.output_tokens == output


@pytest.mark.parametrize(
    ("pieces", "problem"),
    [
        ([b"event: message_delta\ndata: {bad\n\n"], "message_delta is not a JSON object"),
        ([b"event: message_delta\ndata: [1]\n\n"], "message_delta is not a JSON object"),
        ([b"event: message_delta\ndata: \xff\n\n"], "message_delta is not a JSON object"),
        ([b"event: message_delta\ndata: " + b"[" * 5000 + b"\n\n"], "message_delta is not a JSON object"),
        ([b'event: message_delta\ndata: {"x":' + b"[" * 50_000 + b"\n\n"], "message_delta is not a JSON object"),
        ([b"data: [DONE]\n\n"], "an event is not a JSON object"),
        ([b"event: message_delta\ndata: ", b"x" * EVENT_BYTES, b"\n\n"], "message_delta is too long"),
        ([message_delta([1])], "usage is not an object"),
        ([message_delta({"output_tokens": "77"})], "output_tokens is not a count"),
        ([message_delta({"output_tokens": -1})], "output_tokens is not a count"),
        ([message_delta({"output_tokens": True})], "output_tokens is not a count"),
        ([message_delta({"output_tokens": 7.5})], "output_tokens is not a count"),
        ([message_delta({"output_tokens": 1 << 70})], "output_tokens is not a count"),
        ([message_delta({"cache_creation": 5})], "cache_creation is not an object"),
        ([message_delta({"speed": "x" * 300})], "speed is not a name"),
        ([message_delta({"speed": "fast\x1b[2J"})], "speed is not a name"),
        ([start(model=7)], "model is not a name"),
    ],
)
def test_what_cannot_be_read_is_skipped_and_noted(pieces: list[bytes], problem: str) -> None:
    """One unreadable thing changes nothing but the note, and what follows it is read."""
    told = metered(start(), *pieces, message_delta({"output_tokens": 9}), stop())
    assert (told.problem, told.skipped) == (problem, 1)
    assert told.usage == msgspec.structs.replace(SPLIT, output_tokens=9, stop_reason="end_turn")
    assert told.failure is None


@pytest.mark.parametrize(
    "data",
    [
        b"event: message_start\ndata: {}\n\n",
        b'event: message_start\ndata: {"message": []}\n\n',
        b'event: message_start\ndata: {"message": {"model": null, "usage": null}}\n\n',
        b'event: message_delta\ndata: {"delta": 1}\n\n',
        b'data: {"type": ["message_stop"]}\n\n',
        b'data: {"type": "surprise", "usage": {"output_tokens": 5}}\n\n',
        b'event: surprise\ndata: {"usage": {"output_tokens": 5}}\n\n',
        b": comment\n\n",
    ],
)
def test_what_says_nothing_changes_nothing(data: bytes) -> None:
    """Unknown events, and known ones without what is looked for, are no problem and no usage."""
    assert metered(data).usage == NOT_SAID
    assert metered(data).problem is None


def test_events_without_a_name_are_known_by_their_type() -> None:
    """Where the event line is missing or says `message`, the type in the data counts, for content too."""
    pieces = [start(), delta(), delta(), message_delta({"output_tokens": 9}), stop()]
    unnamed = [b"data:" + piece.partition(b"data:")[2] for piece in pieces]
    default = [b"event: message\n" + piece for piece in unnamed]
    assert metered(*unnamed) == metered(*default) == metered(*pieces)
    assert metered(*unnamed, error()[len("event: error\n") :]).error_type == "overloaded_error"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_is_read(end: str) -> None:
    """Line ends make no difference."""
    told = metered(start(end=end), delta(end=end), message_delta({"output_tokens": 9}, end=end), stop(end=end))
    assert (told.usage.output_tokens, told.failure, told.problem) == (9, None, None)


def test_content_is_not_decoded() -> None:
    """Broken and huge content neither costs memory nor is noted as a problem."""
    meter = Meter(streamed=True, coding=None)
    meter.feed(start(), 0.0)
    piece = b"x" * 10_000
    meter.feed(b"event: content_block_delta\ndata: ", 1.0)
    tracemalloc.start()
    for _ in range(1000):
        meter.feed(piece, 2.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    meter.feed(b"\n\n" + stop(), 3.0)
    told = meter.end(complete=True)
    assert peak < 100_000
    assert (told.problem, told.failure, told.first_content_at) == (None, None, 3.0)


def test_a_text_completion_ends_by_its_stop_reason() -> None:
    """The older API has no `message_stop`: its last event says why it stops."""
    said = {"type": "completion", "completion": " Hi", "model": "claude-2.1"}
    first, last = (
        event("completion", {**said, "stop_reason": None}),
        event("completion", {**said, "stop_reason": "stop"}),
    )
    assert metered(first).failure == "truncated stream"
    told = metered(first, last)
    assert told.failure is None
    assert told.usage == Usage(model="claude-2.1", stop_reason="stop")


def test_a_body_tells_everything_at_its_end() -> None:
    """Usage, model and stop reason are read wherever they stand, behind content that looks like them."""
    expected = msgspec.structs.replace(SPLIT, output_tokens=42, web_search_requests=2, stop_reason="end_turn")
    told = metered_body(json.dumps(BODY, indent=2).encode())
    assert told == Metered(streamed=False, complete=True, usage=expected, finished=True)
    decoy = {"content": ['"usage":{"output_tokens":7}', {"usage": {"output_tokens": 8}}], "usage": {"output_tokens": 9}}
    assert metered_body(json.dumps(decoy).encode()).usage.output_tokens == 9
    assert told.output_tokens_per_second is None


@pytest.mark.parametrize(
    ("body", "usage", "problem", "failure"),
    [
        (b"", NOT_SAID, None, None),
        (b"<html>[no]</html>", NOT_SAID, "the body is not a JSON object", None),
        (b"[1, 2]", NOT_SAID, "the body is not a JSON object", None),
        (b'{"usage": 5}', NOT_SAID, "usage is not an object", None),
        (b'{"input_tokens": 5}', NOT_SAID, None, None),
        (b'{"a":[]]],"usage":{"output_tokens":5}}', NOT_SAID, "the body is not a JSON object", None),
        (b'{"type":"error","error":{"type":"api_error","message":"no"}}', NOT_SAID, None, "api_error: no"),
        (b'{"error":"gone"}', NOT_SAID, None, "gone"),
        (b'{"model":"m","usage":{"output_tokens":5}}', Usage(model="m", output_tokens=5), None, None),
    ],
)
def test_bodies_of_all_kinds(body: bytes, usage: Usage, problem: str | None, failure: str | None) -> None:
    """What is no message tells of no usage, and says why."""
    told = metered_body(body)
    assert (told.usage, told.problem, told.failure) == (usage, problem, failure)


def test_a_body_that_was_cut_tells_nothing() -> None:
    """Half a body is no usage and no problem: the cut itself is the failure."""
    told = metered_body(json.dumps(BODY).encode()[:-1], complete=False)
    assert (told.usage, told.problem, told.finished, told.failure) == (NOT_SAID, None, False, "truncated answer")


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(
    ("coding", "data", "problem"),
    [
        (b"compress", b"\x1f\x9d", "the coding 'compress' is not known"),
        (b"gzip, br", b"\x1f\x8b", "the coding 'gzip, br' is not known"),
        (b"gzip", b"plain text", "the gzip coding is broken, or there is too much of it"),
    ],
)
def test_what_cannot_be_decoded_is_unknown(streamed: bool, coding: bytes, data: bytes, problem: str) -> None:
    """An unreadable coding gives no usage, but it does not make a failure of an exchange."""
    meter = Meter(streamed=streamed, coding=coding)
    meter.feed(data, 0.0)
    told = meter.end(complete=True)
    assert (told.usage, told.readable, told.problem, told.failure) == (NOT_SAID, False, problem, None)


def test_a_coding_that_breaks_keeps_what_was_seen() -> None:
    """Usage from before the break stays, and the message may have ended unseen."""
    first, *_ = compressed(b"gzip", [start()])
    told = metered(first, b"\xff" * 50, coding=b"gzip")
    assert (told.usage, told.readable, told.failure) == (SPLIT, False, None)


def test_a_small_answer_does_not_become_a_large_one() -> None:
    """Decoding stops at its bound, with usage unknown."""
    bomb = compressed(b"gzip", [b"[" + b" " * (PLAIN_BYTES // 4)] + [b" " * (PLAIN_BYTES // 4)] * 4)
    meter = Meter(streamed=False, coding=b"gzip")
    for piece in bomb:
        for at in range(0, len(piece), 1000):
            meter.feed(piece[at : at + 1000], 0.0)
    assert not meter.end(complete=True).readable


def test_a_long_body_costs_no_memory() -> None:
    """A body of 20 MB is metered while next to nothing of it is kept."""
    head, tail = json.dumps({**BODY, "content": ["@"]}).encode().split(b"@")
    piece = b'say \\"hi\\" [' * 1000
    meter = Meter(streamed=False, coding=None)
    meter.feed(head, 0.0)
    tracemalloc.start()
    for _ in range(20 * 1024 * 1024 // len(piece)):
        meter.feed(piece, 0.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    meter.feed(tail, 0.0)
    assert meter.end(complete=True).usage.output_tokens == 42
    assert peak < 100_000


def test_what_would_have_to_be_kept_is_bounded() -> None:
    """Where the length stands outside arrays, the bound holds and usage is unknown."""
    meter = Meter(streamed=False, coding=None)
    meter.feed(b'{"completion": "' + b"x" * OUTLINE_BYTES, 0.0)
    meter.feed(b'", "usage": {"output_tokens": 5}}', 0.0)
    told = meter.end(complete=True)
    assert (told.usage, told.readable, told.problem) == (NOT_SAID, False, "the body is too long")


@pytest.mark.parametrize(
    ("text", "outline"),
    [
        (b'{"a": [1, [2], "]"], "b": 2}', b'{"a": [], "b": 2}'),
        (b'{"a": "[", "b": ["\\"", "]"]}', b'{"a": "[", "b": []}'),
        (b'{"a\\"": [{"c": "\\\\"}], "b": "\\\\"}', b'{"a\\"": [], "b": "\\\\"}'),
        (b"[[[]]]", b"[]"),
        (b"]]", b"]]"),
        (b'"never ends', b'"never ends'),
    ],
)
def test_an_outline_is_the_text_with_empty_arrays(text: bytes, outline: bytes) -> None:
    """Strings hide brackets, backslashes hide quotes, and every split gives the same."""
    for size in range(1, len(text) + 1):
        kept = Outline(1000)
        for at in range(0, len(text), size):
            kept.feed(text[at : at + size])
        assert kept.text() == outline


@pytest.mark.parametrize(
    ("usage", "prompt", "writes", "total"),
    [
        (NOT_SAID, None, None, None),
        (Usage(output_tokens=5), None, None, 5),
        (Usage(input_tokens=1, output_tokens=2, cache_read_input_tokens=4, cache_creation_input_tokens=8), 13, 8, 15),
        (Usage(input_tokens=1, cache_creation_5m_tokens=8, cache_creation_1h_tokens=16), 25, 24, 25),
        (Usage(cache_creation_input_tokens=30, cache_creation_5m_tokens=8, cache_creation_1h_tokens=16), 30, 30, 30),
    ],
)
def test_sums_of_usage(usage: Usage, prompt: int | None, writes: int | None, total: int | None) -> None:
    """Sums are of what is known; of nothing known they are unknown."""
    assert (usage.prompt_tokens, usage.cache_write_tokens, usage.total_tokens) == (prompt, writes, total)


@pytest.mark.parametrize(("seconds", "speed"), [(2.0, 21.0), (0.0, None), (0.0005, None)])
def test_speed_needs_time(seconds: float, speed: float | None) -> None:
    """Content that came at once has no speed."""
    meter = Meter(streamed=True, coding=None)
    for piece, at in (
        (start(), 0.0),
        (delta(), 5.0),
        (delta(), 5.0 + seconds),
        (message_delta({"output_tokens": 42}), 9.0),
    ):
        meter.feed(piece, at)
    assert meter.end(complete=False).output_tokens_per_second == speed
