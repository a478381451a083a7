"""Hostile and broken requests: a clear 4xx or a closed connection, nothing served twice, and the server goes on."""

import asyncio
import json
import os
import tracemalloc
from contextlib import ExitStack
from typing import Any

import pytest

import rawhttp
from ccflare.ingress import Bounds
from ingress_kit import Listener, eventually, get, post

HOST = b"Host: localhost\r\n"
CHUNKED = b"POST /v1/m HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"


def head(*lines: bytes, first: bytes = b"POST /v1/m HTTP/1.1") -> bytes:
    return b"\r\n".join([first, HOST[:-2], *lines, b"", b""])


REFUSED: dict[str, tuple[int, bytes]] = {
    "nonsense": (400, b"NONSENSE\r\n\r\n"),
    "TLS": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(32)),
    "lower case method": (400, head(first=b"get /v1/m HTTP/1.1")),
    "no version": (505, b"GET /v1/m\r\n\r\n"),
    "HTTP/0.9": (505, head(first=b"GET /v1/m HTTP/0.9")),
    "HTTP/2.0": (505, head(first=b"GET /v1/m HTTP/2.0")),
    "HTTP/1.2": (400, head(first=b"GET /v1/m HTTP/1.2")),
    "h2 preface": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "space behind the version": (400, head(first=b"GET /v1/m HTTP/1.1 ")),
    "CONNECT": (400, head(first=b"CONNECT api.example.com:443 HTTP/1.1")),
    "CONNECT to a path": (400, head(first=b"CONNECT /v1/m HTTP/1.1")),
    "absolute-form for another host": (400, head(first=b"GET http://evil.example/v1/m HTTP/1.1")),
    "absolute-form with another port": (400, head(first=b"GET http://localhost:1/v1/m HTTP/1.1")),
    "absolute-form with a user": (400, head(first=b"GET http://localhost@evil.example/v1/m HTTP/1.1")),
    "absolute-form with a backslash": (400, head(first=b"GET http://localhost\\@evil.example/v1/m HTTP/1.1")),
    "absolute-form with https": (400, head(first=b"GET https://localhost/v1/m HTTP/1.1")),
    "absolute-form with another scheme": (400, head(first=b"GET ftp://localhost/v1/m HTTP/1.1")),
    "absolute-form without a host": (400, head(first=b"GET http:///v1/m HTTP/1.1")),
    "absolute-form with a fragment": (400, head(first=b"GET http://localhost/v1/m#x HTTP/1.1")),
    "absolute-form of a foreign host": (
        403,
        b"GET http://evil.example/v1/m HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    ),
    "absolute-form of a foreign origin": (
        403,
        head(b"Origin: http://evil.example", first=b"GET http://localhost/v1/m HTTP/1.1"),
    ),
    "absolute-form and two hosts": (400, head(b"Host: localhost", first=b"GET http://localhost/v1/m HTTP/1.1")),
    "authority-form": (400, head(first=b"GET localhost:80 HTTP/1.1")),
    "a path without its slash": (400, head(first=b"GET v1/m HTTP/1.1")),
    "asterisk-form": (400, head(first=b"OPTIONS * HTTP/1.1")),
    "fragment": (400, head(first=b"GET /v1/m#x HTTP/1.1")),
    "control in the target": (400, head(first=b"GET /v1/\x01 HTTP/1.1")),
    "tab in the target": (400, head(first=b"GET /v1/\tm HTTP/1.1")),
    "high byte in the target": (400, head(first=b"GET /v1/\xff HTTP/1.1")),
    "huge target": (414, head(first=b"GET /v1/" + b"a" * 20_000 + b" HTTP/1.1")),
    "huge header": (431, head(b"X: " + b"a" * 70_000)),
    "many headers": (431, head(*[b"X-%d: a" % number for number in range(300)])),
    "bare LF": (400, b"GET /v1/m HTTP/1.1\nHost: localhost\n\n"),
    "LF in the head": (400, head(b"X: a\nY: b")),
    "bare CR": (400, head(b"X: a\rY: b")),
    "NUL": (400, head(b"X: a\0b")),
    "space before the colon": (400, head(b"X : a")),
    "space before the first name": (400, b"GET /v1/m HTTP/1.1\r\n " + HOST + b"\r\n"),
    "obs-fold": (400, head(b"X: a", b" b")),
    "no colon": (400, head(b"X")),
    "empty name": (400, head(b": a")),
    "no host": (400, b"GET /v1/m HTTP/1.1\r\n\r\n"),
    "two hosts": (400, head(b"Host: localhost")),
    "a foreign host": (403, b"GET /v1/m HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
    "negative length": (400, head(b"Content-Length: -1")),
    "signed length": (400, head(b"Content-Length: +1")),
    "length with a space inside": (400, head(b"Content-Length: 1 0")),
    "length with an underscore": (400, head(b"Content-Length: 1_0")),
    "length in other digits": (400, head(b"Content-Length: \xd9\xa1")),
    "length with a decimal": (400, head(b"Content-Length: 2.0")),
    "folded length": (400, head(b"Content-Length:", b" 2")),
    "folded coding": (400, head(b"Transfer-Encoding:", b" chunked")),
    "length without a colon": (400, head(b"Content-Length 2")),
    "hex length": (400, head(b"Content-Length: 0x10")),
    "empty length": (400, head(b"Content-Length:")),
    "list of lengths": (400, head(b"Content-Length: 2, 2")),
    "the same length twice": (400, head(b"Content-Length: 2", b"Content-Length: 2")),
    "two lengths": (400, head(b"Content-Length: 2", b"Content-Length: 3")),
    "length beyond 64 bits": (400, head(b"Content-Length: 99999999999999999999999")),
    "absurd length": (413, head(b"Content-Length: 18446744073709551615")),
    "length and coding": (400, head(b"Content-Length: 2", b"Transfer-Encoding: chunked")),
    "coding and length": (400, head(b"Transfer-Encoding: chunked", b"Content-Length: 2")),
    "gzip, chunked": (400, head(b"Transfer-Encoding: gzip, chunked")),
    "chunked, gzip": (400, head(b"Transfer-Encoding: chunked, gzip")),
    "gzip and chunked": (400, head(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked")),
    "chunked twice": (400, head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked")),
    "xchunked": (400, head(b"Transfer-Encoding: xchunked")),
    "identity": (400, head(b"Transfer-Encoding: identity")),
    "comma chunked": (400, head(b"Transfer-Encoding: ,chunked")),
    "vertical tab chunked": (400, head(b"Transfer-Encoding: \x0bchunked")),
    "chunked with a parameter": (400, head(b"Transfer-Encoding: chunked;q=1")),
    "chunked in HTTP/1.0": (400, head(b"Transfer-Encoding: chunked", first=b"POST /v1/m HTTP/1.0")),
}

BROKEN_BODIES = {
    "negative": b"-1\r\nx",
    "hex prefix": b"0x1\r\nx\r\n0\r\n\r\n",
    "sign": b"+1\r\nx\r\n0\r\n\r\n",
    "underscore": b"1_0\r\nxxxxxxxxxxxxxxxx\r\n0\r\n\r\n",
    "space before": b" 1\r\nx\r\n0\r\n\r\n",
    "comma": b"1,1\r\nx\r\n0\r\n\r\n",
    "NUL": b"1\0\r\nx\r\n0\r\n\r\n",
    "bare CR behind the data": b"1\r\nx\r0\r\n\r\n",
    "bare LF in the trailer": b"0\r\nX: y\n\r\n",
    "folded trailer": b"0\r\nX: y\r\n z\r\n\r\n",
    "space": b"1 \r\nx\r\n0\r\n\r\n",
    "bare LF": b"1\nx\r\n0\r\n\r\n",
    "bare LF behind the data": b"1\r\nx\n0\r\n\r\n",
    "bare CR in an extension": b"1;a\rb\r\nx\r\n0\r\n\r\n",
    "overflow": b"fffffffffffffffff\r\nx",
    "no size": b"\r\nx",
    "data too long": b"1\r\nxy\r\n0\r\n\r\n",
    "length in the trailer": b"0\r\nContent-Length: 5\r\n\r\n",
    "coding in the trailer": b"0\r\nTransfer-Encoding: gzip\r\n\r\n",
}


def assert_alive(listener: Listener) -> None:
    served = len(listener.seen)
    with listener.connect() as connection:
        connection.send(post(b"still there"))
        assert connection.answer().body == b"still there"
    assert len(listener.seen) == served + 1


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def patient(request: pytest.FixtureRequest) -> Any:
    """Share a listener among all bad requests: each finds it as the one before has left it."""
    import ingress_kit

    with ingress_kit.listening(request.param) as running:
        yield running


@pytest.mark.parametrize(("status", "data"), REFUSED.values(), ids=REFUSED)
def test_refused(patient: Listener, status: int, data: bytes) -> None:
    """What cannot be understood in one way only is refused in JSON, not served, and the connection closes."""
    served = len(patient.seen)
    body = b"0\r\n\r\n" if b"chunked" in data else b"ab"  # so that a lenient reader would have a whole request
    with patient.connect() as connection:
        connection.send(data + body + get("/v1/smuggled"))
        answer = connection.answer()
        assert (answer.status, answer.header("connection")) == (status, "close")
        assert answer.header("content-type") == "application/json"
        assert json.loads(answer.body)["error"]
        assert connection.ended() in {"cut", "reset"}
    assert len(patient.seen) == served
    assert_alive(patient)


@pytest.mark.parametrize("body", BROKEN_BODIES.values(), ids=BROKEN_BODIES)
def test_a_broken_chunk(patient: Listener, body: bytes) -> None:
    """A chunked body that is not well formed ends its request, with 400, and nothing behind it is served."""
    served = len(patient.seen)
    with patient.connect() as connection:
        connection.send(CHUNKED)
        eventually(lambda: len(patient.seen) > served)
        connection.send(body + get("/v1/smuggled"))
        assert connection.answer().status == 400
        assert connection.ended() in {"cut", "reset"}
    assert len(patient.seen) == served + 1
    assert patient.seen[-1].gone
    assert_alive(patient)


def test_refusals_have_the_shape_that_is_read(patient: Listener) -> None:
    """On `/v1/` a refusal has the upstream's error shape, elsewhere our own."""
    shapes = {
        "/v1/m": {"type": "error", "error": {"type": "permission_error", "message": ""}},
        "/api/x": {"error": ""},
    }
    for target, shape in shapes.items():
        with patient.connect() as connection:
            connection.send(b"GET %b HTTP/1.1\r\nHost: evil.example\r\n\r\n" % target.encode())
            answer = connection.answer()
            found = json.loads(answer.body)
            if isinstance(found["error"], dict):
                found["error"]["message"] = ""
            else:
                found["error"] = ""
            assert found == shape
            assert answer.header("x-ccflare-answer") == "1"


class TestEndless:
    """Parts without an end: they are refused while what is kept of them is small."""

    @pytest.mark.parametrize(
        ("start", "piece"),
        [
            (b"GET /v1/m HTTP/1.1\r\n" + HOST + b"X: ", b"a" * 8192),
            (b"GET /v1/m HTTP/1.1\r\n" + HOST, b"a" * 8192),
            (b"GET /v1/", b"a" * 8192),
            (b"GET /v1/m HTTP/1.1\r\n" + HOST, b"X: a\r\n" * 1000),
            (CHUNKED + b"1;", b"a" * 8192),
            (CHUNKED + b"1\r\nx\r\n0\r\n", b"X: a\r\n" * 1000),
            (CHUNKED + b"1\r\nx\r\n0\r\nX: ", b"a" * 8192),
            (b"", b"\r\n" * 4096),
        ],
        ids=["value", "name", "target", "fields", "extension", "trailers", "trailer", "empty lines"],
    )
    def test_part(self, patient: Listener, start: bytes, piece: bytes) -> None:
        """A value, name, target, trailer or chunk extension without an end is refused early."""
        with patient.connect() as connection:
            connection.send(start)
            sent = 0
            connection._socket.settimeout(0.02)
            while sent < 4 << 20:
                try:
                    connection._socket.sendall(piece)
                    sent += len(piece)
                    if connection._receive():
                        break
                except TimeoutError:
                    continue
                except (BrokenPipeError, ConnectionResetError):
                    break
            connection._socket.settimeout(10)
            assert connection.answer().status in {414, 431}
            assert sent < 1 << 20
        assert_alive(patient)

    def test_memory(self, listening: Any) -> None:
        """Clients that send heads without an end cost a bounded amount of memory each."""
        with listening() as listener, ExitStack() as stack:
            connections = [stack.enter_context(listener.connect()) for _ in range(20)]
            eventually(lambda: len(listener.state.connections) == len(connections))
            ends: list[Any] = list(listener.state.connections)
            tracemalloc.start()
            try:
                for connection in connections:
                    connection.send(b"GET /v1/m HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 60_000)
                eventually(lambda: all(end._reader._unheard_bytes > 60_000 for end in ends))
                kept, _ = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert kept < 20 * 400_000


class TestUpgrade:
    """Wishes for another protocol are not granted; the request is served as what it is (RFC 9110 §7.8)."""

    H2C = (("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABk"))
    WEBSOCKET = (("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"))

    @pytest.mark.parametrize("fields", [H2C, WEBSOCKET], ids=["h2c", "websocket"])
    @pytest.mark.parametrize("target", ["/v1/models", "/health"])
    def test_without_a_body(self, listener: Listener, fields: Any, target: str) -> None:
        """A GET is served as HTTP/1.1, and nothing behind it."""
        with listener.connect() as connection:
            connection.send(get(target, *fields) + get("/v1/smuggled"))
            answer = connection.answer()
            assert (answer.status, answer.header("connection")) == (200, "close")
            assert connection.ended() in {"cut", "reset"}
        assert len(listener.seen) == (target == "/v1/models")

    @pytest.mark.parametrize("size", [1, 5, 300_000])
    @pytest.mark.parametrize("coded", [False, True], ids=["length", "chunked"])
    @pytest.mark.parametrize("early", [0, 1])
    def test_with_a_body(self, listener: Listener, size: int, coded: bool, early: int) -> None:
        """A POST keeps its body, however it is framed and split: Java's client sends one with every first request."""
        body = os.urandom(size)
        framing = ("Transfer-Encoding", "chunked") if coded else ("Content-Length", str(size))
        data = rawhttp.chunked(body) if coded else body
        with listener.connect() as connection:
            connection.send(post(None, "/v1/m", *self.H2C, framing) + data[:early])
            eventually(lambda: listener.seen)
            connection.send(data[early:] + get("/v1/smuggled"))
            answer = connection.answer()
            assert (answer.body, answer.header("connection")) == (body, "close")
            assert connection.ended() in {"cut", "reset"}
        assert len(listener.seen) == 1

    def test_with_a_broken_body(self, patient: Listener) -> None:
        """Its body is checked like any other."""
        with patient.connect() as connection:
            connection.send(post(None, "/v1/m", *self.H2C, ("Transfer-Encoding", "chunked")) + b"zz\r\n")
            assert connection.answer().status == 400

    def test_with_an_endless_extension(self, patient: Listener) -> None:
        """And bounded like any other."""
        with patient.connect() as connection:
            connection.send(post(None, "/v1/m", *self.H2C, ("Transfer-Encoding", "chunked")) + b"1;" + b"a" * 200_000)
            assert connection.answer().status == 431

    def test_named_without_connection(self, listener: Listener) -> None:
        """`Upgrade` that `Connection` does not name asks for nothing: the connection goes on."""
        with listener.connect() as connection:
            connection.send(get("/v1/1", ("Upgrade", "h2c")) + get("/v1/2", ("Connection", "upgrade")) + get("/v1/3"))
            assert [connection.answer().header("x-target") for _ in range(3)] == ["/v1/1", "/v1/2", "/v1/3"]


class TestAbsoluteForm:
    """A target that names us in full means its path (RFC 9112 §3.2.2); clients that take us for a proxy send it."""

    @pytest.mark.parametrize(
        ("target", "path"),
        [
            ("http://localhost/v1/m?a=b", "/v1/m?a=b"),
            ("HTTP://LOCALHOST/v1/m", "/v1/m"),
            ("http://localhost//v1/m", "//v1/m"),
            ("http://localhost", "/"),
            ("http://localhost?x", "/?x"),
            ("http://localhost/api/x", "/api/x"),
            ("http://localhost/v1/http://evil.example/", "/v1/http://evil.example/"),
        ],
    )
    def test_it_is_routed_by_its_path(self, patient: Listener, target: str, path: str) -> None:
        """It is proxied when its path begins with `/v1/`, verbatim from there on, and ours otherwise."""
        served = len(patient.seen)
        with patient.connect() as connection:
            connection.send(get(target))
            answer = connection.answer()
            if path.startswith("/v1/"):
                assert answer.header("x-target") == path
            else:
                assert json.loads(answer.body)["path"] == path.partition("?")[0]
        assert len(patient.seen) == served + path.startswith("/v1/")

    def test_its_host_is_checked_like_any_other(self, patient: Listener) -> None:
        """A page of another site cannot change anything by it."""
        with patient.connect() as connection:
            connection.send(post(b"{}", "http://localhost/api/x", ("Content-Type", "text/plain")))
            assert connection.answer().status == 415


class TestPaths:
    """Routing decides on the raw path."""

    @pytest.mark.parametrize(
        ("target", "path"),
        [
            ("//v1/messages", "//v1/messages"),
            ("/v1%2Fmessages", "/v1%2Fmessages"),
            ("/%76%31/messages", "/v1/messages"),
            ("/api/../v1/messages", "/api/../v1/messages"),
            ("/api%2f..%2fv1/x%20y", "/api%2f..%2fv1/x%20y"),
            ("/%2e%2e/v1/messages", "/%2e%2e/v1/messages"),
            ("/V1/messages", "/V1/messages"),
            ("/v1", "/v1"),
            ("/a%20b%C3%A9", "/a bé"),
            ("/./v1/messages", "/./v1/messages"),
            ("/;/v1/messages", "/;/v1/messages"),
            ("/\\v1/messages", "/\\v1/messages"),
            ("/v1\\messages", "/v1\\messages"),
            ("/v1;/messages", "/v1;/messages"),
            ("/%00/v1/messages", "/\0/v1/messages"),
            ("/?/v1/x", "/"),
        ],
    )
    def test_not_proxied(self, patient: Listener, target: str, path: str) -> None:
        """Only a target that begins with `/v1/` is proxied; encoded dots and slashes stay what they are."""
        served = len(patient.seen)
        with patient.connect() as connection:
            connection.send(get(target))
            assert json.loads(connection.answer().body)["path"] == path
        assert len(patient.seen) == served

    @pytest.mark.parametrize("target", ["/v1/a%2Fb?x=%20+&y=&y&&z=/../", "/v1//../%2e", "/v1/?", '/v1/"<>^`{|}'])
    def test_proxied_verbatim(self, patient: Listener, target: str) -> None:
        """A proxied target is passed on exactly as it came."""
        with patient.connect() as connection:
            connection.send(get(target))
            assert connection.answer().header("x-target") == target


class TestCallsToOurselves:
    """What the ASGI application is given."""

    JSON = ("Content-Type", "application/json; charset=utf-8")

    def test_a_body(self, patient: Listener) -> None:
        """It has its body whole."""
        with patient.connect() as connection:
            connection.send(post(b"x" * 70_000, "/api/x", self.JSON))
            assert json.loads(connection.answer().body)["size"] == 70_000

    @pytest.mark.parametrize("coded", [False, True], ids=["length", "chunked"])
    def test_a_huge_body(self, patient: Listener, coded: bool) -> None:
        """A body over the limit is refused with 413."""
        body = bytes(2 << 20)
        data = (
            post(None, "/api/x", self.JSON, ("Transfer-Encoding", "chunked")) + rawhttp.chunked(body)
            if coded
            else post(body, "/api/x", self.JSON)
        )
        with patient.connect() as connection:
            connection.send(data)
            answer = connection.answer()
            assert answer.status == 413
            assert b"limited" in answer.body

    def test_a_forged_call(self, patient: Listener) -> None:
        """A call that changes something and that any web page could make is refused."""
        with patient.connect() as connection:
            connection.send(post(b"{}", "/api/x", ("Content-Type", "text/plain")))
            assert connection.answer().status == 415

    def test_its_head_leaves_before_its_body(self, listening: Any) -> None:
        """Whoever follows a stream that has nothing to say yet knows that it is there."""
        go = asyncio.Event()

        async def app(_scope: Any, _receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await asyncio.wait_for(go.wait(), 10)
            await send({"type": "http.response.body", "body": b""})

        with listening(app=app) as listener, listener.connect() as connection:
            connection.send(get("/api/stream"))
            assert connection.head().status == 200
            listener.loop.call_soon_threadsafe(go.set)

    def test_a_stream(self, listening: Any) -> None:
        """It can stream, and waits while its client reads slowly."""
        sizes: list[int] = []

        async def app(_scope: Any, _receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
            for number in range(200):
                await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})
                sizes.append(number)
            await send({"type": "http.response.body", "body": b""})

        with listening(app=app) as listener, listener.connect(receive_buffer=8192) as connection:
            connection.send(get("/api/stream"))
            eventually(lambda: listener.state.connections and listener.connection().write_paused)
            assert len(sizes) < 200
            answer = connection.answer()
            assert (len(answer.body), answer.header("transfer-encoding")) == (200 * 65_536, "chunked")


def test_bounds_are_settings(listening: Any) -> None:
    """Every bound can be set."""
    with listening(bounds=Bounds(target_bytes=10, fields=3, head_bytes=100)) as listener:
        for data, status in ((get("/v1/" + "a" * 10), 414), (get("/v1/a", *[("X", "a")] * 4), 431)):
            with listener.connect() as connection:
                connection.send(data)
                assert connection.answer().status == status
