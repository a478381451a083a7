"""Every preset of the simulated upstream, as it arrives on the wire."""

import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import brotli
import pytest
import zstandard

from ccflare.demo.accounts import SimulatedAccount
from ccflare.demo.presets import PRESETS
from ccflare.demo.upstream import SimulatedUpstream
from simulated_kit import (
    Arrived,
    arrive,
    by_key,
    check_grammar,
    dechunked,
    events,
    fake,
    raw_request,
)

Check = Callable[[Arrived], Any]
UNIFIED = b"anthropic-ratelimit-unified-"


@pytest.fixture
async def upstream() -> AsyncIterator[SimulatedUpstream]:
    """A server with one key account."""
    async with SimulatedUpstream([SimulatedAccount("a")]) as server:
        yield server


async def provoke(server: SimulatedUpstream, preset: Any, *, stream: bool = True, silent_s: float = 0.5) -> Arrived:
    """Have one request misbehave by a directive in its message."""
    headers = by_key(server.accounts["a"].api_key)
    return await arrive(server.url, raw_request(headers, fake(preset, stream=stream)), silent_s=silent_s)


def error_of(got: Arrived) -> dict[str, Any]:
    """Return the error an answer carries."""
    body: dict[str, Any] = json.loads(got.rest)
    assert f"request-id: {body['request_id']}".encode() in got.head
    return dict(body["error"])


ERRORS = [
    ("400", 400, "invalid_request_error", ""),
    ("400-too-long", 400, "invalid_request_error", "prompt is too long"),
    ("400-credit", 400, "invalid_request_error", "Your credit balance is too low"),
    ("400-extra-usage", 400, "invalid_request_error", "extra usage"),
    ("401", 401, "authentication_error", "invalid x-api-key"),
    ("401-expired", 401, "authentication_error", "OAuth token has expired"),
    ("402", 402, "billing_error", "billing"),
    ("403", 403, "permission_error", ""),
    ("403-revoked", 403, "permission_error", "OAuth token has been revoked"),
    ("403-org", 403, "permission_error", "not allowed for this organization"),
    ("404", 404, "not_found_error", "model:"),
    ("409", 409, "conflict_error", ""),
    ("413", 413, "request_too_large", ""),
    ("429", 429, "rate_limit_error", "per minute"),
    ("429-long", 429, "rate_limit_error", ""),
    ("429-unified", 429, "rate_limit_error", "your account's rate limit"),
    ("429-unified-7d", 429, "rate_limit_error", ""),
    ("429-model", 429, "rate_limit_error", ""),
    ("429-overage", 429, "rate_limit_error", ""),
    ("429-bare", 429, "rate_limit_error", "Error"),
    ("429-http-date", 429, "rate_limit_error", ""),
    ("429-no-retry", 429, "rate_limit_error", ""),
    ("429-concurrency", 429, "rate_limit_error", "concurrent connections"),
    ("500", 500, "api_error", ""),
    ("500-no-retry", 500, "api_error", ""),
    ("503", 503, "api_error", ""),
    ("504", 504, "timeout_error", ""),
    ("529", 529, "overloaded_error", "Overloaded"),
]


@pytest.mark.parametrize(("preset", "status", "kind", "words"), ERRORS)
async def test_errors(upstream: SimulatedUpstream, preset: str, status: int, kind: str, words: str) -> None:
    """An error preset is an error of the service: status, type and words, for streams as well."""
    got = await provoke(upstream, preset)
    error = error_of(got)
    assert (got.status, error["type"], got.end) == (status, kind, "fin")
    assert words in error["message"]


FIELDS = [
    ("429", [b"retry-after: 2\r", b"requests-remaining: 0\r"], [UNIFIED]),
    ("429-long", [b"retry-after: 11054\r"], [UNIFIED]),
    (
        "429-unified",
        [b"retry-after: 11054\r", UNIFIED + b"status: rejected\r", UNIFIED + b"5h-status: rejected\r"],
        [b"requests-remaining"],
    ),
    (
        "429-unified-7d",
        [b"retry-after: 259200\r", b"claim: seven_day\r", UNIFIED + b"7d-status: rejected\r"],
        [UNIFIED + b"5h-status: rejected"],
    ),
    (
        "429-model",
        [b"claim: seven_day_opus\r", UNIFIED + b"5h-status: allowed\r", UNIFIED + b"7d-status: allowed\r"],
        [],
    ),
    (
        "429-overage",
        [
            b"claim: overage\r",
            b"overage-disabled-reason: out_of_credits\r",
            UNIFIED + b"5h-status: allowed\r",
        ],
        [UNIFIED + b"5h-status: rejected"],
    ),
    ("429-bare", [], [b"ratelimit", b"retry-after"]),
    ("429-http-date", [b" GMT\r"], [b"ratelimit"]),
    ("429-no-retry", [b"x-should-retry: true\r"], [b"retry-after"]),
    ("429-concurrency", [b"retry-after: 1\r"], []),
    ("500-no-retry", [b"x-should-retry: false\r"], []),
    ("529", [b"x-should-retry: true\r"], []),
    ("400", [b"x-should-retry: false\r"], []),
    ("200-rejected", [UNIFIED + b"status: rejected\r", b"overage-in-use: true\r"], [b"retry-after"]),
    ("200-warning", [UNIFIED + b"status: allowed_warning\r", b"5h-surpassed-threshold: 0.9\r"], []),
    ("early-hints", [b"HTTP/1.1 200 "], []),
    ("redirect", [b"location: /v1/messages?redirected=1\r"], []),
    ("close", [b"connection: close\r"], []),
]


@pytest.mark.parametrize(("preset", "present", "absent"), FIELDS)
async def test_fields(upstream: SimulatedUpstream, preset: str, present: list[bytes], absent: list[bytes]) -> None:
    """A preset's header fields are there, and those it must not have are not."""
    head = (await provoke(upstream, preset)).head + b"\r"
    assert [field for field in present if field not in head] == []
    assert [field for field in absent if field in head] == []


async def test_details_of_errors(upstream: SimulatedUpstream) -> None:
    """The presets whose meaning is in `details` carry the error code."""
    expired = error_of(await provoke(upstream, "401-expired"))
    capped = error_of(await provoke(upstream, "429-no-retry"))
    assert expired["details"]["error_code"] == "token_expired"
    assert capped["details"]["error_code"] == "enforced_spend_limit_reached"


def stream_of(got: Arrived) -> bytes:
    """Return the body of a chunked stream that ended properly."""
    chunks, ended = dechunked(got.rest)
    assert ended
    return b"".join(chunks)


def names_of(got: Arrived) -> list[str]:
    """Return the names of all whole events of a chunked answer, ended or not."""
    body = b"".join(dechunked(got.rest)[0]).replace(b"\r\n", b"\n")
    whole = body[: body.rfind(b"\n\n") + 2]
    return [name for name, _ in events(whole)]


def whole(got: Arrived) -> None:
    """Check that a chunked answer is a message by the grammar."""
    check_grammar(events(stream_of(got)))


def decoded_by(decode: Callable[[bytes], bytes]) -> Check:
    """Check that the chunks join to a coded message by the grammar."""
    return lambda got: check_grammar(events(decode(stream_of(got))))


def cut(end: str) -> Check:
    """Check that a stream had begun and its framing is not ended."""

    def check(got: Arrived) -> None:
        chunks, ended = dechunked(got.rest)
        assert len(chunks) >= 5
        assert not ended
        assert got.end == end

    return check


def silent_after_events(got: Arrived) -> None:
    """Check for four events and then nothing, with the connection open."""
    assert got.end == "silent"
    assert len(names_of(got)) == 4


def last_is_error(kind: str, events_before: int) -> Check:
    """Check for so many events, an `error` event of a type, and a clean end."""

    def check(got: Arrived) -> None:
        found = events(stream_of(got))
        assert len(found) == events_before + 1
        assert found[-1][0] == "error"
        assert found[-1][1]["error"]["type"] == kind

    return check


def _crlf(got: Arrived) -> None:
    body = stream_of(got)
    assert body.count(b"\r\n") == body.count(b"\n")
    check_grammar(events(body.replace(b"\r\n", b"\n")))


def _comments(got: Arrived) -> None:
    body = stream_of(got)
    assert body.startswith(b": a comment\n\n")
    check_grammar(events(body.replace(b": a comment\n\n", b"")))


def _unknown(got: Arrived) -> None:
    found = events(stream_of(got))
    assert [name for name, _ in found].count("future_event") == 2
    check_grammar([event for event in found if event[0] != "future_event"])


def _no_event_line(got: Arrived) -> None:
    body = stream_of(got)
    assert b"event:" not in body
    assert body.startswith(b"data: {")


def _bad_json_event(got: Arrived) -> None:
    with pytest.raises(json.JSONDecodeError):
        events(stream_of(got))


def _bad_chunk(got: Arrived) -> None:
    with pytest.raises(ValueError, match="base 16"):
        dechunked(got.rest)


def _split_characters(got: Arrived) -> None:
    chunks, _ = dechunked(got.rest)
    assert max(map(len, chunks)) == 5
    with pytest.raises(UnicodeDecodeError):
        [chunk.decode() for chunk in chunks]
    check_grammar(events(b"".join(chunks)))


def _odd_chunks(got: Arrived) -> None:
    assert {len(chunk) for chunk in dechunked(got.rest)[0][:-1]} == {7}
    whole(got)


def _one_chunk(got: Arrived) -> None:
    assert len(dechunked(got.rest)[0]) == 1
    whole(got)


def _until_close(got: Arrived) -> None:
    assert b"content-length" not in got.head
    assert b"transfer-encoding" not in got.head
    check_grammar(events(got.rest))


def _with_length(got: Arrived) -> None:
    assert f"content-length: {len(got.rest)}".encode() in got.head
    check_grammar(events(got.rest))


def _interim(got: Arrived) -> None:
    assert got.data.startswith(b"HTTP/1.1 103 Early Hints\r\nlink: ")
    whole(got)


def _many(got: Arrived) -> None:
    assert len(names_of(got)) > 20_000
    whole(got)


def _huge_head(got: Arrived) -> None:
    assert len(got.head) > 30_000
    whole(got)


def _nothing(end: str) -> Check:
    def check(got: Arrived) -> None:
        assert got.data == b""
        assert got.end == end

    return check


def _head_only(got: Arrived) -> None:
    assert got.status == 200
    assert got.rest == b""
    assert got.end == "fin"


def _half_event(got: Arrived) -> None:
    body = b"".join(dechunked(got.rest)[0])
    assert not body.endswith(b"\n\n")
    assert got.end == "fin"


def _pings(got: Arrived) -> None:
    names = names_of(got)
    assert names[4:].count("ping") == 5
    whole(got)


def _sized(least: int) -> Check:
    def check(got: Arrived) -> None:
        assert len(stream_of(got)) > least
        whole(got)

    return check


STREAMS: dict[str, Check] = {
    "200-rejected": whole,
    "200-warning": whole,
    "502-html": lambda got: (got.status, b"<h1>502" in got.rest) == (502, True) or pytest.fail("no page"),
    "520-html": lambda got: (got.status, b"<html>" in got.rest) == (520, True) or pytest.fail("no page"),
    "html-200": lambda got: (got.status, got.rest[:6]) == (200, b"<html>") or pytest.fail("no page"),
    "empty-200": lambda got: (got.status, got.rest) == (200, b"") or pytest.fail("not empty"),
    "paced": whole,
    "stall": silent_after_events,
    "pause-with-pings": _pings,
    "hang": _nothing("silent"),
    "slow-upload": whole,
    "error-event": last_is_error("overloaded_error", 5),
    "error-event-first": last_is_error("overloaded_error", 0),
    "error-event-api": last_is_error("api_error", 5),
    "disconnect-accept": _nothing("fin"),
    "reset-accept": _nothing("rst"),
    "disconnect-headers": _head_only,
    "disconnect-mid": cut("fin"),
    "reset-mid": cut("rst"),
    "truncated-event": _half_event,
    "no-message-stop": lambda got: names_of(got)[-1] == "message_delta" or pytest.fail("wrong end"),
    "no-message-delta": lambda got: names_of(got)[-1] == "content_block_stop" or pytest.fail("wrong end"),
    "bad-json-event": _bad_json_event,
    "unknown-event": _unknown,
    "comments": _comments,
    "no-event-line": _no_event_line,
    "crlf": _crlf,
    "bad-chunk": _bad_chunk,
    "bad-status-line": lambda got: got.data.startswith(b"HTTP/1.1 two-hundred") or pytest.fail("a good line"),
    "garbage": lambda got: got.data.startswith(b"\x00\x16") or pytest.fail("not garbage"),
    "split-utf8": _split_characters,
    "odd-chunks": _odd_chunks,
    "one-chunk": _one_chunk,
    "no-chunked": _until_close,
    "length-stream": _with_length,
    "gzip": decoded_by(gzip.decompress),
    "gzip-stream": decoded_by(gzip.decompress),
    "deflate": decoded_by(zlib.decompress),
    "br": decoded_by(brotli.decompress),
    "zstd": decoded_by(lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data)),
    "identity": whole,
    "early-hints": _interim,
    "close": whole,
    "redirect": lambda got: (got.status, got.rest) == (307, b"") or pytest.fail("no redirect"),
    "big": _sized(1_000_000),
    "huge": _sized(20_000_000),
    "many-events": _many,
    "huge-headers": _huge_head,
}
ELSEWHERE = {
    "slow-first-byte",
    "slow-first-event",
    "slow-stream",
    "short-length",
    "long-length",
    "truncated-json",
    "close-silently",
}
"""Presets with a test of their own below."""


def test_every_preset_is_tested() -> None:
    """No preset is without a test here."""
    assert set(PRESETS) == {row[0] for row in ERRORS} | STREAMS.keys() | ELSEWHERE


@pytest.mark.parametrize("preset", STREAMS)
async def test_streams(upstream: SimulatedUpstream, preset: str) -> None:
    """A streamed answer arrives in exactly the form the preset names."""
    STREAMS[preset](await provoke(upstream, preset))


@pytest.mark.parametrize(("preset", "early"), [("slow-first-byte", b""), ("slow-first-event", b"HTTP/1.1 200 OK")])
async def test_slow_starts(upstream: SimulatedUpstream, preset: str, early: bytes) -> None:
    """The head is late, or there at once with the first event late."""
    got = await provoke(upstream, preset, silent_s=0.3)
    assert got.end == "silent"
    assert got.data.startswith(early)
    assert b"message_start" not in got.data


async def test_a_slow_stream_keeps_its_pace(upstream: SimulatedUpstream) -> None:
    """The events of a slow stream are written apart; the log has the times."""
    headers = by_key(upstream.accounts["a"].api_key)
    body = raw_request(headers, fake({"preset": "slow-stream", "pace": 0.03, "jitter": 0.0}, stream=True))
    whole(await arrive(upstream.url, body))
    times = upstream.log[-1].write_times
    assert len(times) > 8
    assert times[-2] - times[1] >= 0.025 * (len(times) - 4)


async def test_lengths_that_lie(upstream: SimulatedUpstream) -> None:
    """`short-length` sends more than it announces and `long-length` less, then closes."""
    short = await provoke(upstream, "short-length", stream=False)
    long = await provoke(upstream, "long-length", stream=False)
    for got, difference in ((short, 10), (long, -100)):
        declared = int(got.head.partition(b"content-length: ")[2].split(b"\r")[0])
        assert len(got.rest) - declared == difference
        assert got.end == "fin"
    assert [entry.aborted for entry in upstream.log] == ["server", "server"]


async def test_json_that_is_cut(upstream: SimulatedUpstream) -> None:
    """`truncated-json` is half a body in good framing."""
    got = await provoke(upstream, "truncated-json", stream=False)
    assert f"content-length: {len(got.rest)}".encode() in got.head
    with pytest.raises(json.JSONDecodeError):
        json.loads(got.rest)


@pytest.mark.parametrize(("preset", "end"), [("disconnect-mid", "fin"), ("reset-mid", "rst")])
async def test_a_json_body_can_break_too(upstream: SimulatedUpstream, preset: str, end: str) -> None:
    """The presets that break a stream break a JSON body in its middle, short of its length."""
    got = await provoke(upstream, preset, stream=False)
    declared = int(got.head.partition(b"content-length: ")[2].split(b"\r")[0])
    assert 0 < len(got.rest) < declared
    assert got.end == end


async def test_a_silent_close(upstream: SimulatedUpstream) -> None:
    """`close-silently` promises keep-alive and then closes the idle connection."""
    headers = by_key(upstream.accounts["a"].api_key)
    got = await arrive(upstream.url, raw_request(headers, fake("close-silently"), keep=True))
    assert b"connection: keep-alive" in got.head
    assert got.end == "fin"
    assert upstream.log[-1].complete
