"""What tests of the simulated upstream share: requests, a client of raw bytes, a strict stream reader."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

DEADLINE_S = 10.0
MODEL = "claude-sonnet-5-5"


class FakeTime:
    """A clock that stands still until it is told."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def ask(text: str = "hi", **more: Any) -> dict[str, Any]:
    """Return a message request."""
    return {"model": MODEL, "max_tokens": 4096, "messages": [{"role": "user", "content": text}], **more}


def fake(action: Any, **more: Any) -> dict[str, Any]:
    """Return a message request whose text carries a directive."""
    said = action if isinstance(action, str) else json.dumps(action)
    return ask(f"please [[fake {said}]]", **more)


def by_key(key: str, **more: str) -> dict[str, str]:
    """Return the fields of an authenticated request."""
    return {"x-api-key": key, "anthropic-version": "2023-06-01", **more}


def by_token(token: str, **more: str) -> dict[str, str]:
    """Return the fields of a request with an OAuth token."""
    known = {"authorization": f"Bearer {token}", "anthropic-beta": "oauth-2025-04-20"}
    return {**known, "anthropic-version": "2023-06-01", **more}


def raw_request(
    headers: dict[str, str],
    body: Any,
    *,
    method: str = "POST",
    path: str = "/v1/messages",
    keep: bool = False,
) -> bytes:
    """Return the bytes of a request that asks for the connection's end unless `keep` is set."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "host: simulated", *(f"{k}: {v}" for k, v in headers.items())]
    lines += [f"content-length: {len(data)}", f"connection: {'keep-alive' if keep else 'close'}"]
    return "\r\n".join([*lines, "", ""]).encode() + data


@dataclass(frozen=True, slots=True)
class Arrived:
    """Everything that came over a connection and how it ended: `fin`, `rst`, or `silent` when it did not."""

    data: bytes
    end: str

    @property
    def head(self) -> bytes:
        """The last head that is not an interim one."""
        rest = self.data
        while rest.startswith(b"HTTP/1.1 1"):
            rest = rest.partition(b"\r\n\r\n")[2]
        return rest.partition(b"\r\n\r\n")[0]

    @property
    def status(self) -> int:
        """The status of that head."""
        return int(self.head.split(b" ", 2)[1])

    @property
    def rest(self) -> bytes:
        """What came behind that head, framing included."""
        return self.data[self.data.index(self.head) + len(self.head) + 4 :]


async def arrive(url: str, data: bytes, *, silent_s: float = DEADLINE_S) -> Arrived:
    """Send bytes on a new connection and collect what comes until its end, or until it was silent so long."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    got, end = bytearray(), "fin"
    try:
        writer.write(data)
        while True:
            piece = await asyncio.wait_for(reader.read(65_536), silent_s)
            if not piece:
                break
            got += piece
    except TimeoutError:
        end = "silent"
    except ConnectionResetError:
        end = "rst"
    finally:
        writer.transport.abort()
    return Arrived(bytes(got), end)


def dechunked(data: bytes) -> tuple[list[bytes], bool]:
    """Split chunked framing into chunks and say whether it ended properly. Raises ValueError for nonsense."""
    chunks: list[bytes] = []
    at = 0
    while (line_end := data.find(b"\r\n", at)) >= 0:
        length = int(data[at:line_end], 16)
        start, at = line_end + 2, line_end + 4 + length
        if length == 0:
            return chunks, data[start:] == b"\r\n"
        chunks.append(data[start : start + length])
        if at > len(data):
            return chunks, False
        if data[at - 2 : at] != b"\r\n":
            raise ValueError("a chunk does not end with CRLF")
    return chunks, False


def events(data: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Read a whole event stream. Raises ValueError when a frame is not `event`, `data`, blank."""
    if not data.endswith(b"\n\n"):
        raise ValueError("the stream ends inside a frame")
    found = []
    for frame in data[:-2].split(b"\n\n"):
        lines = frame.split(b"\n")
        if len(lines) != 2 or not lines[0].startswith(b"event: ") or not lines[1].startswith(b"data: "):
            raise ValueError(f"not a frame: {frame!r}")
        found.append((lines[0][7:].decode(), json.loads(lines[1][6:])))
    return found


def check_grammar(found: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Read events by the documented grammar and return the message they make; AssertionError otherwise."""
    meant = [event for event in found if event[0] != "ping"]
    assert all(name == data["type"] for name, data in meant)
    assert meant[0][0] == "message_start"
    assert meant[-1][0] == "message_stop"
    message: dict[str, Any] = meant[0][1]["message"]
    assert message["content"] == []
    at = 1
    blocks: list[dict[str, Any]] = []
    while meant[at][0] == "content_block_start":
        block, at = _block(meant, at, len(blocks))
        blocks.append(block)
    assert [name for name, _ in meant[at:]] == ["message_delta", "message_stop"]
    delta = meant[at][1]
    return {**message, **delta["delta"], "content": blocks, "usage": {**message["usage"], **delta["usage"]}}


def _block(meant: list[tuple[str, dict[str, Any]]], at: int, index: int) -> tuple[dict[str, Any], int]:
    assert meant[at][1]["index"] == index
    block = dict(meant[at][1]["content_block"])
    partial: str | None = None
    at += 1
    while meant[at][0] == "content_block_delta":
        assert meant[at][1]["index"] == index
        delta = meant[at][1]["delta"]
        match delta["type"]:
            case "text_delta":
                block["text"] += delta["text"]
            case "thinking_delta":
                assert not block["signature"]
                block["thinking"] += delta["thinking"]
            case "signature_delta":
                assert not block["signature"]
                block["signature"] = delta["signature"]
            case "input_json_delta":
                assert partial is not None or delta["partial_json"] == ""
                partial = (partial or "") + delta["partial_json"]
            case "citations_delta":
                block["citations"] = [*block["citations"], delta["citation"]]
            case other:
                raise AssertionError(f"unknown delta {other}")
        at += 1
    if partial is not None:
        block["input"] = json.loads(partial)
    assert meant[at] == ("content_block_stop", {"type": "content_block_stop", "index": index})
    return block, at + 1


async def eventually(condition: Any, what: str) -> None:
    """Wait until a condition holds; AssertionError after a deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110  # what is waited for happens in another connection, without a hook
            await asyncio.sleep(0.005)
    assert condition(), what
