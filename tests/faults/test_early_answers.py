"""Upstreams that begin to answer before they have read the request: it arrives all the same, and nothing is left."""

import hashlib
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

import rawhttp
from faultcase import attempts_of
from harness import Home, Server, client_headers, eventually, messages, running

MIB = 1024 * 1024
KEPT, STREAMED = 20 * MIB, 40 * MIB
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
START = b'event: message_start\ndata: {"type":"message_start","message":{"model":"x-1"}}\n\n'
LAST = b"0\r\n\r\n"
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
ERROR = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'


def _chunk(event: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(event), event)


@dataclass
class Early:
    """A server whose upstream has sent the head and the first event of its answer, and read nothing of the body."""

    home: Home
    server: Server
    client: rawhttp.Connection
    upstream: socket.socket
    body: bytes
    descriptors: int

    def read(self) -> bytes:
        """Read all of the body upstream."""
        found = bytearray()
        while len(found) < len(self.body):
            data = self.upstream.recv(MIB)
            assert data, f"the body ended after {len(found)} bytes"
            found += data
        return bytes(found)

    def assert_nothing_left(self) -> None:
        """Assert that neither an exchange nor a descriptor is left."""
        eventually(lambda: self.server.health()["in_flight"] == 0)
        eventually(lambda: self.server.descriptors() <= self.descriptors)


@contextmanager
def _early(home: Home, size: int, *, sent_bytes: int | None = None) -> Iterator[Early]:
    body = messages("x" * size)
    request = rawhttp.request_bytes("POST", "/v1/messages", client_headers(), body)
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        listener.settimeout(rawhttp.DEADLINE_S)
        home.add_account("alone", "sk-ant-api03-x", f"http://127.0.0.1:{listener.getsockname()[1]}")
        with running(home) as server:
            server.health()
            descriptors = server.descriptors()
            with rawhttp.Connection(server.port) as client:
                sent = pool.submit(client.send, request[:sent_bytes])
                upstream, _ = listener.accept()
                with upstream:
                    upstream.settimeout(rawhttp.DEADLINE_S)
                    head = b""
                    while not head.endswith(b"\r\n\r\n"):
                        head += upstream.recv(1)
                    upstream.sendall(HEAD + _chunk(START))
                    yield Early(home, server, client, upstream, body, descriptors)
                sent.result(rawhttp.DEADLINE_S)


@pytest.mark.parametrize("size", [KEPT, STREAMED], ids=["kept", "streamed"])
def test_a_body_arrives_whole_beside_its_answer(tmp_path: Any, size: int) -> None:
    """The client has the first event while its body is on the way; that arrives byte for byte."""
    with _early(Home(tmp_path), size) as early:
        assert b"message_start" in early.client.body_until(b"message_start")
        assert hashlib.sha256(early.read()).digest() == hashlib.sha256(early.body).digest()
        early.upstream.sendall(_chunk(STOP) + LAST)
        found = early.client.answer()
        assert (found.status, found.end, found.body.count(b"event: ")) == (200, "whole", 2)
        early.client.close()
        row = early.home.rows_when(1)[0]
        assert (row["status_code"], row["success"], row["request_bytes"]) == (200, 1, len(early.body))
        assert attempts_of(early.home, row) == "alone deliver 200"


@pytest.mark.parametrize("size", [KEPT, STREAMED], ids=["kept", "streamed"])
def test_an_answer_that_ends_before_its_body_is_whole(tmp_path: Any, size: int) -> None:
    """The client gets all of the answer, and what was left of the body is not sent any more."""
    with _early(Home(tmp_path), size) as early:
        early.upstream.sendall(_chunk(STOP) + LAST)
        found = early.client.answer()
        assert (found.status, found.end, found.body.count(b"event: ")) == (200, "whole", 2)
        early.upstream.close()
        assert early.home.rows_when(1)[0]["success"] == 1
        early.client.close()
        early.assert_nothing_left()


@pytest.mark.parametrize("size", [KEPT, STREAMED], ids=["kept", "streamed"])
def test_a_client_that_leaves_between_body_and_answer(tmp_path: Any, size: int) -> None:
    """It takes body and answer with it, within a second, and is recorded once."""
    with _early(Home(tmp_path), size, sent_bytes=None if size == KEPT else 2 * MIB) as early:
        early.client.body_until(b"message_start")
        left_at = time.monotonic()
        early.client.reset()
        row = early.home.rows_when(1)[0]
        assert time.monotonic() - left_at < 2
        assert (row["status_code"], row["error_message"]) == (499, "client disconnected")
        early.assert_nothing_left()
        with pytest.raises((ConnectionError, AssertionError)):
            early.read()


def test_a_client_that_leaves_because_of_an_error(tmp_path: Any) -> None:
    """SDKs close at the `error` event of a stream: the row tells of the error, and of the 200 that the client got."""
    with _early(Home(tmp_path), 10) as early:
        early.upstream.sendall(_chunk(ERROR))
        early.client.body_until(b"Overloaded")
        early.client.close()
        row = early.home.rows_when(1)[0]
        assert (row["status_code"], row["success"]) == (200, 0)
        assert row["error_message"] == "overloaded_error: Overloaded"
        assert attempts_of(early.home, row) == "alone deliver 200"
        early.assert_nothing_left()
