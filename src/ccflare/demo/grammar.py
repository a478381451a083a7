"""The event stream of an answer, frame by frame.

stream = message_start { block } message_delta message_stop        ; ping anywhere
block  = content_block_start { content_block_delta } content_block_stop
frame  = "event: " name LF "data: " json LF LF

As the service does, the JSON of a frame is padded with 0 to 8 blanks before its last brace: nobody may
re-serialise it.
"""

import random
from collections.abc import Iterator
from typing import Any

from ccflare.demo.answers import REFUSED, Message, usage_json
from ccflare.demo.faults import Action
from ccflare.demo.reply import encode

PIECE = 24
"""Characters of text in one delta."""
MOST_PIECES = 400
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
BLANKS = [b" " * count + b"}\n\n" for count in range(9)]


class FrameWriter:
    """Renders frames with the padding of one server."""

    __slots__ = ("_ends", "_rng")

    def __init__(self, rng: random.Random, *, padding: bool) -> None:
        self._rng = rng.random
        self._ends = BLANKS if padding else BLANKS[:1]

    def frame(self, name: bytes, data: bytes) -> bytes:
        """Render one frame around encoded JSON that ends with a brace."""
        return b"event: %b\ndata: %b%b" % (name, data[:-1], self._end())

    def delta(self, index: int, kind: bytes, key: bytes, value: Any) -> bytes:
        """Render one `content_block_delta`."""
        return (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
            b'"delta":{"type":"%b","%b":%b}%b' % (index, kind, key, encode(value), self._end())
        )

    def _end(self) -> bytes:
        return self._ends[int(self._rng() * len(self._ends))]


def frames(message: Message, action: Action, writer: FrameWriter) -> list[bytes]:
    """Render the whole stream of an answer."""
    out = [writer.frame(b"message_start", _start(message))]
    pieces = action.get("deltas")
    pings = int(action.get("pings", 0))
    for index, block in enumerate(message.blocks):
        out.append(writer.frame(b"content_block_start", _opening(index, block)))
        if index == 0:
            out.append(PING)
        for number, delta in enumerate(_deltas(index, block, pieces, writer)):
            if number < pings:
                out.append(PING)
            out.append(delta)
        out.append(writer.frame(b"content_block_stop", b'{"type":"content_block_stop","index":%d}' % index))
    out.append(writer.frame(b"message_delta", _delta(message)))
    out.append(writer.frame(b"message_stop", b'{"type":"message_stop"}'))
    return out


def error_frame(kind: str, text: str, request_id: str) -> bytes:
    """Render an `error` event."""
    error = {"details": None, "type": kind, "message": text}
    return b"event: error\ndata: %b\n\n" % encode({"type": "error", "error": error, "request_id": request_id})


def _start(message: Message) -> bytes:
    value: dict[str, Any] = {
        "model": message.model,
        "id": message.id,
        "type": "message",
        "role": "assistant",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage_json(message.started),
    }
    return encode({"type": "message_start", "message": value})


def _delta(message: Message) -> bytes:
    usage = usage_json(message.usage)
    for name in ("cache_creation", "service_tier", "inference_geo"):
        del usage[name]
    delta: dict[str, Any] = {"stop_reason": message.stop_reason, "stop_sequence": message.stop_sequence}
    if message.stop_reason == "refusal":
        delta["stop_details"] = REFUSED
    value: dict[str, Any] = {"type": "message_delta", "delta": delta, "usage": usage}
    if message.context_edits:
        value["context_management"] = {"applied_edits": []}
    return encode(value)


def _opening(index: int, block: dict[str, Any]) -> bytes:
    match block["type"]:
        case "text" if "citations" in block:
            opened: dict[str, Any] = {"citations": [], "type": "text", "text": ""}
        case "text":
            return b'{"type":"content_block_start","index":%d,"content_block":{"type":"text","text":""}}' % index
        case "thinking":
            opened = {"type": "thinking", "thinking": "", "signature": ""}
        case "tool_use" | "server_tool_use":
            opened = {**block, "input": {}}
        case _:
            opened = block
    return encode({"type": "content_block_start", "index": index, "content_block": opened})


def _deltas(index: int, block: dict[str, Any], pieces: int | None, writer: FrameWriter) -> Iterator[bytes]:
    match block["type"]:
        case "text":
            for citation in block.get("citations", ()):
                yield writer.delta(index, b"citations_delta", b"citation", citation)
            for piece in _split(block["text"], pieces):
                yield writer.delta(index, b"text_delta", b"text", piece)
        case "thinking":
            for piece in _split(block["thinking"], None):
                yield writer.delta(index, b"thinking_delta", b"thinking", piece)
            yield writer.delta(index, b"signature_delta", b"signature", block["signature"])
        case "tool_use" | "server_tool_use":
            yield writer.delta(index, b"input_json_delta", b"partial_json", "")
            for piece in _split(encode(block["input"]).decode(), pieces):
                yield writer.delta(index, b"input_json_delta", b"partial_json", piece)
        case _:
            return


def _split(text: str, pieces: int | None) -> list[str]:
    """Cut a text into pieces of equal length: so many, or as many as the service would about send."""
    wanted = pieces or min(MOST_PIECES, -(-len(text) // PIECE))
    size = max(1, -(-len(text) // max(1, wanted)))
    return [text[at : at + size] for at in range(0, len(text), size)]
