"""Answers that are odd to the byte: what may pass does, what may not is a failure and never a wrong answer."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import rawhttp
from faultcase import attempts_of
from harness import Home, Server, ask, client_headers, eventually, messages, running

OK = b"HTTP/1.1 200 OK\r\n"
EARLY = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
FAILS = 503


@dataclass(slots=True)
class Script:
    """A server that answers every request with the same bytes and then closes, or waits for the next."""

    answer: bytes = b""
    closes: bool = True
    seen: list[bytes] = field(default_factory=list)
    port: int = 0

    def serve(self, listener: socket.socket) -> None:
        """Answer until the listener is closed."""
        self.port = listener.getsockname()[1]
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(rawhttp.DEADLINE_S)
                self._converse(connection)

    def _converse(self, connection: socket.socket) -> None:
        while (request := _read_request(connection)) is not None:
            self.seen.append(request)
            connection.sendall(self.answer)
            if self.closes:
                return


def _read_request(connection: socket.socket) -> bytes | None:
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return None
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        lengths = [
            line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        ]
        missing = int(lengths[0]) - len(body) if lengths else 0
        while missing > 0:
            missing -= len(connection.recv(65536))
    except (ConnectionResetError, TimeoutError):
        return None
    return head


@pytest.fixture(scope="module")
def script() -> Iterator[Script]:
    """The scripted server."""
    script = Script()
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=script.serve, args=(listener,), daemon=True)
    thread.start()
    eventually(lambda: script.port)
    yield script
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)


@pytest.fixture(scope="module")
def scripted(script: Script, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose one account goes to the scripted upstream, behind a path of its own."""
    home = Home(tmp_path_factory.mktemp("odd"), {"RETRY_ATTEMPTS": "1"})
    home.add_account("odd", "sk-ant-api03-odd", f"http://127.0.0.1:{script.port}/behind/")
    with running(home) as server:
        yield server


WHOLE = [
    ("no content", b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    ("not modified, with a length", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 10\r\n\r\n", 304, b""),
    ("an empty body", OK + b"content-length: 0\r\n\r\n", 200, b""),
    ("HTTP/1.0 that ends by closing", b"HTTP/1.0 200 OK\r\n\r\nold", 200, b"old"),
    ("no reason phrase", b"HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\n{}", 200, b"{}"),
    ("a status nobody knows", b"HTTP/1.1 299 Odd\r\ncontent-length: 2\r\n\r\n{}", 299, b"{}"),
    ("two interim answers", EARLY + OK + b"content-length: 1\r\n\r\nx", 200, b"x"),
    ("extensions and trailers", OK + CHUNKED + b"3;a=b\r\nabc\r\n0\r\nx-late: 1\r\n\r\n", 200, b"abc"),
    ("more than was announced", OK + b"content-length: 2\r\n\r\n{}" + OK + b"\r\nforged", 200, b"{}"),
]

NO_ANSWER = [
    ("nothing at all", b""),
    ("half a head", OK + b"content-le"),
    ("a length said twice", OK + b"content-length: 2\r\ncontent-length: 2\r\n\r\n{}"),
    ("two lengths", OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}!"),
    ("a length and chunks", OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a negative length", OK + b"content-length: -2\r\n\r\n{}"),
    ("a coding nobody knows", OK + b"transfer-encoding: strange\r\n\r\n{}"),
    ("an endless head", OK + b"x-long: " + b"x" * 500_000 + b"\r\n\r\n"),
    ("an upgrade nobody asked for", b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"),
    ("a line break in a field", OK + b"x-odd: a\r\n b\nc\x00d\r\ncontent-length: 2\r\n\r\n{}"),
    ("no HTTP", b"SSH-2.0-OpenSSH_9.6\r\n"),
    ("a folded field", OK + b"x: a\r\n b\r\ncontent-length: 2\r\n\r\n{}"),
    ("a bare LF", b"HTTP/1.1 200 OK\ncontent-length: 2\n\n{}"),
    ("a bare CR", OK + b"x: a\rb\r\ncontent-length: 2\r\n\r\n{}"),
    ("a space before the colon", OK + b"content-length : 2\r\n\r\n{}"),
    ("a field without a name", OK + b": x\r\ncontent-length: 2\r\n\r\n{}"),
    ("a signed length", OK + b"content-length: +2\r\n\r\n{}"),
    ("a hexadecimal length", OK + b"content-length: 0x2\r\n\r\n{}"),
    ("a list of lengths", OK + b"content-length: 2, 2\r\n\r\n{}"),
    ("a length beyond 64 bits", OK + b"content-length: 99999999999999999999\r\n\r\n{}"),
    ("chunks and a length", OK + b"transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n0\r\n\r\n"),
    ("chunked twice", OK + b"transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("gzip as a transfer coding", OK + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("chunks in HTTP/1.0", b"HTTP/1.0 200 OK\r\n" + CHUNKED + b"0\r\n\r\n"),
    ("HTTP/2.0", b"HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\n{}"),
    ("a status of two digits", b"HTTP/1.1 20 OK\r\ncontent-length: 2\r\n\r\n{}"),
    ("a status of four digits", b"HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\n{}"),
    ("a status below 100", b"HTTP/1.1 099 OK\r\ncontent-length: 2\r\n\r\n{}"),
    ("a control in the reason", b"HTTP/1.1 200 O\x08K\r\ncontent-length: 2\r\n\r\n{}"),
    ("a flood of interim answers", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000 + OK + b"content-length: 0\r\n\r\n"),
    ("a flood of fields", OK + b"x: y\r\n" * 5000 + b"content-length: 0\r\n\r\n"),
]

BROKEN_LATER = [
    ("a size with a sign", b"+5\r\nworld\r\n0\r\n\r\n"),
    ("a size with 0x", b"0x5\r\nworld\r\n0\r\n\r\n"),
    ("a size behind a space", b" 5\r\nworld\r\n0\r\n\r\n"),
    ("a size that overflows", b"ffffffffffffffff5\r\nworld\r\n0\r\n\r\n"),
    ("a bare LF", b"5\nworld\n0\n\n"),
    ("a chunk that is too long", b"4\r\nworld\r\n0\r\n\r\n"),
    ("an extension with a CR", b"5;a\rb\r\nworld\r\n0\r\n\r\n"),
    ("an endless extension", b"5;" + b"x" * 500_000),
    ("endless trailers", b"0\r\n" + b"x: y\r\n" * 100_000),
    ("a length in the trailer", b"0\r\ncontent-length: 5\r\n\r\n"),
]


@pytest.mark.parametrize(("answer", "status", "body"), [case[1:] for case in WHOLE], ids=[case[0] for case in WHOLE])
def test_odd_answers_that_are_answers(
    scripted: Server, script: Script, answer: bytes, status: int, body: bytes
) -> None:
    """What the protocol allows passes, and the next request gets its own answer."""
    script.answer, script.closes = answer, True
    for _ in range(2):
        found = ask(scripted.port, messages())
        assert (found.status, found.body, found.end) == (status, body, "whole")


@pytest.mark.parametrize("answer", [case[1] for case in NO_ANSWER], ids=[case[0] for case in NO_ANSWER])
def test_odd_answers_that_are_none(scripted: Server, script: Script, answer: bytes) -> None:
    """What the protocol forbids is a failed attempt: a 503 in JSON, one row, and the server goes on."""
    script.answer, script.closes = answer, True
    eventually(lambda: scripted.health()["writer"]["queued"] == 0)
    rows = len(scripted.home.rows())
    found = ask(scripted.port, messages())
    assert (found.status, found.end) == (FAILS, "whole")
    assert b"All accounts failed to proxy the request" in found.body
    (row,) = scripted.home.rows_when(rows + 1)[rows:]
    assert attempts_of(scripted.home, row) == "odd retry None"
    script.answer = OK + b"content-length: 2\r\n\r\n{}"
    assert ask(scripted.port, messages()).body == b"{}"


@pytest.mark.parametrize("rest", [case[1] for case in BROKEN_LATER], ids=[case[0] for case in BROKEN_LATER])
def test_framing_that_breaks_later_cuts_the_answer(scripted: Server, script: Script, rest: bytes) -> None:
    """What breaks the framing behind the first bytes ends the client's answer as a cut, never as a whole one."""
    script.answer, script.closes = OK + CHUNKED + b"5\r\nhello\r\n" + rest, True
    eventually(lambda: scripted.health()["writer"]["queued"] == 0)
    rows = len(scripted.home.rows())
    found = ask(scripted.port, messages())
    assert found.status == 200
    assert found.end in {"cut", "reset"}
    assert b"hello".startswith(found.body[:5])
    assert b"world" not in found.body
    (row,) = scripted.home.rows_when(rows + 1)[rows:]
    assert (attempts_of(scripted.home, row), row["success"]) == ("odd broken 200", 0)
    script.answer = OK + b"content-length: 2\r\n\r\n{}"
    assert ask(scripted.port, messages()).body == b"{}"


def test_an_upstream_that_trickles_its_head_has_no_more_time_than_others(tmp_path: Path) -> None:
    """A head that comes byte by byte, for ever, ends at the deadline of the first byte, and nothing is left of it."""
    home = Home(
        tmp_path,
        {"RETRY_ATTEMPTS": "1", "CCFLARE_CONNECT_TIMEOUT_MS": "1500", "CCFLARE_FIRST_BYTE_TIMEOUT_MS": "1500"},
    )
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        listener.settimeout(rawhttp.DEADLINE_S)
        home.add_account("slow", "sk-ant-api03-slow", f"http://127.0.0.1:{listener.getsockname()[1]}")
        with running(home) as server:
            ending = pool.submit(_trickle, listener)
            found = ask(server.port, messages())
            assert (found.status, b"first_byte_timeout" in found.body or b"no first byte" in found.body) == (503, True)
            assert ending.result(rawhttp.DEADLINE_S) == "let go"
            assert attempts_of(home, home.rows_when(1)[0]) == "slow retry None"


def _trickle(listener: socket.socket) -> str:
    """Send a head that does not end until the other side goes."""
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(rawhttp.DEADLINE_S)
        connection.recv(65536)  # what comes before the request would not be an answer
        connection.sendall(OK)
        connection.settimeout(0.02)
        for _ in range(1000):
            try:
                connection.sendall(b"x: y\r\n")
                if connection.recv(65536) == b"":
                    return "let go"
            except TimeoutError:
                continue
            except OSError:
                return "let go"
    return "never"


def test_the_path_of_the_base_url_comes_first(scripted: Server, script: Script) -> None:
    """A base URL with a path has that path put before the client's target."""
    script.answer, script.closes = OK + b"content-length: 2\r\n\r\n{}", True
    ask(scripted.port, messages(), target="/v1/messages?beta=true")
    assert script.seen[-1].startswith(b"POST /behind/v1/messages?beta=true HTTP/1.1\r\n")


def test_bytes_behind_an_answer_are_nobodys(scripted: Server, script: Script) -> None:
    """What an upstream sends behind its answer on a kept connection never becomes another client's answer."""
    script.answer, script.closes = OK + b"content-length: 2\r\n\r\n{}" + OK + b"content-length: 6\r\n\r\nforged", False
    with rawhttp.Connection(scripted.port) as connection:
        for _ in range(5):
            connection.send(rawhttp.request_bytes("POST", "/v1/messages", client_headers(), messages()))
            assert connection.answer().body == b"{}"


def test_head_answers_have_a_length_and_no_body(scripted: Server, script: Script) -> None:
    """HEAD comes back with the length of what GET would bring, and the connection can be used again."""
    script.answer, script.closes = OK + b"content-length: 123\r\n\r\n", False
    with rawhttp.Connection(scripted.port) as connection:
        for _ in range(2):
            connection.send(rawhttp.request_bytes("HEAD", "/v1/models", client_headers()))
            found = connection.answer(head_only=True)
            assert (found.status, found.header("content-length")) == (200, "123")


def test_a_client_cannot_smuggle(scripted: Server, script: Script) -> None:
    """Framing that two parsers could read in two ways is refused here and never sent on."""
    seen = len(script.seen)
    for odd in (
        "Content-Length: +5",
        "Content-Length: 5, 5",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding : chunked",
    ):
        with rawhttp.Connection(scripted.port) as connection:
            head = rawhttp.request_bytes("POST", "/v1/messages", client_headers()).removesuffix(b"\r\n")
            connection.send(head + odd.encode() + b"\r\n\r\nhello")
            assert 400 <= connection.answer().status < 500, odd
    assert len(script.seen) == seen
