"""Two workers are one server: what one learns the other goes by at once, and whoever asks one is told of both."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

import rawhttp
from harness import Home, Server, Upstream, assert_at_rest, assert_upstream_clean, eventually, messages, running
from workers_kit import Desk, desks, more_desks

FORM = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nthe content\r\n--x--\r\n'
FILES = [
    ("x-api-key", "k"),
    ("anthropic-version", "2023-06-01"),
    ("anthropic-beta", "files-api-2025-04-14"),
    ("content-type", "multipart/form-data; boundary=x"),
]


@pytest.fixture
def server(home: Home, upstream: Upstream) -> Iterator[Server]:
    """A server with two workers."""
    with running(home, "--workers", "2") as server:
        yield server
        assert_at_rest(server, upstream)


def asked(upstream: Upstream, count: int) -> list[str | None]:
    return [entry.account for entry in upstream.settled_log(count)]


def states(desk: Desk) -> dict[str, str]:
    return {account["name"]: account["state"] for account in desk.get("/api/accounts")}


def known(desk: Desk, name: str) -> dict[str, int]:
    return {account["name"]: account[name] for account in desk.get("/api/accounts")}


def test_a_limit_seen_by_one_is_known_to_the_other(server: Server, home: Home, upstream: Upstream) -> None:
    """The other worker does not ask a limited account, though the store cannot say so; nor one that is paused."""
    with desks(server) as (one, other):
        upstream.faults(alpha="429-long")
        with closing(sqlite3.connect(home.database, isolation_level=None, timeout=10)) as locked:
            locked.execute("BEGIN IMMEDIATE")
            assert one.ask(messages()).status == 200
            eventually(lambda: states(other)["alpha"] == "rate_limited", what="what one has seen is known")
            locked.execute("ROLLBACK")
        assert other.ask(messages("another session")).status == 200
        assert asked(upstream, 3) == ["alpha", "beta", "beta"]
        upstream.forget()
        ids = {account["name"]: account["id"] for account in one.get("/api/accounts")}
        for name, account_id in ids.items():
            one.post(f"/api/accounts/{account_id}/{'resume' if name == 'alpha' else 'pause'}")
        eventually(lambda: states(other) == {"alpha": "active", "beta": "paused"}, what="what one was told is known")
        assert other.ask(messages("a third session")).status == 200
        assert asked(upstream, 1) == ["alpha"]


def test_a_session_and_an_object_have_one_account_at_both(server: Server, upstream: Upstream) -> None:
    """A session goes where the other worker's exchange has bound it; a file is asked of the account that has it."""
    with desks(server) as (one, other):
        upstream.faults(alpha={"status": 529, "retry_after": 3600})
        assert one.ask(messages(), session="kept").status == 200
        upstream.forget()
        eventually(lambda: known(other, "sessions") == {"alpha": 0, "beta": 1}, what="the session is known")
        assert other.ask(messages(), session="kept").status == 200
        assert asked(upstream, 1) == ["beta"]
        upstream.forget()
        one.connection.send(rawhttp.request_bytes("POST", "/v1/files", FILES, FORM))
        made = json.loads(one.connection.answer().body)["id"]
        upstream.faults(alpha="429-long")
        assert one.ask(messages(), session="elsewhere").status == 200

        def refused() -> bool:
            return other.ask(method="GET", target=f"/v1/files/{made}").status == 429

        eventually(refused, what="the file's owner is known")
        upstream.forget()
        assert refused()
        assert asked(upstream, 0) == []


def test_parallel_first_requests_stay_together(server: Server, upstream: Upstream) -> None:
    """Sessions whose first requests land on both workers at once have one account each, though either would do."""
    with more_desks(server, 2) as ((one, busy), (other, _)):
        for account in one.get("/api/accounts"):
            one.post(f"/api/accounts/{account['id']}/priority", priority=0)
        eventually(lambda: known(other, "priority") == {"alpha": 0, "beta": 0}, what="both count the same")
        upstream.rule({"delay_headers": 0.02})
        for number in range(8):
            busy.send(messages(), session=f"busy {number}")  # so that one worker would choose another account
            for desk in (one, other):
                desk.send(messages(), session=f"session {number}")
            assert [desk.answer().status for desk in (one, other, busy)] == [200, 200, 200]
    assert_upstream_clean(upstream)
    assert len(upstream.log) == 24
    assert {entry.account for entry in upstream.log} == {"alpha", "beta"}


def test_whoever_asks_one_is_told_of_both(server: Server, home: Home, upstream: Upstream) -> None:
    """Requests that run or have ended, log lines, health and changed settings of one worker show at the other."""
    with desks(server) as (one, other), ExitStack() as stack:
        targets = ("/api/requests/stream", "/api/logs/stream")
        streams = [stack.enter_context(closing(_Listener(server.port, target))) for target in targets]
        upstream.rule({"delay_headers": 0.6}, times=2)
        for desk in (one, other):
            desk.send(messages())
        watcher = stack.enter_context(closing(Desk(server.port)))
        eventually(lambda: watcher.get("/health")["in_flight"] == 2, what="both count")
        running_now = watcher.get("/api/requests/running")
        assert (running_now["total"], len(running_now["requests"])) == (2, 2)
        assert [desk.answer().status for desk in (one, other)] == [200, 200]
        for row in home.rows_when(2):
            streams[0].wait_for(row["id"])
        streams[1].wait_for_count("completed for alpha", 2)
        health = one.get("/health")
        assert health["workers"] == {"total": 2, "answering": 2}
        answer = one.ask(json.dumps({"retry_attempts": 0}).encode(), method="PATCH", target="/api/config")
        assert answer.status == 200
        upstream.faults(alpha="500", beta="500")
        eventually(lambda: server.log_text().count("Settings changed: retry_attempts") == 2, what="both take it over")
        other.ask(messages("a new session"))
        assert asked(upstream, 4)[2:] == ["alpha", "beta"]


def test_two_writers_keep_one_ledger(server: Server, home: Home) -> None:
    """Rows of both workers are all there, and their sums say the same."""
    with desks(server) as pair:

        def work(desk: Desk, name: str) -> None:
            for number in range(100):
                assert desk.ask(messages(f"{name} {number}"), session=f"{number % 7}").status == 200

        threads = [threading.Thread(target=work, args=(desk, f"{n}")) for n, desk in enumerate(pair)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        rows = home.rows_when(200)
        stats = pair[0].get("/api/stats")
        analytics = pair[1].get("/api/analytics?range=1h")
    assert len(rows) == 200
    assert stats["requests"] == analytics["overview"]["requests"] == 200
    with closing(sqlite3.connect(f"file:{home.database}?mode=ro", uri=True)) as connection:
        sums = connection.execute(
            "SELECT SUM(requests), SUM(output_tokens), SUM(cost_microusd) FROM "
            "(SELECT requests, output_tokens, cost_microusd FROM rollup_minute UNION ALL "
            "SELECT requests, output_tokens, cost_microusd FROM rollup_new)"
        ).fetchone()
    assert sums == (200, sum(row["output_tokens"] for row in rows), sum(row["cost_microusd"] for row in rows))


class _Listener:
    """Follows a stream of events in a thread."""

    def __init__(self, port: int, target: str) -> None:
        self._connection = rawhttp.Connection(port)
        self.close = self._connection.close
        self._connection.send(rawhttp.request_bytes("GET", target, [("accept", "text/event-stream")], None))
        self._connection.body_until(b"retry")

    def wait_for(self, words: str) -> None:
        self._connection.body_until(words.encode())

    def wait_for_count(self, words: str, count: int) -> None:
        while self._connection.body_until(words.encode()).count(words.encode()) < count:
            self._connection.more()
