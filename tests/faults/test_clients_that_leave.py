"""Clients that go away or do not read: upstream is let go at once, nobody is blamed, memory stays bounded."""

import resource
import time
from collections.abc import Callable

import pytest

import rawhttp
from faultcase import assert_states, attempts_of
from harness import (
    Home,
    Server,
    Upstream,
    ask,
    assert_at_rest,
    assert_upstream_clean,
    client_headers,
    eventually,
    messages,
)

End = Callable[[rawhttp.Connection], None]
ENDS = [rawhttp.Connection.close, rawhttp.Connection.reset]
SOON_S = 1.0


def _begin(server: Server, text: str, *, stream: bool = True) -> rawhttp.Connection:
    connection = rawhttp.Connection(server.port)
    headers = client_headers("leaving")
    connection.send(rawhttp.request_bytes("POST", "/v1/messages", headers, messages(text, stream=stream)))
    return connection


def _assert_let_go(home: Home, server: Server, upstream: Upstream, left_at: float) -> None:
    """Assert that upstream saw the client leave within a second, and that there is one row that says so."""
    entry = upstream.settled_log(1)[-1]
    assert entry.aborted == "client", entry
    assert entry.ended_at is not None
    assert entry.ended_at - left_at < SOON_S
    row = home.rows_when(1)[-1]
    assert (row["status_code"], row["success"]) == (499, 0)
    assert row["error_message"] == "client disconnected"
    assert attempts_of(home, row) in {"alpha cancelled None", "alpha cancelled 200"}
    assert_at_rest(server, upstream)
    assert_states(home, {"alpha": "active", "beta": "active"})
    assert ask(server.port, messages()).status == 200


@pytest.mark.parametrize("end", ENDS, ids=["close", "reset"])
def test_leaving_before_the_head(home: Home, server: Server, upstream: Upstream, end: End) -> None:
    """A client that leaves before it has an answer takes its upstream request with it."""
    connection = _begin(server, "[[fake hang]]")
    eventually(lambda: upstream.in_flight == 1)
    left_at = time.monotonic()
    end(connection)
    _assert_let_go(home, server, upstream, left_at)


@pytest.mark.parametrize("end", ENDS, ids=["close", "reset"])
def test_leaving_in_mid_stream(home: Home, server: Server, upstream: Upstream, end: End) -> None:
    """A client that leaves in the middle of a stream ends it upstream too; the bytes it had are counted."""
    connection = _begin(server, "[[fake stall]]")
    connection.body_until(b"message_start")
    left_at = time.monotonic()
    end(connection)
    _assert_let_go(home, server, upstream, left_at)
    row = home.rows_when(1)[0]
    assert row["response_bytes"] > 0
    assert row["first_byte_ms"] is not None


def test_leaving_between_two_tries(home: Home, upstream: Upstream, server: Server) -> None:
    """A client that leaves while a repetition is waited for is not served behind its back."""
    upstream.rule({"status": 529, "headers": {"retry-after-ms": "5000"}})
    connection = _begin(server, "Hello")
    eventually(lambda: len(upstream.log) == 1)
    server.wait_for_log("Failed to proxy request with account alpha")
    connection.close()
    row = home.rows_when(1)[0]
    assert (row["status_code"], attempts_of(home, row)) == (499, "alpha retry 529")
    assert_at_rest(server, upstream)
    assert len(upstream.log) == 1


def test_leaving_in_the_middle_of_the_request(home: Home, server: Server, upstream: Upstream) -> None:
    """A request that is cut short never reaches upstream."""
    connection = rawhttp.Connection(server.port)
    request = rawhttp.request_bytes("POST", "/v1/messages", client_headers(), messages("x" * 5000))
    connection.send(request[:-1000])
    eventually(lambda: server.health()["in_flight"] == 1)
    connection.close()
    row = home.rows_when(1)[0]
    assert (row["status_code"], row["attempts"]) == (499, [])
    assert_at_rest(server, upstream)
    assert upstream.log == []


@pytest.mark.parametrize("end", ENDS, ids=["close", "reset"])
def test_leaving_in_the_middle_of_a_long_upload(home: Home, server: Server, upstream: Upstream, end: End) -> None:
    """A request too long to keep, cut short by its client, is cut short upstream too."""
    connection = rawhttp.Connection(server.port)
    fields = [*client_headers(), ("Content-Length", str(100_000_000))]
    connection.send(rawhttp.request_bytes("POST", "/v1/files", fields) + b"x" * 5_000_000)
    eventually(lambda: upstream.in_flight == 1)
    left_at = time.monotonic()
    end(connection)
    _assert_let_go(home, server, upstream, left_at)


def test_a_slow_reader_slows_upstream(home: Home, server: Server, upstream: Upstream) -> None:
    """While a client does not read, upstream is not read either: memory stays small and nothing is lost."""
    ask(server.port, messages())
    before = server.resident_bytes()
    connection = rawhttp.Connection(server.port, receive_buffer=4096)
    body = messages('[[fake {"size": 60000000}]]')
    connection.send(rawhttp.request_bytes("POST", "/v1/messages", client_headers(), body))
    connection.body_until(b"\r\n\r\n")
    eventually(lambda: upstream.in_flight == 1)
    _assert_still(lambda: upstream.in_flight == 1 and server.resident_bytes() < before + 16_000_000)
    found = connection.answer()
    connection.close()
    assert (found.end, len(found.body) > 60_000_000) == ("whole", True)
    assert server.resident_bytes() < before + 24_000_000
    assert home.rows_when(2)[-1]["response_bytes"] == len(found.body)
    assert_upstream_clean(upstream)


def _assert_still(question: Callable[[], bool], *, for_s: float = 0.7) -> None:
    """Assert that something stays true for a while."""
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        assert question()
        time.sleep(0.02)


@pytest.fixture
def many() -> int:
    """A thousand, where this process may have the two descriptors that each one costs it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = 4096 if hard == resource.RLIM_INFINITY else min(hard, 4096)
    if soft != resource.RLIM_INFINITY and soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return min(1000, (files - 256) // 2)


def test_many_that_leave_at_once_leave_nothing(many: int, home: Home, server: Server, upstream: Upstream) -> None:
    """A thousand clients that vanish in mid-stream leave neither exchange, upstream request nor descriptor."""
    ask(server.port, messages())
    descriptors = server.descriptors()
    connections = [_begin(server, "[[fake stall]]") for _ in range(many)]
    for connection in connections:
        connection.body_until(b"message_start")
    for number, connection in enumerate(connections):
        ENDS[number % 2](connection)
    rows = home.rows_when(many + 1, within_s=20)
    assert [row["status_code"] for row in rows[1:]] == [499] * many
    assert {attempts_of(home, row) for row in rows[1:]} == {"alpha cancelled 200"}
    assert_at_rest(server, upstream, descriptors=descriptors)
    assert len(home.rows()) == many + 1
    assert_states(home, {"alpha": "active", "beta": "active"})
    assert ask(server.port, messages()).status == 200


def test_an_upstream_that_is_slower_than_its_client_waits(home: Home, server: Server, upstream: Upstream) -> None:
    """A client that gives up and asks again, as SDKs do, leaves nothing behind; one with patience is served."""
    upstream.rule({"delay_headers": 0.5})
    for tries in range(1, 4):
        connection = _begin(server, "Hello")
        eventually(lambda: upstream.in_flight == 1)
        connection.close()
        assert len(upstream.settled_log(tries)) == tries
    assert ask(server.port, messages(), session="leaving").status == 200
    rows = home.rows_when(4)
    assert [row["status_code"] for row in rows] == [499, 499, 499, 200]
    assert [attempts_of(home, row) for row in rows] == ["alpha cancelled None"] * 3 + ["alpha deliver 200"]
    assert [entry.aborted for entry in upstream.settled_log(4)] == ["client"] * 3 + [None]
    assert_at_rest(server, upstream)
    assert_states(home, {"alpha": "active", "beta": "active"})
