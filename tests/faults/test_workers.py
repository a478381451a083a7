"""Several workers serve as one: none is missed when it dies, all are replaced without a cut, and end together."""

import os
import signal
import socket
import sqlite3
from contextlib import closing
from typing import Any

import pytest

import rawhttp
from harness import (
    Home,
    Server,
    Upstream,
    assert_at_rest,
    client_headers,
    eventually,
    messages,
    running,
    timer_slack_ns,
)
from workers_kit import alive, serving, traffic, workers_of


def _open_stream(port: int, text: str) -> rawhttp.Connection:
    connection = rawhttp.Connection(port)
    body = messages(text, stream=True)
    connection.send(rawhttp.request_bytes("POST", "/v1/messages", client_headers("life"), body))
    connection.body_until(b"message_start")
    return connection


@pytest.fixture
def pair(home: Home, upstream: Upstream) -> Any:
    """A server with two workers."""
    with running(home, "--workers", "2") as server:
        yield server
        if server.process.poll() is None:
            assert_at_rest(server, upstream)


def test_threads_of_workers_get_the_interpreter_soon(pair: Server) -> None:
    """As those of a server that is one process do."""
    assert {timer_slack_ns(pid) for pid in workers_of(pair)} == {1}


def test_a_reload_under_load_fails_no_request(home: Home, pair: Server) -> None:
    """While all workers are replaced, every request is answered, an open stream comes to its end, each has one row."""
    stream = _open_stream(pair.port, '[[fake {"pace": 0.2}]]')
    with traffic(pair) as clients:
        clients.more(20)
        old = workers_of(pair)
        pair.signal(signal.SIGHUP)
        pair.wait_for_log("Reloaded: 2 workers are new", within_s=15)
        clients.more(50)
        assert not set(old) & set(workers_of(pair)[-2:])
        answer = stream.answer()
        assert (answer.end, b"message_stop" in answer.body) == ("whole", True)
        stream.close()
    assert clients.failures == []
    eventually(lambda: not any(map(alive, old)), within_s=15, what="replaced workers end")
    rows = home.rows_when(clients.served + 1)
    assert len(rows) == clients.served + 1
    assert {(row["status_code"], row["success"]) for row in rows} == {(200, 1)}


def test_a_reload_tells_how_many_workers_are_new(home: Home, upstream: Upstream) -> None:
    """One or several; when the first new one does not serve it says that, and nothing of new ones."""
    home.settings_file.write_text('{"workers": 2}')
    with running(home) as server:
        home.settings_file.write_text('{"workers": 1}')
        server.signal(signal.SIGHUP)
        server.wait_for_log("Reloading: 2 workers are replaced", within_s=15)
        server.wait_for_log("Reloaded: 1 worker is new", within_s=15)
        with closing(sqlite3.connect(home.database)) as db:
            schema = db.execute("PRAGMA user_version").fetchone()[0]
            db.execute("PRAGMA user_version = 9999")
            server.signal(signal.SIGHUP)
            server.wait_for_log("Reloading: 1 worker is replaced", within_s=15)
            server.wait_for_log("Reloading ends here", within_s=15)
            db.execute(f"PRAGMA user_version = {schema}")
        server.signal(signal.SIGHUP)
        eventually(lambda: server.log_text().count("Reloaded: 1 worker is new") == 2, within_s=15)
    assert server.log_text().count("Reloaded: ") == 2


def test_a_worker_that_is_told_to_stop_finishes_and_is_replaced(home: Home, pair: Server) -> None:
    """SIGTERM to one worker lets it finish what it serves; another takes its place at once; the port stays theirs."""
    done = home.ccflare("--serve", "--workers", "2", "--port", str(pair.port), check=False)
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (1, 1)
    assert "Address already in use" in done.stderr
    stream = _open_stream(pair.port, '[[fake {"pace": 0.15}]]')
    old = workers_of(pair)
    for pid in old:
        os.kill(pid, signal.SIGTERM)
    eventually(lambda: {3, 4} <= serving(pair), within_s=10, what="two other workers")
    assert stream.answer().end == "whole"
    stream.close()
    eventually(lambda: not any(map(alive, old)), within_s=10)


def test_all_workers_end_gently(home: Home, pair: Server) -> None:
    """Asked to stop, all workers finish their streams, every row is written, and the server exits 0."""
    streams = [_open_stream(pair.port, '[[fake {"pace": 0.08}]]') for _ in range(4)]
    pids = workers_of(pair)
    os.killpg(pair.process.pid, signal.SIGINT)  # as a terminal does, and a service manager
    for stream in streams:
        assert stream.answer().end == "whole"
        stream.close()
    assert pair.process.wait(15) == 0
    assert not any(map(alive, pids))
    assert [(row["status_code"], row["success"]) for row in home.rows()] == [(200, 1)] * 4


def test_a_second_signal_ends_all_at_once(home: Home, pair: Server, upstream: Upstream) -> None:
    """Asked twice, all workers cut what is open, record it and go."""
    streams = [_open_stream(pair.port, "[[fake stall]]") for _ in range(3)]
    pair.signal(signal.SIGTERM)
    eventually(lambda: not _accepts(pair.port))
    assert pair.process.poll() is None
    pair.signal(signal.SIGTERM)
    assert pair.process.wait(10) == 0
    for stream in streams:
        assert stream.answer().end != "whole"
        stream.close()
    assert [row["success"] for row in home.rows()] == [0] * 3
    eventually(lambda: upstream.in_flight == 0)


def test_workers_do_not_outlive_their_supervisor(home: Home, pair: Server) -> None:
    """When the supervisor is killed its workers accept nothing more, finish and end; the port is free."""
    stream = _open_stream(pair.port, '[[fake {"pace": 0.05}]]')
    pids = workers_of(pair)
    pair.kill()
    assert stream.answer().end == "whole"
    stream.close()
    eventually(lambda: not any(map(alive, pids)), within_s=10)
    socket.create_server(("127.0.0.1", pair.port)).close()
    assert len(home.rows()) == 1


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
