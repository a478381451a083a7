"""Request bodies that are large, slow, chunked or refused halfway; answers that are large or compressed."""

import gzip
import hashlib
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any

import brotli
import pytest
import zstandard

import rawhttp
from faultcase import assert_states, attempts_of
from harness import (
    MODEL,
    Home,
    Server,
    Upstream,
    ask,
    assert_at_rest,
    assert_upstream_clean,
    client_headers,
    eventually,
    messages,
    running,
)

MIB = 1024 * 1024
BOTH_ACTIVE = {"alpha": "active", "beta": "active"}
BOUNDARY = "a-boundary-of-our-own"
DECODERS = {
    "gzip": gzip.decompress,
    "br": brotli.decompress,
    "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
}


def _file_upload(size: int) -> tuple[list[rawhttp.Pair], bytes]:
    headers = [pair for pair in client_headers() if pair[0] != "Content-Type"]
    headers.append(("Content-Type", f"multipart/form-data; boundary={BOUNDARY}"))
    start = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="big.bin"\r\n\r\n'
    return headers, start.encode() + b"\x00\xff" * (size // 2) + f"\r\n--{BOUNDARY}--\r\n".encode()


def test_a_body_that_is_too_long_to_keep_is_streamed_once(home: Home, server: Server, upstream: Upstream) -> None:
    """50 MB go upstream byte for byte while the process keeps a fraction of it in memory."""
    ask(server.port, messages())
    before = server.resident_bytes()
    headers, body = _file_upload(50 * MIB)
    found = ask(server.port, body, target="/v1/files", headers=headers)
    assert found.status == 200, found
    assert json.loads(found.body)["size_bytes"] == 50 * MIB
    entry = upstream.settled_log(2)[-1]
    assert (entry.body_bytes, entry.body_sha256) == (len(body), hashlib.sha256(body).hexdigest())
    assert server.resident_bytes() < before + 30 * MIB
    assert attempts_of(home, home.rows_when(2)[-1]) == "alpha deliver 200"
    assert_states(home, BOTH_ACTIVE)


def test_a_body_that_was_streamed_is_not_sent_again(home: Home, server: Server, upstream: Upstream) -> None:
    """A request too long to keep has one try: upstream's error is delivered."""
    upstream.faults(alpha="529")
    headers, body = _file_upload(40 * MIB)
    found = ask(server.port, body, target="/v1/files", headers=headers)
    assert (found.status, b"Overloaded" in found.body) == (529, True)
    assert attempts_of(home, home.rows_when(1)[0]) == "alpha retry 529"
    assert len(upstream.settled_log(1)) == 1
    assert_states(home, BOTH_ACTIVE)


def test_a_body_that_is_kept_goes_to_the_next_account(home: Home, server: Server, upstream: Upstream) -> None:
    """20 MB are sent again, byte for byte, when the first account is limited."""
    upstream.faults(alpha="429-long")
    body = messages("x" * (20 * MIB))
    assert ask(server.port, body).status == 200
    entries = upstream.settled_log(2)
    assert {entry.body_sha256 for entry in entries} == {hashlib.sha256(body).hexdigest()}
    assert attempts_of(home, home.rows_when(1)[0]) == "alpha next 429, beta deliver 200"
    assert_states(home, {"alpha": "rate_limited", "beta": "active"})
    assert_upstream_clean(upstream)


def test_a_body_that_was_sent_is_let_go(server: Server, upstream: Upstream) -> None:
    """While its answer streams, for minutes perhaps, nobody needs it any more."""
    ask(server.port, messages())
    before = server.resident_bytes()
    body = messages("[[fake stall]]" + "x" * (20 * MIB), stream=True)
    with ExitStack() as stack:
        for _ in range(4):
            connection = stack.enter_context(closing(rawhttp.Connection(server.port)))
            connection.send(rawhttp.request_bytes("POST", "/v1/messages", client_headers(), body))
            connection.body_until(b"message_start")
        assert server.resident_bytes() < before + 45 * MIB


def test_a_body_beyond_upstreams_limit_is_a_413(home: Home, server: Server, upstream: Upstream) -> None:
    """34 MB give upstream's own `request_too_large`, not a broken connection."""
    found = ask(server.port, messages("x" * (34 * MIB)))
    assert found.status == 413
    assert json.loads(found.body)["error"]["type"] == "request_too_large"
    assert attempts_of(home, home.rows_when(1)[0]) == "alpha deliver 413"
    assert ask(server.port, messages()).status == 200
    assert_at_rest(server, upstream)


def test_an_answer_before_the_body_is_complete(home: Home, server: Server, upstream: Upstream) -> None:
    """Upstream's answer to a request that is still being sent reaches the client at once."""
    upstream.rule({"early_response": True, "status": 413, "message": "Too much"}, match={"path": "/v1/files"})
    headers, body = _file_upload(45 * MIB)
    with rawhttp.Connection(server.port) as connection:
        connection.send(rawhttp.request_bytes("POST", "/v1/files", headers, body)[: 8 * MIB])
        found = connection.answer()
    assert (found.status, b"Too much" in found.body) == (413, True)
    assert attempts_of(home, home.rows_when(1)[0]) == "alpha deliver 413"
    assert_at_rest(server, upstream)
    assert_states(home, BOTH_ACTIVE)


def test_an_upstream_that_does_not_read_holds_the_client_back(tmp_path: Any) -> None:
    """While upstream takes nothing, a long body waits at the client and not in memory."""
    home = Home(tmp_path, {"CCFLARE_BODY_BUFFER_BYTES": "1000000"})
    headers, body = _file_upload(40 * MIB)
    request = rawhttp.request_bytes("POST", "/v1/files", headers, body)
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        listener.settimeout(rawhttp.DEADLINE_S)
        home.add_account("alone", "sk-ant-api03-x", f"http://127.0.0.1:{listener.getsockname()[1]}")
        with running(home) as server, rawhttp.Connection(server.port) as connection:
            before = server.resident_bytes()
            sent = pool.submit(connection.send, request)
            upstream, _ = listener.accept()
            with upstream:
                with pytest.raises(TimeoutError):
                    sent.result(1)
                assert server.resident_bytes() < before + 8 * MIB
                arrived = 0
                while arrived < len(body):
                    arrived += len(upstream.recv(MIB))
                upstream.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                assert connection.answer().body == b"{}"


@pytest.mark.parametrize("framing", ["Transfer-Encoding: chunked", "Content-Length: 36000000"])
def test_unfinished_uploads_take_nothing_from_others(framing: str, server: Server, upstream: Upstream) -> None:
    """Sixteen uploads that do not go on leave other requests their failover, their model and their session."""
    upstream.faults(alpha="529")
    name, value = framing.split(": ")
    head = rawhttp.request_bytes("POST", "/v1/messages", [*client_headers(), (name, value)])
    with ExitStack() as waiting:
        for _ in range(16):
            connection = waiting.enter_context(rawhttp.Connection(server.port))
            connection.send(head + b"1\r\n{\r\n")
        eventually(lambda: server.health()["in_flight"] == 16)
        assert ask(server.port, messages()).status == 200
        row = server.home.rows_when(1)[0]
    assert row["model"] == MODEL
    assert attempts_of(server.home, row).endswith("beta deliver 200")


@pytest.mark.parametrize("length", [0, 1, 5000, 3 * MIB])
def test_chunked_bodies_arrive_whole(length: int, server: Server, upstream: Upstream) -> None:
    """A request in chunked framing reaches upstream with the same bytes, however they were cut."""
    body = bytes(number % 251 for number in range(length))
    pieces = [body[at : at + 70_001] for at in range(0, length, 70_001)]
    headers = [*client_headers(), ("Transfer-Encoding", "chunked")]
    with rawhttp.Connection(server.port) as connection:
        head = rawhttp.request_bytes("POST", "/v1/echo", headers)
        connection.send(head + rawhttp.chunked(*pieces))
        assert connection.answer().status == 200
    entry = upstream.settled_log(1)[0]
    assert (entry.body_bytes, entry.body_sha256) == (length, hashlib.sha256(body).hexdigest())


@pytest.mark.parametrize("coding", DECODERS)
@pytest.mark.parametrize("stream", [False, True], ids=["message", "stream"])
def test_compressed_answers_pass_as_they_are(coding: str, *, stream: bool, server: Server, upstream: Upstream) -> None:
    """What upstream compressed reaches the client with the same bytes and its label, stream or not."""
    fault = {"gzip": "always", "gzip_sse": True, "coding": coding}
    upstream.rule(fault)
    found = ask(server.port, messages("Hello", stream=stream))
    assert found.header("content-encoding") == coding
    entry = upstream.settled_log(1)[0]
    assert hashlib.sha256(found.body).hexdigest() == entry.response_sha256
    assert b"stop" in DECODERS[coding](found.body)


def test_a_large_answer_arrives_whole(server: Server, upstream: Upstream) -> None:
    """20 MB of events reach the client byte for byte, and a thousand small ones in a row as well."""
    for text, stream in (("[[fake huge]]", True), ("[[fake many-events]]", True), ("[[fake huge]]", False)):
        found = ask(server.port, messages(text, stream=stream))
        assert (found.status, found.end) == (200, "whole")
        assert hashlib.sha256(found.body).hexdigest() == upstream.settled_log()[-1].response_sha256
