"""A client that sees bytes: it sends them as they are and tells exactly what arrives, and how it ended."""

import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

Pair = tuple[str, str]
End = Literal["whole", "cut", "reset"]

DEADLINE_S = 20.0


@dataclass(slots=True)
class Answer:
    """An HTTP answer as it arrived. `end` says whether the framing was honoured to its end."""

    status: int
    reason: str
    headers: list[Pair]
    """Spelling, order and repeats as on the wire."""
    body: bytes = b""
    """Without chunk framing, with its content coding."""
    end: End = "whole"
    interim: list[int] = field(default_factory=list)
    """Statuses of the 1xx answers before it."""
    times: list[float] = field(default_factory=list)
    """Monotonic seconds at which pieces of the body arrived."""

    def all(self, name: str) -> list[str]:
        """Return every value of a field."""
        return [value for key, value in self.headers if key.lower() == name]

    def header(self, name: str) -> str | None:
        """Return the first value of a field."""
        return next(iter(self.all(name)), None)


class Connection:
    """One TCP connection to a server. Every wait ends at a deadline."""

    def __init__(self, port: int, *, receive_buffer: int | None = None) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(DEADLINE_S)
        try:
            self._socket.connect(("127.0.0.1", port))
        except OSError:
            self._socket.close()
            raise
        self._buffer = bytearray()
        self._end: End | None = None

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection in the ordinary way."""
        self._socket.close()

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        self._socket.shutdown(socket.SHUT_WR)

    def send(self, data: bytes) -> None:
        """Send bytes; a peer that has closed already is noticed when reading."""
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self._end = self._end or "cut"

    def ended(self) -> End | None:
        """Wait for the peer's end of the connection: `cut` for a close, `reset` for a reset."""
        while self._receive():
            pass
        return self._end

    def answer(self, *, head_only: bool = False) -> Answer:
        """Read one answer. Raises ConnectionError when the connection ends before its head is complete."""
        found = self.head()
        if not head_only and found.status not in {204, 304}:
            self._read_body(found)
        return found

    def head(self) -> Answer:
        """Read the head of an answer, and the interim answers before it."""
        interim: list[int] = []
        while True:
            text = self._until(b"\r\n\r\n").decode("latin-1")
            first, *lines = text.split("\r\n")
            _, status, *reason = first.split(" ", 2)
            if int(status) >= 200 or int(status) == 101:
                pairs = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
                return Answer(int(status), "".join(reason), pairs, interim=interim)
            interim.append(int(status))

    def body_until(self, marker: bytes) -> bytes:
        """Receive until a marker has arrived. Returns the raw bytes, which stay to be read again."""
        while marker not in self._buffer:
            if not self._receive():
                raise ConnectionError(f"ended before {marker!r}: {bytes(self._buffer)!r}")
        return bytes(self._buffer)

    def more(self) -> None:
        """Receive what comes next. Raises ConnectionError at the end."""
        if not self._receive():
            raise ConnectionError(f"ended: {bytes(self._buffer)!r}")

    def rest(self, found: Answer) -> Answer:
        """Read the body of an answer whose head was read before."""
        self._read_body(found)
        return found

    def _read_body(self, found: Answer) -> None:
        length = found.header("content-length")
        body = bytearray()
        try:
            if (found.header("transfer-encoding") or "").lower() == "chunked":
                self._chunks(body, found.times)
            elif length is not None:
                while len(body) < int(length):
                    body += self._some(int(length) - len(body))
                    found.times.append(time.monotonic())
            else:
                while self._buffer or self._receive():
                    body += self._take(len(self._buffer))
                    found.times.append(time.monotonic())
                if self._end == "reset":
                    found.end = "reset"
        except ConnectionError:
            found.end = self._end or "cut"
        found.body = bytes(body)

    def _chunks(self, body: bytearray, times: list[float]) -> None:
        while True:
            size = int(self._until(b"\r\n").partition(b";")[0], 16)
            left = size
            while left:
                piece = self._some(left)
                body += piece
                left -= len(piece)
                times.append(time.monotonic())
            if size == 0:
                while self._until(b"\r\n"):
                    pass
                return
            self._until(b"\r\n")

    def _until(self, marker: bytes) -> bytes:
        while (at := self._buffer.find(marker)) < 0:
            if not self._receive():
                raise ConnectionError("the connection ended early")
        found = self._take(at + len(marker))
        return found[: -len(marker)]

    def _some(self, most: int) -> bytes:
        if not self._buffer and not self._receive():
            raise ConnectionError("the connection ended early")
        return self._take(min(most, len(self._buffer)))

    def _take(self, size: int) -> bytes:
        found = bytes(self._buffer[:size])
        del self._buffer[:size]
        return found

    def _receive(self) -> bool:
        try:
            data = self._socket.recv(262_144)
        except ConnectionResetError:
            self._end = "reset"
            return False
        if not data:
            self._end = self._end or "cut"
            return False
        self._buffer += data
        return True


def request_bytes(
    method: str, target: str, headers: Iterable[Pair], body: bytes | None = None, *, host: str = "localhost"
) -> bytes:
    """Return a request with exactly these fields after `Host`; a body adds its `Content-Length`."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers)]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def chunked(*pieces: bytes) -> bytes:
    """Return a body in chunked framing."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
