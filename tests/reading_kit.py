"""Requests as bytes, well formed and damaged, and a reader that remembers what it makes of them."""

import asyncio
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from ccflare.gate import Gate
from ccflare.ingress import Bounds, ClientRequest
from ccflare.ingress.reader import Reader

BOUNDS = Bounds(head_bytes=300, target_bytes=60, fields=6, pipelined=5)


class NoTransport:
    """Swallows what is sent."""

    def write(self, data: bytes) -> None: ...
    def pause_reading(self) -> None: ...


class Peer:
    """What a reader tells its connection."""

    def __init__(self) -> None:
        self.transport: Any = NoTransport()
        self.loop = asyncio.new_event_loop()
        self.loop.close()  # only its clock is asked
        self.client = ""
        self.write_paused = False
        self.held_bytes = 1 << 20
        self.deadline: float | None = None
        self.requests: list[ClientRequest] = []
        self.refusals: list[int] = []
        self.reader = Reader(self, Gate(), BOUNDS)

    def feed(self, data: bytes) -> None:
        if not self.refusals:
            self.reader.feed(data)

    def begun(self) -> None: ...

    def arrived(self, request: ClientRequest) -> bool:
        self.requests.append(request)
        return len(self.requests) <= BOUNDS.pipelined

    def refuse(self, status: int, message: str) -> None:
        assert message
        self.refusals.append(status)

    def hold(self) -> None: ...
    def let_come(self) -> None: ...
    def read_on(self) -> None: ...
    def answered(self, request: ClientRequest) -> None: ...
    def cut(self, *, reset: bool) -> None: ...

    def told(self) -> list[tuple[object, ...]]:
        return [
            (r.method, r.target, r.headers, r.http_version, r.keep_alive, b"".join(r._parts), r.reading)
            for r in self.requests
        ]


def read(data: bytes, cuts: list[int]) -> Peer:
    peer = Peer()
    bounds = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(bounds):
        if start < end:
            peer.feed(data[start:end])
    return peer


bodies = st.binary(max_size=60)
fields = st.sampled_from(
    [
        b"X-A: b",
        b"Accept:",
        b"Connection: close",
        b"Connection: Upgrade\r\nUpgrade: h2c",
        b"Expect: 100-continue",
        b"X-B: \xff \t",
    ]
)


@st.composite
def good_requests(draw: st.DrawFn) -> bytes:
    lines = [
        b"POST /v1/%d HTTP/1.1" % draw(st.integers(0, 99)),
        b"Host: localhost",
        *draw(st.lists(fields, max_size=2)),
    ]
    body = draw(bodies)
    if draw(st.booleans()):
        return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", b""]) + body
    chunks = b"".join(b"%x;e=1\r\n%c\r\n" % (1, byte) for byte in body) + b"0\r\nT: 1\r\n\r\n"
    return b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", b""]) + chunks


@st.composite
def mangled_requests(draw: st.DrawFn) -> bytes:
    data = bytearray(b"".join(draw(st.lists(good_requests(), min_size=1, max_size=3))))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(
            st.sampled_from([b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b"0", b"GET / HTTP/1.1\r\n", b"\xff", b""])
        )
    return bytes(data)


@st.composite
def repeated_heads(draw: st.DrawFn) -> tuple[bytes, list[int]]:
    """Requests whose heads are mostly the same but for the length, perhaps damaged, and where each one ends."""
    more = draw(st.lists(fields, max_size=1))
    name = draw(st.sampled_from([b"Content-Length: ", b"content-length:", b"CONTENT-LENGTH:\t "]))
    behind = draw(st.sampled_from([b"", b"\r\nX-C: d", b" ", b"\r\nContent-Length: 1"]))
    odd = st.sampled_from([b"+%d", b"%dx", b"-%d", b"%04d", b"%012d", b"%%%d", b" %d", b"%d\r\nX-D: e"])
    data, ends = bytearray(), []
    for body in draw(st.lists(bodies, min_size=1, max_size=5)):
        others = more if draw(st.integers(0, 3)) else [draw(fields)]
        digits = (b"%d" if draw(st.integers(0, 3)) else draw(odd)) % len(body)
        lines = b"\r\n".join([b"POST /v1/m HTTP/1.1", b"Host: localhost", *others])
        data += b"%b\r\n%b%b%b\r\n\r\n%b" % (lines, name, digits, behind, body)
        if draw(st.integers(0, 5)) == 0:
            at = draw(st.integers(0, len(data)))
            data[at : at + draw(st.integers(0, 2))] = draw(st.sampled_from([b"\r\n", b"\0", b" ", b"9", b"-1", b""]))
        ends.append(len(data))
    return bytes(data), ends
