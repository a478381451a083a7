"""Answers: framed so that every client reads exactly what was written, and can tell a cut answer from a whole one."""

import asyncio
import socket
import threading
from typing import Any

import pytest

import rawhttp
from ccflare.ingress import Bounds
from ccflare.wire import Inbound, lines_of
from ingress_kit import JSON, Script, eventually, get, post

HEADERS = [(b"Set-Cookie", b"a=1"), (b"X-Odd-CASE", b"v"), (b"Set-Cookie", b"b=2")]


def answering(
    *pieces: bytes, status: int = 200, length: int | None = None, reason: bytes = b"", end: str = "finish"
) -> Script:
    async def script(inbound: Inbound) -> None:
        inbound.start(status, reason, lines_of(HEADERS), length)
        for piece in pieces:
            inbound.write(piece)
        if end == "finish":
            inbound.finish()
        else:
            inbound.abort(reset=end == "reset")

    return script


def old(data: bytes) -> bytes:
    return data.replace(b" HTTP/1.1", b" HTTP/1.0")


class TestFraming:
    """What the client is told about the answer's end."""

    def test_known_length(self, listening: Any) -> None:
        """A known length is announced, and the connection stays open."""
        with listening(answering(b"ab", b"", b"cde", length=5)) as listener, listener.connect() as connection:
            connection.send(get())
            answer = connection.answer()
            assert (answer.body, answer.header("content-length"), answer.end) == (b"abcde", "5", "whole")
            assert answer.header("transfer-encoding") is None
            assert answer.header("connection") is None
            connection.send(get())
            assert connection.answer().status == 200

    def test_unknown_length(self, listening: Any) -> None:
        """Without a length the answer is chunked, piece by piece; an empty piece does not end it."""
        big = b"y" * 20_000
        with listening(answering(b"ab", b"", b"c", big)) as listener, listener.connect() as connection:
            connection.send(get())
            answer = connection.answer()
            assert (answer.body, answer.header("transfer-encoding")) == (b"abc" + big, "chunked")
            connection.send(get())
            assert connection.answer().status == 200

    def test_unknown_length_for_http_1_0(self, listening: Any) -> None:
        """HTTP/1.0 knows no chunks: there the end of the connection ends the answer."""
        with listening(answering(b"ab", b"c")) as listener, listener.connect() as connection:
            connection.send(old(get("/v1/x", ("Connection", "keep-alive"))))
            answer = connection.answer()
            assert (answer.body, answer.end, answer.header("connection")) == (b"abc", "whole", "close")
            assert answer.header("transfer-encoding") is None

    def test_known_length_for_http_1_0(self, listening: Any) -> None:
        """An HTTP/1.0 client gets a length when there is one, and its connection is closed."""
        with listening(answering(b"abc", length=3)) as listener, listener.connect() as connection:
            connection.send(old(get()))
            answer = connection.answer()
            assert (answer.body, answer.header("connection")) == (b"abc", "close")
            assert connection.ended() == "cut"

    @pytest.mark.parametrize(
        ("status", "length", "announced"), [(204, None, None), (204, 3, None), (304, None, None), (304, 3, "3")]
    )
    def test_no_body_by_status(self, listening: Any, status: int, length: int | None, announced: str | None) -> None:
        """204 and 304 have no body, whatever is written, and the next answer follows at once."""
        script = answering(b"abc", status=status, length=length)
        with listening(script) as listener, listener.connect() as connection:
            connection.send(get() + get())
            for _ in range(2):
                answer = connection.answer()
                assert (answer.status, answer.header("content-length")) == (status, announced)
                assert answer.header("transfer-encoding") is None

    @pytest.mark.parametrize("length", [None, 3])
    def test_head(self, listening: Any, length: int | None) -> None:
        """HEAD has the head of GET and no body."""
        with listening(answering(b"abc", length=length)) as listener, listener.connect() as connection:
            connection.send(get(method="HEAD") + get())
            answer = connection.answer(head_only=True)
            assert answer.header("content-length") == (None if length is None else "3")
            assert connection.answer().body == b"abc"

    def test_head_is_passed_on_as_it_is(self, listening: Any) -> None:
        """Status, reason and fields come with spelling, order and repeats; nothing is added but framing."""
        script = answering(status=529, reason=b"Site is overloaded", length=0)
        with listening(script) as listener, listener.connect() as connection:
            connection.send(get())
            answer = connection.answer()
            assert (answer.status, answer.reason) == (529, "Site is overloaded")
            given = [(name.decode(), value.decode()) for name, value in HEADERS]
            assert answer.headers == [*given, ("content-length", "0")]

    def test_a_reason_of_our_own(self, listening: Any) -> None:
        """Without a reason the usual one is sent, for an unknown status none."""
        for status, reason in ((404, "Not Found"), (529, "")):
            with listening(answering(status=status, length=0)) as listener, listener.connect() as connection:
                connection.send(get())
                assert connection.answer().reason == reason

    def test_close_when_asked(self, listening: Any) -> None:
        """`Connection: close` is honoured and said."""
        with listening(answering(b"abc", length=3)) as listener, listener.connect() as connection:
            connection.send(get("/v1/x", ("Connection", "close")))
            assert connection.answer().header("connection") == "close"
            assert connection.ended() == "cut"

    def test_the_head_leaves_before_the_body(self, listening: Any) -> None:
        """A head is sent at once, even when no byte of the body is there."""
        go = asyncio.Event()

        async def script(inbound: Inbound) -> None:
            inbound.start(200, b"", b"", None)
            inbound.flush()
            await asyncio.wait_for(go.wait(), 10)
            inbound.finish()

        with listening(script) as listener, listener.connect() as connection:
            connection.send(get())
            assert connection.head().status == 200
            listener.loop.call_soon_threadsafe(go.set)


class TestBrokenOff:
    """A cut answer never looks like a whole one."""

    @pytest.mark.parametrize("end", ["abort", "reset"])
    @pytest.mark.parametrize("length", [None, 10], ids=["chunked", "length"])
    def test_in_the_middle(self, listening: Any, end: str, length: int | None) -> None:
        """An aborted answer has no terminating chunk, or less than its length; a reset is one."""
        script = answering(b"abc", length=length, end=end)
        with listening(script) as listener, listener.connect() as connection:
            connection.send(get())
            if end == "reset":
                assert connection.ended() == "reset"
            else:
                answer = connection.answer()
                assert (answer.body, answer.end) == (b"abc", "cut")

    def test_after_the_client_has_read(self, listening: Any) -> None:
        """`abort(reset=True)` is seen as ECONNRESET by a client in the middle of an answer."""
        go = asyncio.Event()

        async def script(inbound: Inbound) -> None:
            inbound.start(200, b"", b"", 10)
            inbound.write(b"abc")
            await asyncio.wait_for(go.wait(), 10)
            inbound.abort(reset=True)

        with listening(script) as listener, listener.connect() as connection:
            connection.send(get())
            answer = connection.head()
            connection.body_until(b"abc")
            listener.loop.call_soon_threadsafe(go.set)
            assert connection.rest(answer).end == "reset"

    def test_http_1_0_without_length(self, listening: Any) -> None:
        """Where only the end of the connection ends an answer, breaking off is a reset."""
        with listening(answering(b"abc", end="abort")) as listener, listener.connect() as connection:
            connection.send(old(get()))
            assert connection.ended() == "reset"

    def test_before_the_head(self, listening: Any) -> None:
        """Aborting before the answer began just closes the connection."""

        async def script(inbound: Inbound) -> None:
            inbound.abort()

        with listening(script) as listener, listener.connect() as connection:
            connection.send(get())
            assert connection.ended() == "cut"

    @pytest.mark.parametrize("pieces", [(b"ab",), (b"ab", b"cdef")], ids=["short", "long"])
    def test_a_body_of_another_length(self, listening: Any, pieces: tuple[bytes, ...]) -> None:
        """A body shorter or longer than announced is broken off, so that nothing of it is read as an answer."""
        with listening(answering(*pieces, length=5)) as listener, listener.connect() as connection:
            connection.send(get() + get())
            answer = connection.answer()
            assert (answer.body, answer.end) == (b"ab", "cut")
            assert len(listener.seen) == 1

    def test_nothing_follows_the_end(self, listening: Any) -> None:
        """What is written after the end of an answer goes nowhere."""

        async def script(inbound: Inbound) -> None:
            inbound.start(200, b"", b"", 2)
            inbound.write(b"ok")
            inbound.finish()
            inbound.start(500, b"", b"", 0)
            assert inbound.write(b"more")
            inbound.finish()
            inbound.abort()

        with listening(script) as listener, listener.connect() as connection:
            for _ in range(2):
                connection.send(get())
                assert connection.answer().body == b"ok"


class TestEarlyAnswer:
    """Answers that come before the request's body was read."""

    @staticmethod
    async def refuse(inbound: Inbound) -> None:
        inbound.start(413, b"", lines_of(JSON), 2)
        inbound.write(b"{}")
        inbound.finish()

    def test_is_read_by_a_client_that_sends_on(self, listening: Any) -> None:
        """A client that sends its whole body first can still read the answer; then the connection closes."""
        with listening(self.refuse) as listener, listener.connect() as connection:
            connection._socket.sendall(post(bytes(16 << 20)))
            answer = connection.answer()
            assert (answer.status, answer.body, answer.header("connection")) == (413, b"{}", "close")
            assert connection.ended() == "cut"

    def test_does_not_wait_for_ever(self, listening: Any) -> None:
        """A client that neither sends on nor closes is cut after a while."""
        with (
            listening(self.refuse, bounds=Bounds(linger_s=0.1, look_s=0.02)) as listener,
            listener.connect() as connection,
        ):
            connection.send(post(None, "/v1/m", ("Content-Length", "1000")))
            assert connection.answer().status == 413
            eventually(lambda: not listener.state.connections, 2.0)

    def test_does_not_listen_for_ever(self, listening: Any) -> None:
        """A client that goes on sending is cut after a longer while."""
        bounds = Bounds(linger_s=0.2, farewell_s=0.4, look_s=0.02)
        with listening(self.refuse, bounds=bounds) as listener, listener.connect() as connection:
            connection.send(post(None, "/v1/m", ("Content-Length", "1000000000")))
            assert connection.answer().status == 413

            def trickle() -> bool:
                connection.send(b"x")
                return not listener.state.connections

            eventually(trickle, 3.0)

    def test_while_the_body_streams(self, listening: Any) -> None:
        """An answer may begin while the body is still coming, and both go on to their ends."""

        async def script(inbound: Inbound) -> None:
            inbound.start(200, b"", b"", None)
            async for piece in inbound.pieces():
                inbound.write(piece)
            inbound.finish()

        with listening(script) as listener, listener.connect() as connection:
            connection.send(post(None, "/v1/m", ("Content-Length", "4")) + b"ab")
            answer = connection.head()
            connection.body_until(b"ab")
            connection.send(b"cd")
            assert connection.rest(answer).body == b"abcd"
            assert answer.header("connection") == "close"


def test_a_slow_reader_pauses_the_answer(listening: Any) -> None:
    """A client that does not read makes `write` say so; what is kept is bounded, and reading on resumes it."""
    written: list[int] = []
    buffered: list[int] = []

    async def script(inbound: Any) -> None:
        drained = asyncio.Event()
        inbound.start(200, b"", b"", None)
        inbound.on_drain(drained.set)
        for _ in range(400):
            if not inbound.write(b"z" * 65_536):
                written.append(1)
                buffered.append(inbound._transport.get_write_buffer_size())
                await asyncio.wait_for(drained.wait(), 10)
                drained.clear()
        inbound.finish()

    with listening(script) as listener, listener.connect(receive_buffer=8192) as connection:
        connection.send(get())
        eventually(lambda: written)
        assert len(connection.answer().body) == 400 * 65_536
        assert max(buffered) <= 65_536 * 2 + 4096


def test_a_client_that_stops_reading_at_the_end_is_cut(listening: Any) -> None:
    """An answer that is written but not fetched does not hold its connection for ever."""

    async def script(inbound: Inbound) -> None:
        inbound.start(200, b"", b"", 8 << 20)
        inbound.write(bytes(8 << 20))
        inbound.finish()

    bounds = Bounds(linger_s=0.1, farewell_s=0.3, look_s=0.02)
    with listening(script, bounds=bounds) as listener, listener.connect(receive_buffer=8192) as connection:
        connection.send(get("/v1/x", ("Connection", "close")))
        eventually(lambda: listener.ended)
        eventually(lambda: not listener.state.connections, 3.0)


def test_a_slow_client_gets_the_whole_end(listening: Any) -> None:
    """A client that reads slowly, but reads, is not cut while the rest of its answer leaves."""
    size, portions = 6 << 20, 12

    async def script(inbound: Any) -> None:
        # With a small buffer of the system's the server sees every portion that is fetched.
        inbound._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        inbound.start(200, b"", b"", size)
        inbound.write(bytes(size))
        inbound.finish()

    bounds = Bounds(linger_s=0.05, farewell_s=0.8, look_s=0.02)
    with listening(script, bounds=bounds) as listener, listener.connect(receive_buffer=8192) as connection:
        connection.send(get("/v1/x", ("Connection", "close")))
        got = 0
        for portion in range(1, portions):  # for longer than the farewell lasts, and never for so long without a byte
            while got < size * portion // portions:
                got += len(connection._socket.recv(16_384))
            threading.Event().wait(0.09)
        while chunk := connection._socket.recv(262_144):
            got += len(chunk)
        assert got > size


class TestDefects:
    """What happens when serving a request fails by our own fault."""

    @staticmethod
    def crash(listening: Any, script: Script, request: bytes) -> rawhttp.Answer:
        with listening(script, defects=1) as listener, listener.connect() as hurt, listener.connect() as other:
            hurt.send(request)
            answer: rawhttp.Answer = hurt.answer()
            listener.script = answering(b"ok", length=2)
            other.send(get())
            assert other.answer().body == b"ok"
            return answer

    @pytest.mark.parametrize(
        ("target", "wanted"),
        [
            ("/v1/m", b'{"type":"error","error":{"type":"api_error","message":"Internal error in ccflare"}}'),
            ("/defect", b'{"error":"Internal error in ccflare"}'),
        ],
    )
    def test_before_the_answer(self, listening: Any, target: str, wanted: bytes) -> None:
        """A defect is answered with 500 that tells nothing, and other connections go on."""

        async def script(_inbound: Inbound) -> None:
            raise RuntimeError("a secret word")

        answer = self.crash(listening, script, get(target))
        assert (answer.status, answer.body) == (500, wanted)

    def test_in_the_middle(self, listening: Any) -> None:
        """A defect in the middle of an answer breaks it off."""

        async def script(inbound: Inbound) -> None:
            inbound.start(200, b"", b"", None)
            inbound.write(b"abc")
            raise RuntimeError("a secret word")

        answer = self.crash(listening, script, get())
        assert (answer.body, answer.end) == (b"abc", "cut")

    def test_no_answer(self, listening: Any) -> None:
        """Serving that ends without an answer is a defect as well, not a client that waits for ever."""

        async def script(_inbound: Inbound) -> None:
            return

        answer = self.crash(listening, script, get())
        assert answer.status == 500
