"""Whatever the simulated model says, its stream follows the grammar, through every coding and grouping."""

import random
import zlib
from typing import Any

import brotli
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ccflare.demo.answers import compose
from ccflare.demo.grammar import FrameWriter, frames
from ccflare.demo.reply import EVENTS, Ids, Reply, Usage
from ccflare.demo.script import Ask, plain, scripted
from ccflare.demo.world import UpstreamSettings
from simulated_kit import MODEL, check_grammar, dechunked, events

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
ACTIONS = st.fixed_dictionaries(
    {},
    optional={
        "text": TEXT,
        "thinking": st.booleans() | TEXT.filter(bool),
        "redacted": st.booleans(),
        "server_tool": st.booleans(),
        "tool": st.just("t"),
        "inputs": st.lists(st.dictionaries(TEXT, VALUES, max_size=3), min_size=1, max_size=3),
        "deltas": st.integers(1, 60),
        "pings": st.integers(0, 5),
        "output_tokens": st.integers(1, 10**6),
        "stop_reason": st.sampled_from(["end_turn", "refusal", "pause_turn", "stop_sequence"]),
    },
)
SHAPES = st.fixed_dictionaries(
    {},
    optional={
        "chunking": st.sampled_from(["event", "all", "bytes:1", "bytes:13", "group:3"]),
        "framing": st.sampled_from(["chunked", "length", "close"]),
    },
)
DECODERS: dict[str | None, Any] = {
    None: bytes,
    "gzip": lambda data: zlib.decompressobj(31).decompress(data),
    "deflate": zlib.decompress,
    "br": brotli.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}


def incremental(coding: str) -> Any:
    """Return a function that decodes one stream piece by piece."""
    match coding:
        case "gzip":
            return zlib.decompressobj(31).decompress
        case "deflate":
            return zlib.decompressobj().decompress
        case "br":
            return brotli.Decompressor().process
        case _:
            return zstandard.ZstdDecompressor().decompressobj().decompress


def said(action: dict[str, Any], words: str, seed: int) -> tuple[list[bytes], Any]:
    """Return the frames of an answer and the message they must make."""
    request = {
        "model": MODEL,
        "max_tokens": 10**6,
        "messages": [{"role": "user", "content": words}],
        "tools": [{"name": "t", "input_schema": {"type": "object"}}],
    }
    message = compose(request, action, Usage(input=7), Ids(seed))
    return frames(message, action, FrameWriter(random.Random(seed), padding=True)), message


@given(ACTIONS, TEXT, st.integers(0, 999))
def test_every_stream_follows_the_grammar(action: dict[str, Any], words: str, seed: int) -> None:
    """The events of an answer, read by the grammar, make exactly the message that was composed."""
    out, message = said(action, words, seed)
    assert all(frame.endswith(b"}\n\n") for frame in out)
    read = check_grammar(events(b"".join(out)))
    assert read["content"] == message.blocks
    assert read["stop_reason"] == message.stop_reason
    assert read["usage"]["output_tokens"] == message.usage.output


@given(ACTIONS, SHAPES, st.sampled_from([None, "gzip", "deflate", "br", "zstd"]), st.integers(0, 99))
def test_coding_and_shape_change_no_byte(
    action: dict[str, Any], shape: dict[str, Any], coding: str | None, seed: int
) -> None:
    """Decoded and unframed, a stream is its frames, whatever coding, grouping and framing it had."""
    out, _ = said(action, "hello", seed)
    reply = Reply(200, content_type=EVENTS, events=out)
    how = {**shape, **({"gzip": "always", "coding": coding} if coding else {"gzip": "never"})}
    script = scripted(reply, how, Ask("req_01"), UpstreamSettings(), random.Random(seed))
    wire = b"".join(step for step in script.steps if isinstance(step, bytes))
    head, _, body = wire.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head:
        chunks, ended = dechunked(body)
        assert ended
        body = b"".join(chunks)
    if b"content-length: " in head:
        assert f"content-length: {len(body)}".encode() in head
    assert DECODERS[coding](body) == b"".join(out)


@given(st.sampled_from(["gzip", "deflate", "br", "zstd"]), ACTIONS, st.integers(0, 99))
def test_each_event_can_be_decoded_when_it_arrives(coding: str, action: dict[str, Any], seed: int) -> None:
    """A compressed stream is flushed after each event: chunk by chunk a decoder gives whole events."""
    out, _ = said(action, "hello", seed)
    settings = UpstreamSettings(coding=coding)  # type: ignore[arg-type]  # one of the sampled names
    reply = Reply(200, content_type=EVENTS, events=out)
    script = plain(reply, Ask("req_01", accept=coding.encode()), settings)
    wire = script.steps[0]
    assert isinstance(wire, bytes)
    chunks, _ = dechunked(wire.partition(b"\r\n\r\n")[2])
    decode = incremental(coding)
    for chunk, frame in zip(chunks, out, strict=False):
        assert decode(chunk) == frame
