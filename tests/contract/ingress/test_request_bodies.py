"""Bodies of requests: every framing arrives whole, byte for byte, in bounded memory and bounded time."""

import asyncio
import contextlib
import os
import socket
import threading
from dataclasses import replace
from typing import Any

import pytest

import rawhttp
from ccflare.ingress import Bounds
from ccflare.wire import ByteBudget, Inbound
from ingress_kit import Listener, eventually, get, post

CHUNKED = (("Transfer-Encoding", "chunked"),)
BODY = bytes(range(256)) * 40


def exchange(listener: Listener, data: bytes) -> rawhttp.Answer:
    with listener.connect() as connection:
        connection.send(data)
        return connection.answer()


@pytest.mark.parametrize("body", [b"", b"x", BODY, os.urandom(300_000)], ids=["empty", "one", "10k", "300k"])
def test_a_body_with_a_length(listener: Listener, body: bytes) -> None:
    """A body with a Content-Length arrives byte for byte."""
    assert exchange(listener, post(body)).body == body
    assert listener.seen[0].length == len(body)


def test_a_chunked_body(listener: Listener) -> None:
    """A chunked body arrives without its framing; extensions and trailers are dropped."""
    data = post(None, "/v1/messages", *CHUNKED, ("Trailer", "X-Sum"))
    data += b'5;name="a;b";c\r\nhello\r\nA\r\n, world!!!\r\n0;last\r\nX-Sum: 1\r\nHost: evil\r\n\r\n'
    assert exchange(listener, data).body == b"hello, world!!!"
    assert b"x-sum" not in listener.seen[0].fields
    assert listener.seen[0].length is None


def test_trailers_do_not_reach_the_next_request(listener: Listener) -> None:
    """A trailer field of one request is no header of the next one on the connection."""
    with listener.connect() as connection:
        connection.send(post(None, "/v1/1", *CHUNKED) + b"0\r\nX-Api-Key: stolen\r\n\r\n" + get("/v1/2"))
        assert connection.answer().status == 200
        assert connection.answer().header("x-target") == "/v1/2"
    assert b"x-api-key" not in listener.seen[1].fields


def test_a_body_byte_by_byte(listener: Listener) -> None:
    """How the bytes of a request are split over packets makes no difference."""
    data = post(None, "/v1/messages", *CHUNKED) + rawhttp.chunked(b"hello", b" ", b"world")
    with listener.connect() as connection:
        for byte in data:
            connection.send(bytes([byte]))
        assert connection.answer().body == b"hello world"


def test_thirty_kilobytes_of_headers(listener: Listener) -> None:
    """Long heads are accepted, and every field keeps its spelling, order and repeats."""
    fields = [(f"X-Long-{number}", "v" * 500) for number in range(60)] + [("X-Twice", "1"), ("x-TWICE", "2 \t")]
    assert exchange(listener, rawhttp.request_bytes("POST", "/v1/messages", fields, b"{}")).status == 200
    headers = listener.seen[0].headers
    assert headers[1:-1] == [(name.encode(), value.encode()) for name, value in fields]
    assert listener.seen[0].fields[b"x-twice"] == b"2"


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_large_body_read_whole(listener: Listener, chunked: bool) -> None:
    """34 MB come whole through `read_body`."""
    body = os.urandom(1 << 20) * 34
    data = post(None, "/v1/m", *CHUNKED) + rawhttp.chunked(body) if chunked else post(body)
    with listener.connect() as connection:
        sender = threading.Thread(target=connection.send, args=(data,))
        sender.start()
        assert connection.answer().body == body
        sender.join(10)


async def in_pieces(inbound: Inbound) -> None:
    assert await inbound.read_body(1000) is None
    inbound.start(200, b"", b"", None)
    async for piece in inbound.pieces():
        inbound.write(piece)
        await asyncio.sleep(0)
    inbound.finish()


@pytest.mark.parametrize("size", [1001, 34 << 20], ids=["one-over", "34MB"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_body_over_the_limit(listening: Any, size: int, chunked: bool) -> None:
    """A body over the limit is not kept, and `pieces` then yields all of it byte for byte."""
    body = os.urandom(1001) * (size // 1001) + os.urandom(size % 1001)
    data = post(None, "/v1/m", *CHUNKED) + rawhttp.chunked(body) if chunked else post(body)
    with listening(in_pieces) as listener, listener.connect() as connection:
        sender = threading.Thread(target=connection.send, args=(data,))
        sender.start()
        assert connection.answer().body == body
        sender.join(10)


async def exactly_the_limit(inbound: Inbound) -> None:
    body = await inbound.read_body(1000)
    inbound.start(200 if body is not None else 413, b"", b"", 0)
    inbound.finish()


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_body_of_exactly_the_limit(listening: Any, chunked: bool) -> None:
    """A body of exactly `limit` bytes is within it."""
    body = b"x" * 1000
    data = post(None, "/v1/m", *CHUNKED) + rawhttp.chunked(body) if chunked else post(body)
    with listening(exactly_the_limit) as listener:
        assert exchange(listener, data).status == 200


@pytest.mark.parametrize("first", ["nothing", "read_body", "pieces"])
def test_a_fast_sender_is_held_back(listening: Any, first: str) -> None:
    """While nobody takes the body, what is kept of it is bounded, and then all of it still arrives."""
    go = asyncio.Event()

    async def slow(inbound: Inbound) -> None:
        pieces = inbound.pieces()
        size = 0
        if first == "read_body":
            assert await inbound.read_body(100_000) is None
        if first == "pieces":
            size += len(await anext(pieces))
        await asyncio.wait_for(go.wait(), 10)
        size += sum([len(piece) async for piece in pieces])
        inbound.start(200, b"", b"x-size: %d\r\n" % size, 0)
        inbound.finish()

    total = 24 << 20
    with listening(slow) as listener, listener.connect() as connection:
        sender = threading.Thread(target=connection.send, args=(post(bytes(total)),))
        sender.start()
        eventually(lambda: listener.seen)
        request = listener.seen[0]
        ingress = listener.connection()
        eventually(lambda: ingress._held)
        assert request._size <= Bounds().held_bytes + 256 * 1024  # and one read of the event loop
        listener.loop.call_soon_threadsafe(go.set)
        assert connection.answer().header("x-size") == str(total)
        sender.join(10)


@pytest.mark.parametrize("how", ["read_body", "pieces", "unread"])
def test_a_body_that_came_whole_before_it_was_read(listening: Any, how: str) -> None:
    """A client that was held back with its last byte is heard again: its next request, and its leaving."""

    async def script(inbound: Inbound) -> None:
        if how == "read_body":
            assert len(await inbound.read_body(1 << 20) or b"") == 5000
        elif how == "pieces":
            assert sum([len(piece) async for piece in inbound.pieces()]) == 5000
        inbound.start(200, b"", b"", 0)
        inbound.finish()

    bounds = Bounds(held_bytes=1000, held_look_s=60.0)
    with listening(script, bounds=bounds) as listener, listener.connect() as connection:
        for _ in range(3):
            connection.send(post(bytes(5000)))
            assert connection.answer().status == 200
        if how != "unread":
            listener.script = wait_after_reading
            connection.send(post(bytes(5000)))
            eventually(lambda: listener.seen[3:] and listener.seen[3].method == b"")
            connection.close()
            eventually(lambda: listener.ended[3:], 1.0)


async def wait_after_reading(inbound: Inbound) -> None:
    await inbound.read_body(1 << 20)
    inbound.method = b""
    await asyncio.get_running_loop().create_future()


class TestExpectContinue:
    """`Expect: 100-continue`."""

    EXPECT = (("Expect", "100-Continue"), ("Content-Length", "5"))

    def test_wanted(self, listener: Listener) -> None:
        """100 is sent when the body is wanted, and only once."""
        with listener.connect() as connection:
            connection.send(post(None, "/v1/messages", *self.EXPECT))
            assert connection.body_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.send(b"he")
            connection.send(b"llo")
            answer = connection.answer()
        assert (answer.interim, answer.body) == ([100], b"hello")

    def test_not_wanted(self, listening: Any) -> None:
        """An answer without reading the body comes without 100, and the connection is not used again."""

        async def refuse(inbound: Inbound) -> None:
            inbound.start(401, b"", b"", 0)
            inbound.finish()

        with listening(refuse) as listener, listener.connect() as connection:
            connection.send(post(None, "/v1/messages", *self.EXPECT))
            answer = connection.answer()
            assert (answer.status, answer.interim, answer.header("connection")) == (401, [], "close")
            assert connection.ended() == "cut"

    def test_body_without_waiting(self, listener: Listener) -> None:
        """A client that does not wait for 100 is not sent one, as its body is there."""
        answer = exchange(listener, post(None, "/v1/messages", *self.EXPECT) + b"hello")
        assert (answer.interim, answer.body) == ([], b"hello")

    def test_body_that_has_begun(self, listener: Listener) -> None:
        """Nor is one whose body has begun to come."""
        with listener.connect() as connection:
            connection.send(post(None, "/v1/messages", *self.EXPECT) + b"he")
            eventually(lambda: listener.seen)
            connection.send(b"llo")
            answer = connection.answer()
        assert (answer.interim, answer.body) == ([], b"hello")

    def test_http_1_0(self, listener: Listener) -> None:
        """HTTP/1.0 knows no 100 (RFC 9110 §10.1.1)."""
        with listener.connect() as connection:
            connection.send(post(None, "/v1/m", *self.EXPECT).replace(b"HTTP/1.1", b"HTTP/1.0"))
            eventually(lambda: listener.seen)
            connection.send(b"hello")
            assert connection.answer().interim == []


QUICK = Bounds(head_s=0.2, body_s=0.2, idle_s=0.3, linger_s=0.2, look_s=0.02, held_look_s=0.02)


@pytest.mark.parametrize(
    "begun", [post(None, "/v1/m", ("Content-Length", "10")) + b"half", post(None, "/v1/m", *CHUNKED) + b"5\r\nhel"]
)
def test_a_body_that_stops_coming(listening: Any, begun: bytes) -> None:
    """A client that stops in the middle of its body gets 408, and its exchange is cancelled."""
    with listening(bounds=QUICK) as listener, listener.connect() as connection:
        connection.send(begun)
        answer = connection.answer()
        assert (answer.status, answer.header("connection")) == (408, "close")
        assert b"timeout_error" in answer.body
        assert connection.ended() == "cut"
        assert (listener.seen[0].gone, eventually(lambda: listener.ended)) == (True, ["cancelled"])


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_a_body_that_breaks_under_its_answer(listening: Any, version: bytes) -> None:
    """When the body stops coming in the middle of the answer, the answer is cut: nothing can be written into it."""

    async def script(inbound: Inbound) -> None:
        inbound.start(200, b"", b"", None)
        inbound.write(b"abc")
        assert await inbound.read_body(10) is None

    with listening(script, bounds=QUICK) as listener, listener.connect() as connection:
        connection.send(post(None, "/v1/m", ("Content-Length", "10")).replace(b"HTTP/1.1", b"HTTP/" + version))
        answer = connection.answer()
        assert (answer.status, answer.body) == (200, b"abc")
        assert answer.end == ("cut" if version == b"1.1" else "reset")
        assert eventually(lambda: listener.ended) == ["cancelled"]


def test_a_body_that_comes_slowly(listening: Any) -> None:
    """A body may take longer than the deadline as long as it goes on coming, behind a known head too."""
    with listening(bounds=replace(QUICK, body_s=0.6, idle_s=5.0)) as listener, listener.connect() as connection:
        for _ in range(2):
            connection.send(post(None, "/v1/m", ("Content-Length", "8")))
            for _ in range(8):
                threading.Event().wait(0.1)
                connection.send(b"x")
            assert connection.answer().body == b"xxxxxxxx"


def test_a_held_back_client_is_not_blamed(listening: Any) -> None:
    """While we do not read, no deadline runs against the client."""

    async def late(inbound: Inbound) -> None:
        await asyncio.sleep(0.6)
        size = sum([len(piece) async for piece in inbound.pieces()])
        inbound.start(200, b"", b"x-size: %d\r\n" % size, 0)
        inbound.finish()

    bounds = replace(QUICK, body_s=0.4)  # less than nothing is read for
    with listening(late, bounds=bounds) as listener, listener.connect() as connection:
        sender = threading.Thread(target=connection.send, args=(post(bytes(4 << 20)),))
        sender.start()
        assert connection.answer().header("x-size") == str(4 << 20)
        sender.join(10)


@pytest.mark.parametrize("end", [rawhttp.Connection.close, rawhttp.Connection.reset], ids=["close", "reset"])
def test_a_body_cut_short(listener: Listener, end: Any) -> None:
    """A client that leaves in the middle of its body is gone, and nobody takes the half for a whole."""
    with listener.connect() as connection:
        connection.send(post(None, "/v1/m", ("Content-Length", "10")) + b"half")
        eventually(lambda: listener.seen)
        end(connection)
        assert eventually(lambda: listener.ended, 1.0) == ["cancelled"]
        assert listener.seen[0].gone


def test_a_length_that_is_too_short(listener: Listener) -> None:
    """What follows a body is the next request: it is refused, behind the answer to the first."""
    with listener.connect() as connection:
        connection.send(post(None, "/v1/m", ("Content-Length", "4")) + b'{"a":"rest of the body"}')
        assert connection.answer().body == b'{"a"'
        assert connection.answer().status == 400
        assert connection.ended() == "cut"
    assert len(listener.seen) == 1


def test_a_held_back_client_that_leaves_is_noticed(listening: Any) -> None:
    """A client that leaves while it is held back is noticed within a second, although nothing is read."""

    async def wait(inbound: Inbound) -> None:
        await asyncio.sleep(10)

    with listening(wait) as listener:
        connection = socket.create_connection(("127.0.0.1", listener.port))
        connection.sendall(post(bytes(300_000)))
        ingress = listener.connection()
        eventually(lambda: ingress._held)
        connection.close()
        assert eventually(lambda: listener.ended, 1.0) == ["cancelled"]


@pytest.mark.parametrize("known", [False, True])
def test_a_body_that_trickles_for_ever_is_refused(listening: Any, known: bool) -> None:
    """A body has a bound as a whole, however steadily its pieces come, and whether its head is known: 408."""
    bounds = Bounds(whole_body_s=0.5, look_s=0.02)
    with listening(bounds=bounds) as listener, listener.connect() as connection:
        if known:
            connection.send(post(None, "/v1/m", ("Content-Length", "1000")) + bytes(1000))
            assert connection.answer().body == bytes(1000)
        connection.send(post(None, "/v1/m", ("Content-Length", "1000")))
        done = threading.Event()

        def trickle() -> None:
            with contextlib.suppress(OSError):
                while not done.wait(0.02):
                    connection.send(b"x")

        sender = threading.Thread(target=trickle)
        sender.start()
        try:
            assert connection.head().status == 408
        finally:
            done.set()
            sender.join()


@pytest.mark.parametrize(("size", "kept"), [(100, True), (200_000, True), (400_000, False)])
def test_a_spent_budget_only_concerns_long_bodies(listening: Any, size: int, kept: bool) -> None:
    """When others hold all that may be held, short bodies are still kept, and long ones come in pieces, whole."""
    budget = ByteBudget(0)

    async def script(inbound: Inbound) -> None:
        body = await inbound.read_body(1 << 20, budget)
        parts = [bytes(body)] if body is not None else [piece async for piece in inbound.pieces()]
        answer = b"kept" if body is not None else b"pieces"
        answer += b" %d" % sum(map(len, parts))
        inbound.start(200, b"", b"", len(answer))
        inbound.write(answer)
        inbound.finish()

    with listening(script) as listener, listener.connect() as connection:
        connection.send(post(b"x" * size))
        assert connection.answer().body == b"%s %d" % (b"kept" if kept else b"pieces", size)
    assert budget.held == 0


def test_what_was_taken_of_a_budget_is_given_back(listening: Any) -> None:
    """Bytes of a long body are counted while it is held, and not any more when the answer has ended."""
    budget = ByteBudget(1 << 20)
    held: list[int] = []

    async def script(inbound: Inbound) -> None:
        body = await inbound.read_body(1 << 20, budget)
        assert body is not None
        held.append(budget.held)
        inbound.start(200, b"", b"", 0)
        inbound.finish()

    with listening(script) as listener, listener.connect() as connection:
        connection.send(post(b"x" * 500_000))
        assert connection.answer().status == 200
    assert held == [500_000]
    assert budget.held == 0
