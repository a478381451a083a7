"""The life of a server process: it ends gently, starts again with what it knew, says why it cannot."""

import json
import re
import signal
import socket
import time
from contextlib import closing
from typing import Any

import pytest

import rawhttp
from faultcase import BOTH_LIMITED, assert_states, attempts_of
from harness import (
    Home,
    Server,
    Upstream,
    ask,
    client_headers,
    eventually,
    messages,
    running,
    timer_slack_ns,
)


def _open_stream(server: Server, text: str) -> rawhttp.Connection:
    connection = rawhttp.Connection(server.port)
    body = messages(text, stream=True)
    connection.send(rawhttp.request_bytes("POST", "/v1/messages", client_headers("life"), body))
    connection.body_until(b"message_start")
    return connection


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_streams_finish(number: signal.Signals, home: Home, server: Server, upstream: Upstream) -> None:
    """Asked to stop, the server takes nobody new, finishes open streams, writes the rows and exits 0."""
    streams = [_open_stream(server, '[[fake {"pace": 0.08}]]') for _ in range(3)]
    idle, follower = rawhttp.Connection(server.port), rawhttp.Connection(server.port)
    follower.send(rawhttp.request_bytes("GET", "/api/requests/stream", client_headers("life")))
    follower.body_until(b"retry:")
    server.signal(number)
    eventually(lambda: not _accepts(server.port), what="no new connections")
    for stream in streams:
        found = stream.answer()
        assert (found.end, b"message_stop" in found.body) == ("whole", True)
        stream.close()
    assert idle.ended() == "cut"
    idle.close()
    follower.close()
    assert server.process.wait(10) == 0
    assert "Stopping: 3 requests are still running" in server.log_text()  # who follows the API is none of them
    rows = home.rows()
    assert [(row["status_code"], row["success"]) for row in rows] == [(200, 1)] * 3
    assert "Async DB writer queue flushed" in server.log_text()
    assert re.search(r"INFO: \[Server\]", server.log_text().splitlines()[-1])


def _accepts(port: int, address: str = "127.0.0.1") -> bool:
    try:
        socket.create_connection((address, port), 1).close()
    except OSError:
        return False
    return True


def test_a_second_signal_ends_at_once(home: Home, server: Server, upstream: Upstream) -> None:
    """Asked twice, the server cuts what is open, records it and goes."""
    stream = _open_stream(server, "[[fake stall]]")
    server.signal(signal.SIGTERM)
    eventually(lambda: not _accepts(server.port))
    assert server.process.poll() is None
    asked = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.process.wait(5) == 0
    assert time.monotonic() - asked < 3
    assert stream.answer().end != "whole"
    stream.close()
    row = home.rows()[0]
    assert (row["success"], attempts_of(home, row)) == (0, "alpha cancelled 200")
    eventually(lambda: upstream.in_flight == 0)


def test_the_time_to_finish_is_limited(make_home: Any, upstream: Upstream) -> None:
    """A stream that does not end is cut when the time for stopping is over."""
    home = make_home({"CCFLARE_SHUTDOWN_TIMEOUT_MS": "300"})
    with running(home) as server:
        stream = _open_stream(server, "[[fake stall]]")
        assert server.stop(within_s=5) == 0
        assert stream.answer().end != "whole"
        stream.close()
        assert len(home.rows()) == 1


def test_kill_and_restart_keep_sessions_and_limits(home: Home, upstream: Upstream) -> None:
    """After kill -9 sessions are where their prompt cache is, limits hold, and every row is there."""
    server = Server(home)
    try:
        upstream.faults(alpha={"status": 529, "retry_after": 3600})
        assert ask(server.port, messages(), session="kept").status == 200
        upstream.forget()
        assert ask(server.port, messages(), session="other").status == 200
        assert [entry.account for entry in upstream.settled_log()] == ["alpha"]
        home.rows_when(2)
        _wait_for_bindings(home, 2)
    finally:
        server.kill()
    upstream.forget()
    with running(home) as server:
        for session in ("kept", "other"):
            assert ask(server.port, messages(), session=session).status == 200
        assert [entry.account for entry in upstream.settled_log(2)] == ["beta", "alpha"]
        upstream.faults(alpha="429-long", beta="429-long")
        assert ask(server.port, messages()).status == 429
        assert_states(home, BOTH_LIMITED)
        server.kill()
    upstream.forget()
    with running(home) as server:
        assert ask(server.port, messages()).status == 429
        assert upstream.log == []
    assert len(home.rows()) == 6


def _wait_for_bindings(home: Home, count: int) -> None:
    import sqlite3

    with closing(sqlite3.connect(home.database)) as connection:
        eventually(lambda: connection.execute("SELECT COUNT(*) FROM sessions").fetchone()[0] >= count)


def test_files_are_the_users_own(home: Home, server: Server, upstream: Upstream) -> None:
    """Database, settings and log can be read by their owner only."""
    ask(server.port, messages())
    home.rows_when(1)
    files = [*home.path.glob("ccflare.db*"), home.settings_file, home.app_log]
    assert {oct(file.stat().st_mode & 0o777) for file in files} == {"0o600"}
    assert oct(home.app_log.parent.stat().st_mode & 0o777) == "0o700"


def test_two_servers_share_a_store(home: Home, server: Server, upstream: Upstream) -> None:
    """A second server on the same database serves, and all rows of both are there."""
    with running(Home(home.path, {"CCFLARE_LOG_DIR": str(home.path / "second")})) as second:
        for number in range(10):
            for one in (server, second):
                assert ask(one.port, messages(f"{number}")).status == 200
        assert len(home.rows_when(20)) == 20
        home.ccflare("--pause", "alpha")
        server.soon(lambda: server.health()["accounts"]["paused"] == 1)
        second.soon(lambda: second.health()["accounts"]["paused"] == 1)


def test_servers_on_one_store_know_each_others_sessions(home: Home, server: Server, upstream: Upstream) -> None:
    """What one server has bound another on the same database goes by, though each was started by itself."""
    with running(Home(home.path, {"CCFLARE_LOG_DIR": str(home.path / "second")})) as second:
        upstream.faults(alpha={"status": 529, "retry_after": 3600})
        assert ask(server.port, messages(), session="kept").status == 200
        upstream.forget()
        eventually(lambda: _sessions(second) == {"alpha": 0, "beta": 1}, what="the other server's session")
        assert ask(second.port, messages(), session="kept").status == 200
        assert [entry.account for entry in upstream.settled_log(1)] == ["beta"]


def _sessions(server: Server) -> dict[str, int]:
    accounts = json.loads(ask(server.port, method="GET", target="/api/accounts", headers=[]).body)
    return {account["name"]: account["sessions"] for account in accounts}


def test_a_busy_port_is_one_clear_line(home: Home, server: Server) -> None:
    """A port that is taken ends the start with what to do about it; the one that has it goes on."""
    other = Home(home.path, home.settings)
    done = other.ccflare("--serve", "--port", str(server.port), check=False)
    assert done.returncode != 0
    assert done.stdout == ""
    assert "Address already in use" in done.stderr
    assert str(server.port) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert server.health()["status"] == "ok"


def test_both_loopback_addresses_answer(server: Server) -> None:
    """The server listens on 127.0.0.1 and, where the machine has it, on ::1."""
    assert ask(server.port, method="GET", target="/health", headers=[]).status == 200
    assert _accepts(server.port, "::1") == _has_loopback_6()


def _has_loopback_6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_threads_get_the_interpreter_soon(server: Server) -> None:
    """The server's waits are as short as it means them to be: see `startup.share_interpreter`."""
    assert timer_slack_ns(server.process.pid) == 1
