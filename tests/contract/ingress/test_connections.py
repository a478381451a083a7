"""Connections: requests are served in order and at most once, and a client that leaves takes its request with it."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

import rawhttp
from ccflare.ingress import Bounds
from ccflare.wire import Inbound
from ingress_kit import Listener, echo, eventually, get, hang, post

ENDS = [rawhttp.Connection.close, rawhttp.Connection.reset]
QUICK = Bounds(head_s=0.15, body_s=0.15, idle_s=0.15, linger_s=0.15, farewell_s=0.3, look_s=0.02)


class TestOrder:
    """Several requests on one connection."""

    def test_keep_alive(self, listener: Listener) -> None:
        """One connection serves request after request."""
        with listener.connect() as connection:
            for number in range(20):
                connection.send(post(b"%d" % number))
                assert connection.answer().body == b"%d" % number
        assert len({id(request._connection) for request in listener.seen}) == 1

    def test_pipelined_requests(self, listening: Any) -> None:
        """Pipelined requests are served one after the other, and answered in their order."""
        running = 0

        async def script(inbound: Inbound) -> None:
            nonlocal running
            running += 1
            assert running == 1
            await asyncio.sleep(0.001)
            running -= 1
            await echo(inbound)

        with listening(script) as listener, listener.connect() as connection:
            connection.send(b"".join(post(b"x" * number, f"/v1/{number}") for number in range(25)))
            for number in range(25):
                answer = connection.answer()
                assert (answer.header("x-target"), len(answer.body)) == (f"/v1/{number}", number)

    def test_pipelined_to_both_sides(self, listener: Listener) -> None:
        """Proxied requests and calls to ourselves share a connection in order."""
        with listener.connect() as connection:
            connection.send(get("/v1/a") + get("/health?x=1") + get("/v1/b"))
            assert connection.answer().header("x-target") == "/v1/a"
            assert b'"path":"/health","query":"x=1"' in connection.answer().body
            assert connection.answer().header("x-target") == "/v1/b"

    def test_too_many_pipelined_requests(self, listener: Listener) -> None:
        """Of a flood of pipelined requests some are served, each once; the rest is refused, in order."""
        with listener.connect() as connection:
            connection.send(b"".join(get(f"/v1/{number}") for number in range(3000)))
            answers = [connection.answer()]
            while answers[-1].status == 200:
                answers.append(connection.answer())
            assert connection.ended() in {"cut", "reset"}
        assert [answer.header("x-target") for answer in answers[:-1]] == [f"/v1/{n}" for n in range(len(answers) - 1)]
        assert answers[-1].status == 400
        assert len(listener.seen) == len(answers) - 1

    def test_a_bad_request_behind_a_good_one(self, listening: Any) -> None:
        """What cannot be parsed is refused behind the answers that are due; they are not disturbed."""
        go = asyncio.Event()

        async def script(inbound: Inbound) -> None:
            await asyncio.wait_for(go.wait(), 10)
            await echo(inbound)

        with listening(script) as listener, listener.connect() as connection:
            connection.send(post(b"one") + post(b"two") + b"NONSENSE\r\n\r\n")
            eventually(lambda: listener.connection()._deaf)
            listener.loop.call_soon_threadsafe(go.set)
            assert [connection.answer().body for _ in range(2)] == [b"one", b"two"]
            assert connection.answer().status == 400
            assert connection.ended() == "cut"

    def test_a_broken_body_behind_a_good_request(self, listening: Any) -> None:
        """A pipelined request whose body breaks is never served; the one before it is."""
        go = asyncio.Event()

        async def script(inbound: Inbound) -> None:
            await asyncio.wait_for(go.wait(), 10)
            await echo(inbound)

        with listening(script) as listener, listener.connect() as connection:
            connection.send(post(b"one") + post(None, "/v1/2", ("Transfer-Encoding", "chunked")) + b"zz\r\n")
            eventually(lambda: listener.connection()._deaf)
            listener.loop.call_soon_threadsafe(go.set)
            assert connection.answer().body == b"one"
            assert connection.answer().status == 400
            assert len(listener.seen) == 1

    def test_data_behind_the_last_request(self, listener: Listener) -> None:
        """After `Connection: close` nothing is served, whatever follows; the answer arrives."""
        with listener.connect() as connection:
            connection.send(post(b"one", "/v1/1", ("Connection", "close")) + post(b"two", "/v1/2"))
            assert connection.answer().body == b"one"
            assert connection.ended() in {"cut", "reset"}
        assert len(listener.seen) == 1

    def test_line_ends_between_requests(self, listener: Listener) -> None:
        """An empty line before a request is ignored (RFC 9112 §2.2)."""
        with listener.connect() as connection:
            connection.send(post(b"one") + b"\r\n" + post(b"two") + b"\r\n")
            assert [connection.answer().body for _ in range(2)] == [b"one", b"two"]


@pytest.mark.parametrize("end", ENDS, ids=["close", "reset"])
class TestLeaving:
    """A client that goes away."""

    def test_before_the_answer(self, listening: Any, end: Any) -> None:
        """Before the answer: its exchange is cancelled within a second, and knows why."""
        with listening(hang) as listener:
            connection = listener.connect()
            connection.send(post())
            eventually(lambda: listener.seen)
            end(connection)
            assert eventually(lambda: listener.ended, 1.0) == ["cancelled"]
            assert listener.seen[0].gone
            eventually(lambda: not listener.state.tasks and not listener.state.connections, 1.0)

    def test_in_the_middle_of_an_answer(self, listening: Any, end: Any) -> None:
        """In mid-stream: the same."""

        async def script(inbound: Inbound) -> None:
            inbound.start(200, b"", b"", None)
            while True:
                inbound.write(b"x")
                await asyncio.sleep(0.005)

        with listening(script) as listener:
            connection = listener.connect()
            connection.send(get())
            connection.head()
            end(connection)
            assert eventually(lambda: listener.ended, 1.0) == ["cancelled"]

    def test_without_having_read(self, listening: Any, end: Any) -> None:
        """While its answer waits to be read: the same."""

        async def script(inbound: Inbound) -> None:
            inbound.start(200, b"", b"", None)
            while inbound.write(bytes(65_536)):
                pass
            await asyncio.get_running_loop().create_future()

        with listening(script) as listener:
            connection = listener.connect(receive_buffer=8192)
            connection.send(get())
            eventually(lambda: listener.seen and listener.connection().write_paused)
            end(connection)
            assert eventually(lambda: listener.ended, 1.0) == ["cancelled"]

    def test_with_requests_waiting(self, listening: Any, end: Any) -> None:
        """Requests that wait in the pipeline of a connection that ends are never served."""
        with listening(hang) as listener:
            connection = listener.connect()
            connection.send(post(b"1") + post(b"2") + post(b"3"))
            eventually(lambda: listener.seen and len(listener.connection()._waiting) == 2)
            end(connection)
            eventually(lambda: not listener.state.connections and not listener.state.tasks, 1.0)
            assert len(listener.seen) == 1

    def test_an_application_is_cancelled(self, listening: Any, end: Any) -> None:
        """A call to ourselves ends with its client, too."""
        ended: list[str] = []

        async def app(_scope: Any, receive: Any, _send: Any) -> None:
            assert (await receive())["type"] == "http.request"
            try:
                await receive()
            finally:
                ended.append("cancelled")

        with listening(app=app) as listener:
            connection = listener.connect()
            connection.send(get("/api/requests/stream"))
            eventually(lambda: listener.state.tasks)
            end(connection)
            assert eventually(lambda: ended, 1.0) == ["cancelled"]


def test_half_leaving_without_having_read(listening: Any) -> None:
    """A client that says that it is done, and reads nothing, is gone although its answer never left."""

    async def script(inbound: Inbound) -> None:
        inbound.start(200, b"", b"", None)
        while inbound.write(bytes(65_536)):
            pass
        await asyncio.get_running_loop().create_future()

    with listening(script) as listener, listener.connect(receive_buffer=8192) as connection:
        connection.send(get())
        eventually(lambda: listener.seen and listener.connection().write_paused)
        connection.half_close()
        assert eventually(lambda: listener.ended, 1.0) == ["cancelled"]


class TestDeadlines:
    """Connections on which nothing comes."""

    def test_idle(self, listening: Any) -> None:
        """An idle connection is closed without a word, a fresh one and a used one."""
        with listening(bounds=QUICK) as listener, listener.connect() as fresh, listener.connect() as used:
            used.send(post(b"x"))
            assert used.answer().body == b"x"
            assert fresh.ended() == "cut"
            assert used.ended() == "cut"
            assert bytes(fresh._buffer + used._buffer) == b""

    @pytest.mark.parametrize("begun", [b"POST /v1/", b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nX: "])
    def test_slow_head(self, listening: Any, begun: bytes) -> None:
        """A head has to be complete in time, however steadily its bytes come."""
        with listening(bounds=QUICK) as listener, listener.connect() as connection:
            connection.send(begun)

            def trickle() -> bool:
                connection.send(b"x")
                return listener.connection()._deaf if listener.state.connections else True

            eventually(trickle, 3.0)
            answer = connection.answer()
            assert (answer.status, answer.header("connection")) == (408, "close")
            assert listener.seen == []

    def test_slow_head_behind_an_answer(self, listening: Any) -> None:
        """A head that began while an answer was due has its time from the end of that answer."""

        async def script(inbound: Inbound) -> None:
            await asyncio.sleep(0.4)
            await echo(inbound)

        bounds = replace(QUICK, idle_s=60.0)
        with listening(script, bounds=bounds) as listener, listener.connect() as connection:
            connection.send(post(b"one") + b"POST /v1/")
            assert connection.answer().body == b"one"
            assert connection.answer().status == 408

    def test_a_body_that_was_not_asked_for_yet(self, listening: Any) -> None:
        """A client that waits for 100 behind another answer is not late."""

        async def script(inbound: Inbound) -> None:
            await asyncio.sleep(0.4)
            await echo(inbound)

        bounds = replace(QUICK, body_s=0.35)  # less than the answer takes
        with listening(script, bounds=bounds) as listener, listener.connect() as connection:
            connection.send(post(b"one") + post(None, "/v1/2", ("Expect", "100-continue"), ("Content-Length", "3")))
            assert connection.answer().body == b"one"
            connection.body_until(b"100 Continue\r\n\r\n")
            connection.send(b"two")
            assert connection.answer().body == b"two"

    def test_a_long_answer_has_no_deadline(self, listening: Any) -> None:
        """While an exchange runs, its connection is not looked upon as idle."""

        async def script(inbound: Inbound) -> None:
            await asyncio.sleep(0.5)
            await echo(inbound)

        with listening(script, bounds=QUICK) as listener, listener.connect() as connection:
            connection.send(post(b"late"))
            assert connection.answer().body == b"late"


class TestShutdown:
    """A stop of the server."""

    def test_idle(self, listener: Listener) -> None:
        """An idle connection is closed at once."""
        with listener.connect() as connection:
            connection.send(post(b"x"))
            connection.answer()
            listener.call(listener.connection().shutdown)
            assert connection.ended() == "cut"

    def test_in_an_answer(self, listening: Any) -> None:
        """The answer that is due comes to its end, and says `close` where it can still be said."""
        go = asyncio.Event()

        async def script(inbound: Inbound) -> None:
            await asyncio.wait_for(go.wait(), 10)
            await echo(inbound)

        with listening(script) as listener, listener.connect() as connection:
            connection.send(post(b"x"))
            eventually(lambda: listener.seen)
            listener.call(listener.connection().shutdown)
            listener.loop.call_soon_threadsafe(go.set)
            answer = connection.answer()
            assert (answer.body, answer.header("connection")) == (b"x", "close")
            assert connection.ended() == "cut"

    def test_a_cancelled_exchange(self, listening: Any) -> None:
        """An exchange that is cancelled by the server is broken off, and does not count as left by its client."""
        with listening(hang) as listener, listener.connect() as connection:
            connection.send(post(b"x"))
            eventually(lambda: listener.seen)
            listener.loop.call_soon_threadsafe(next(iter(listener.state.tasks)).cancel)
            assert connection.ended() == "cut"
            assert not listener.seen[0].gone


@pytest.mark.parametrize("end", ENDS, ids=["close", "reset"])
def test_what_runs_on_is_waited_for(listening: Any, end: Any) -> None:
    """A stop knows of all that serves: behind its answer, beside the next request's, and without its connection."""
    go = asyncio.Event()

    async def script(inbound: Inbound) -> None:
        await echo(inbound)
        await go.wait()

    async def slow_to_leave(_inbound: Inbound) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await go.wait()

    with listening(script) as listener:
        connection = listener.connect()
        for requests in (post(b"x"), post(b"y"), post(b"pipe") + post(b"line")):
            connection.send(requests)
            assert connection.answer().body
        assert connection.answer().body == b"line"
        assert len(listener.state.tasks) == 4
        listener.script = slow_to_leave
        connection.send(post(b"x"))
        eventually(lambda: len(listener.seen) == 5)
        end(connection)
        eventually(lambda: not listener.state.connections)
        assert len(listener.state.tasks) == 5
        listener.loop.call_soon_threadsafe(go.set)
        eventually(lambda: not listener.state.tasks)


def test_two_hundred_connections_do_not_mix(listening: Any) -> None:
    """Answers come on the connection of their request, many at a time."""

    async def script(inbound: Inbound) -> None:
        await asyncio.sleep(0.02)
        await echo(inbound)

    with listening(script) as listener:
        connections = [listener.connect() for _ in range(200)]
        for number, connection in enumerate(connections):
            connection.send(post(b"%d" % number))
        assert [connection.answer().body for connection in connections] == [b"%d" % n for n in range(200)]
        assert listener.seen[0].client == "127.0.0.1"
        for connection in connections:
            connection.close()
        eventually(lambda: not listener.state.connections)
