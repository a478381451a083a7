"""A process whose open files are used up: nobody is dropped without a word, nothing spins, and it comes back."""

import json
import os
import resource
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

import rawhttp
from ccflare.startup import OWN_FILES
from faultcase import assert_states, attempts_of
from harness import Home, Server, Upstream, ask, assert_at_rest, client_headers, eventually, messages, running

pytestmark = pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of another process are Linux's")


def _cpu_s(server: Server) -> float:
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _stalled(server: Server) -> rawhttp.Connection:
    connection = rawhttp.Connection(server.port)
    body = messages("[[fake stall]]", stream=True)
    connection.send(rawhttp.request_bytes("POST", "/v1/messages", client_headers("stalled"), body))
    connection.body_until(b"message_start")
    return connection


FILES = 96
MOST = (FILES - OWN_FILES) // 2


def test_clients_beyond_the_limit_are_told_so(home: Home, upstream: Upstream) -> None:
    """When all there is room for are being served, others get a 503 at once, the log says why, and nothing spins."""
    with running(home, files=FILES) as server, ExitStack() as stack:
        ask(server.port, messages())
        descriptors = server.descriptors()
        streams = [stack.enter_context(_stalled(server)) for _ in range(MOST)]
        for _ in range(20):
            with rawhttp.Connection(server.port) as turned_away:
                answer = turned_away.answer()
                assert (answer.status, json.loads(answer.body)["error"]) == (503, "Too many connections")
                assert turned_away.ended() == "cut"
        server.wait_for_log("Too many connections: 1 clients were turned away because 16 are connected")
        assert server.log_text().count("Too many connections") == 1
        _assert_no_spin(server)
        streams[0].close()
        eventually(lambda: _status(server) == 200, what="room for one")
        stack.close()
        rows = home.rows_when(MOST + 2)
        assert [row["status_code"] for row in rows].count(499) == MOST
        assert len(rows) == MOST + 2
        assert_at_rest(server, upstream, descriptors=descriptors)
        assert_states(home, {"alpha": "active", "beta": "active"})


def test_idle_clients_make_room(home: Home, upstream: Upstream) -> None:
    """Connections without a request keep nobody out: an idle one is closed for each that comes beyond the limit."""
    with running(home, files=FILES) as server, ExitStack() as stack:
        for _ in range(3 * MOST):
            stack.enter_context(rawhttp.Connection(server.port))
        assert ask(server.port, messages()).status == 200
        assert server.descriptors() < FILES - 20
        assert "Too many connections" not in server.log_text()


def test_when_there_is_no_descriptor_at_all(home: Home, upstream: Upstream) -> None:
    """Without a descriptor a request fails in words, new clients wait until there is one again, and nothing spins."""
    with running(home) as server:
        connection = rawhttp.Connection(server.port)
        with connection:
            connection.send(rawhttp.request_bytes("GET", "/health", []))
            assert connection.answer().status == 200
            descriptors = server.descriptors()
            limits = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
            connection.send(rawhttp.request_bytes("POST", "/v1/messages", client_headers(), messages()))
            found = connection.answer()
            assert (found.status, b"Too many open files" in found.body) == (503, True)
            with ExitStack() as stack:
                for _ in range(50):
                    stack.enter_context(rawhttp.Connection(server.port))
                waiting = stack.enter_context(rawhttp.Connection(server.port))
                waiting.send(rawhttp.request_bytes("POST", "/v1/messages", client_headers(), messages()))
                server.wait_for_log("Too many open files: new clients wait until others have left")
                _assert_no_spin(server)
                resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, limits)
                assert waiting.answer().status == 200
        server.wait_for_log("There are descriptors again")
        server.wait_for_log("Failed to proxy request with account alpha: connect_error")
        eventually(lambda: _status(server) == 200, what="it serves again")
        failed, served, _ = home.rows_when(3)
        assert attempts_of(home, failed) == "alpha retry None, alpha retry None, alpha retry None, beta retry None"
        assert attempts_of(home, served) == "alpha deliver 200"
        assert_at_rest(server, upstream, descriptors=descriptors + 1)
        assert_states(home, {"alpha": "active", "beta": "active"})


def _status(server: Server) -> int | None:
    try:
        return ask(server.port, messages()).status
    except OSError:  # turned away before it had sent everything
        return None


def _assert_no_spin(server: Server) -> None:
    began = _cpu_s(server)
    time.sleep(0.3)
    assert _cpu_s(server) - began < 0.15
