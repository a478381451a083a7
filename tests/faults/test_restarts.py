"""Restarts under load: nothing is corrupted, nothing that could be finished is cut, every exchange has one row."""

import os
import signal
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing

import pytest

from harness import Home, Server, Upstream, ask, eventually, messages, running
from workers_kit import Traffic, serving, traffic, workers_of

WORKERS: tuple[list[str], ...] = ([], ["--workers", "2"])
LOST_S = 0.25
SLACK_S = 0.5
"""What the machine, not the journal, may take between an answer's end and its arrival here."""


def assert_whole(home: Home) -> None:
    """Assert that the database is sound, and that its sums are those of its rows."""
    with closing(sqlite3.connect(f"file:{home.database}?mode=ro", uri=True, timeout=5)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = connection.execute("SELECT COUNT(*), COUNT(DISTINCT id) FROM requests").fetchone()
        sums = connection.execute(
            "SELECT SUM(requests) FROM (SELECT requests FROM rollup_minute UNION ALL SELECT requests FROM rollup_new)"
        ).fetchone()
    assert rows == (sums[0], sums[0])
    lines = home.app_log.read_text().splitlines()
    assert all(line.startswith(("[20", "    ")) for line in lines)


@pytest.mark.parametrize("flags", WORKERS)
def test_kill_nine_under_load_loses_a_quarter_of_a_second(flags: Sequence[str], home: Home, upstream: Upstream) -> None:
    """What ended before the last 250 ms has its row, once; sessions and limits hold in the next server."""
    server = Server(home, *flags)
    try:
        upstream.faults(alpha="429-long")
        assert ask(server.port, messages(), session="kept").status == 200
        upstream.forget()
        clients = Traffic(server.port, 4)
        clients.start()
        clients.more(60)
        pids = workers_of(server)
        killed_at = time.monotonic()
        for pid in (server.process.pid, *pids):
            os.kill(pid, signal.SIGKILL)
        clients.stop()
    finally:
        server.kill()
    sound = sum(at < killed_at - LOST_S - SLACK_S for at in clients.served_at)
    assert_whole(home)
    assert len(home.rows()) >= sound + 1
    with running(home, *flags) as server:
        assert home.states()["alpha"] == "rate_limited"
        upstream.settled_log()
        upstream.forget()
        assert ask(server.port, messages(), session="kept").status == 200
        assert [entry.account for entry in upstream.settled_log(1)] == ["beta"]
    assert_whole(home)


@pytest.mark.parametrize("flags", WORKERS)
def test_a_stop_under_load_has_a_row_for_every_answer(flags: Sequence[str], home: Home, upstream: Upstream) -> None:
    """Whoever got an answer before a gentle stop finds it in the history, exactly once, and nothing else is there."""
    with running(home, *flags) as server:
        with traffic(server, 4) as clients:
            clients.more(60)
            assert server.stop() == 0
        rows = home.rows()
        served = [row for row in rows if row["success"]]
        assert clients.served <= len(served) <= clients.served + len(clients.failures)
        assert len({row["id"] for row in rows}) == len(rows)
    assert_whole(home)
    assert "Async DB writer queue flushed" in server.log_text()


def test_a_killed_worker_takes_only_its_own_with_it(home: Home, upstream: Upstream) -> None:
    """Under load the death of a worker cuts what it served; afterwards everything works, and the ledger is right."""
    with running(home, "--workers", "2") as server:
        with traffic(server, 4) as clients:
            clients.more(40)
            killed = workers_of(server)[0]
            os.kill(killed, signal.SIGKILL)
            assert "was ended by signal 9" in server.wait_for_log(f"(pid {killed})")
            eventually(lambda: 3 in serving(server), within_s=10, what="a third worker")
            before = len(clients.failures)
            served = clients.served
            eventually(lambda: clients.served >= served + 40, within_s=10)
            assert len(clients.failures) == before <= 4
        eventually(lambda: server.health()["in_flight"] == 0)
    assert_whole(home)
