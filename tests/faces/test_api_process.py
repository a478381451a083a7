"""The API of a real server, over real sockets: the calls that users' scripts make, and who is let in."""

import contextlib
import json
import re
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import rawhttp
from harness import CLIENT_KEY, Home, Server, Upstream, ask, eventually, running

JSON = [("Content-Type", "application/json")]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    made = Upstream("one", "two")
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that has served one request and refused another."""
    home = Home(tmp_path_factory.mktemp("home"))
    home.add_accounts(upstream, "one", "two")
    with running(home) as made:
        assert ask(made.port).status == 200
        assert ask(made.port, b"{}").status == 400
        home.rows_when(2)
        yield made


def get(server: Server, target: str) -> Any:
    """Ask as curl does."""
    answer = ask(server.port, method="GET", target=target, headers=[("Accept", "*/*"), ("User-Agent", "curl/8.5.0")])
    assert answer.status == 200, answer.body
    assert answer.header("content-type") == "application/json"
    return json.loads(answer.body)


def send(server: Server, method: str, target: str, body: object) -> tuple[int, Any]:
    answer = ask(server.port, json.dumps(body).encode(), method=method, target=target, headers=JSON)
    return answer.status, json.loads(answer.body)


def test_scripts_for_rate_limits_find_their_fields(server: Server) -> None:
    """`.[] | {name, rate_limit_status, rate_limit_reset}` works on `/api/accounts`."""
    found = [
        (each["name"], each["rate_limit_status"], each["rate_limit_reset"]) for each in get(server, "/api/accounts")
    ]
    assert [name for name, _, _ in found] == ["one", "two"]


def test_scripts_for_statistics_find_their_fields(server: Server) -> None:
    """`/api/stats`, `/api/requests?limit=10&status=error` and `/api/analytics?range=...` tell what happened."""
    assert get(server, "/api/stats")["requests"] == 2
    page = get(server, "/api/requests?limit=10&status=error")
    assert [request["status_code"] for request in page["requests"]] == [400]
    for period in ("1h", "24h", "7d"):
        assert get(server, f"/api/analytics?range={period}")["overview"]["requests"] == 2
    narrow = get(server, "/api/analytics?range=1h&model=claude-3-opus&status=success")
    assert narrow["overview"]["requests"] == 0
    family = get(server, "/api/analytics?range=1h&model=claude-sonnet&status=success")
    assert family["overview"]["requests"] == 1


def test_health_is_as_scripts_know_it(server: Server) -> None:
    """`status`, `accounts` and `uptime` are where they were."""
    health = get(server, "/health")
    assert health["status"] == "ok"
    assert health["accounts"]["total"] == health["accounts"]["active"] == 2
    assert health["uptime"] > 0


def test_a_request_is_shown_whole(server: Server) -> None:
    """The details of a request have its attempts, and its payload without the client's key."""
    [request] = get(server, "/api/requests?status=success")["requests"]
    found = eventually(lambda: get(server, f"/api/requests/{request['id']}"))
    assert [attempt["account"] for attempt in found["attempts"]] == [request["account"]]
    assert CLIENT_KEY not in json.dumps(found)
    assert "sk-ant" not in json.dumps(found).replace("sk-ant-***", "")


def test_a_paused_account_gets_no_request_from_then_on(server: Server, upstream: Upstream) -> None:
    """Pausing by the API counts for the very next request; resuming too."""
    accounts = {account["name"]: account["id"] for account in get(server, "/api/accounts")}
    assert send(server, "POST", f"/api/accounts/{accounts['one']}/pause", {})[0] == 200
    upstream.forget()
    assert ask(server.port, session="paused").status == 200
    assert [entry.account for entry in upstream.settled_log()] == ["two"]
    assert send(server, "POST", f"/api/accounts/{accounts['one']}/resume", {})[1]["state"] == "active"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("Content-Type", "text/plain")], 415),
        ([], 415),
        ([*JSON, ("Origin", "https://evil.example")], 403),
        ([*JSON, ("Origin", "null")], 403),
    ],
)
def test_web_pages_change_nothing(server: Server, headers: list[rawhttp.Pair], status: int) -> None:
    """A change without a JSON content type, or from a foreign page, is refused, in the API's own shape."""
    body = b'{"name": "evil", "api_key": "sk-ant-api03-evil"}'
    answer = ask(server.port, body, target="/api/accounts", headers=headers)
    assert answer.status == status
    assert "error" in json.loads(answer.body)
    assert "evil" not in [account["name"] for account in get(server, "/api/accounts")]


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("PUT", "/api/accounts"), ("TRACE", "/api/accounts"), ("PATCH", "/api/accounts"), ("POST", "/api/nothing"),
        ("POST", "/api/accounts/x%2Fpause"), ("PUT", "/api/docs"), ("DELETE", "/api/stats?x=1"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("headers", [[], JSON, [("Content-Type", "text/plain")]])
def test_what_no_route_owns_is_not_found_whatever_its_type(
    server: Server, method: str, target: str, headers: list[rawhttp.Pair]
) -> None:
    """Nobody is asked for a content type by a call that there is not."""
    answer = ask(server.port, b"{}", method=method, target=target, headers=headers)
    assert (answer.status, json.loads(answer.body)) == (404, {"error": "Not Found"})


@pytest.mark.parametrize("target", ["/api/accounts/x/pause", "/api/accounts/%78/pa%75se?y=1"])
def test_a_call_that_there_is_needs_its_type_however_it_is_spelt(server: Server, target: str) -> None:
    """A path is told apart as it is routed."""
    assert ask(server.port, b"{}", target=target, headers=[]).status == 415
    assert ask(server.port, b"{}", target=target, headers=JSON).status in {400, 404}


def test_foreign_hosts_see_nothing(server: Server) -> None:
    """A host that is not ours, as DNS rebinding has it, is refused for reads too; no answer permits other origins."""
    with rawhttp.Connection(server.port) as connection:
        connection.send(rawhttp.request_bytes("GET", "/api/accounts", [], host="evil.example"))
        assert connection.answer().status == 403
    answer = ask(server.port, method="GET", target="/api/accounts", headers=[])
    assert answer.header("access-control-allow-origin") is None


@pytest.mark.parametrize("target", ["/api/nothing", "/api/%2e%2e/v1/messages", "/api/accounts%2Fx", "/api/stats/"])
def test_unknown_paths_stay_here(server: Server, upstream: Upstream, target: str) -> None:
    """What no route owns is a JSON 404 and never goes upstream."""
    upstream.forget()
    answer = ask(server.port, method="GET", target=target, headers=[])
    assert (answer.status, json.loads(answer.body)) == (404, {"error": "Not Found"})
    assert upstream.log == []


def test_long_bodies_are_refused(server: Server) -> None:
    """A body of more than a mebibyte is a 413 in the API's shape."""
    answer = ask(server.port, b" " * (1024 * 1024 + 1), target="/api/accounts", headers=JSON)
    assert answer.status == 413
    assert "error" in json.loads(answer.body)


def test_the_documentation_is_served_without_anything_foreign(server: Server) -> None:
    """The page and its files come from us, forbid everything else, and name no other host."""
    for target in ("/api/docs", "/api/docs/page.css", "/api/docs/page.js"):
        answer = ask(server.port, method="GET", target=target, headers=[])
        assert answer.status == 200
        policy = answer.header("content-security-policy") or ""
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert b"://" not in answer.body
        assert b"innerHTML" not in answer.body


@contextmanager
def stream(server: Server, target: str) -> Iterator[Callable[[bytes], bytes]]:
    """Follow a stream; `until` returns what came once it has some bytes. Its deadline holds whatever else is heard."""
    heard = bytearray()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:

        def until(words: bytes) -> bytes:
            deadline = time.monotonic() + 5
            while words not in heard:
                connection.settimeout(max(0.01, deadline - time.monotonic()))
                piece = connection.recv(65536)
                assert piece, f"the stream ended: {bytes(heard)!r}"
                heard.extend(piece)
            return bytes(heard)

        connection.sendall(rawhttp.request_bytes("GET", target, [("Accept", "text/event-stream")]))
        assert b"content-type: text/event-stream" in until(b"retry:")
        yield until


def test_a_stream_tells_of_a_request_when_it_ends(server: Server) -> None:
    """Over a real connection an exchange is heard within a second of its end, with its place to resume from."""
    with stream(server, "/api/requests/stream") as until:
        asked_at = time.monotonic()
        assert ask(server.port).status == 200
        heard = until(b"event: request")
        assert time.monotonic() - asked_at < 1
        assert b"id: " in heard


def test_a_request_that_a_stream_tells_of_is_in_the_history(server: Server) -> None:
    """Whoever asks for a request as soon as it is heard of gets it."""
    for _ in range(5):
        with stream(server, "/api/requests/stream") as until:
            assert ask(server.port).status == 200
            heard = until(b'"response_bytes":')
        names = re.findall(rb'data: {"id":"([^"]+)"', heard)  # one of a test before this may come late, and first
        assert names
        for name in map(bytes.decode, names):
            assert get(server, f"/api/requests/{name}")["request"]["id"] == name


def test_a_stream_tells_of_what_is_logged(server: Server) -> None:
    """The log's stream has the line of a request."""
    with stream(server, "/api/logs/stream?text=Request+completed") as until:
        assert ask(server.port).status == 200
        assert b'"component":"Proxy"' in until(b"Request completed")


def test_open_streams_do_not_hold_a_stop_up(tmp_path: Path) -> None:
    """Asked to stop, a server ends its streams at once and cleanly, and does not wait for who listens."""
    with running(Home(tmp_path)) as stopping, stream(stopping, "/api/requests/stream") as until:
        begun = time.monotonic()
        assert stopping.stop() == 0
        assert time.monotonic() - begun < 5
        assert until(b"0\r\n\r\n").endswith(b"\r\n0\r\n\r\n")


def test_questions_that_take_long_do_not_hold_a_stop_up(upstream: Upstream, tmp_path: Path) -> None:
    """Asked to stop, a server interrupts what people are being answered, tells them so, and ends at once."""
    home = Home(tmp_path)
    home.add_accounts(upstream, "one")
    with running(home) as stopping, contextlib.ExitStack() as stack:
        assert ask(stopping.port).status == 200
        home.rows_when(1)
        _make_the_days_endless(home)
        asked = [stack.enter_context(rawhttp.Connection(stopping.port)) for _ in range(3)]
        for connection, period in zip(asked, ("90d", "365d", "90d&mode=cumulative"), strict=True):
            connection.send(rawhttp.request_bytes("GET", f"/api/analytics?range={period}", []))
        time.sleep(0.3)  # there is no sign that a question is being answered
        begun = time.monotonic()
        assert stopping.stop() == 0
        assert time.monotonic() - begun < 4
        answers = [connection.answer() for connection in asked]
        assert [(each.status, json.loads(each.body)["error"]) for each in answers] == [
            (503, "the server is stopping")
        ] * 3


def _make_the_days_endless(home: Home) -> None:
    """Put a query that never ends in the place of the sums of days."""
    with contextlib.closing(sqlite3.connect(home.database, timeout=5)) as connection:
        connection.executescript("""
            ALTER TABLE rollup_day RENAME TO saved_days;
            CREATE VIEW rollup_day AS SELECT rollup_new.* FROM rollup_new, (
                WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n
            );
        """)


def test_a_changed_setting_is_in_force_at_once(server: Server) -> None:
    """The very next request is logged, or not, by what was just set."""
    begun = server.log_text().count("Request completed")
    for _ in range(3):
        assert send(server, "PATCH", "/api/config", {"log_level": "ERROR"})[0] == 200
        assert ask(server.port).status == 200
        assert send(server, "PATCH", "/api/config", {"log_level": "INFO"})[0] == 200
        assert ask(server.port).status == 200
    eventually(lambda: server.log_text().count("Request completed") >= begun + 3)
    assert send(server, "PATCH", "/api/config", {"log_level": None})[0] == 200
    assert server.log_text().count("Request completed") == begun + 3
