"""What a client gets when no account can serve it, and how that is told."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from faultcase import BOTH_LIMITED, assert_states, attempts_of
from harness import (
    CLIENT_KEY,
    VERSION,
    Home,
    Row,
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

NO_ACCOUNTS = "No active accounts available - forwarding request without authentication"


@contextmanager
def _closed_port() -> Iterator[int]:
    """Bind a port without listening: connections to it are refused, and nobody else takes it."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def _own(key: str) -> list[tuple[str, str]]:
    return [("x-api-key", key), ("cookie", "a=b"), ("anthropic-version", VERSION), ("X-Odd", "1")]


def test_without_accounts_the_request_goes_on_as_it_came(tmp_path: Any, upstream: Upstream) -> None:
    """With no account at all, the client's own credential and cookies go upstream."""
    home = Home(tmp_path, {"CCFLARE_UPSTREAM_URL": upstream.url})
    key = upstream.account("beta").api_key
    with running(home) as server:
        found = ask(server.port, messages(), headers=_own(key))
        assert found.status == 200
        assert found.header("x-ccflare-account") == "none"
        assert f"WARN: [Proxy] {NO_ACCOUNTS}" in server.wait_for_log(NO_ACCOUNTS)
        entry = upstream.settled_log(1)[0]
        assert (entry.account, entry.header("x-api-key")) == ("beta", key)
        assert (entry.header("cookie"), entry.header("x-odd")) == ("a=b", "1")
        row = home.rows_when(1)[0]
        assert attempts_of(home, row) == "nobody deliver 200"
        assert row["account_used"] is None
        assert_at_rest(server, upstream)


def test_upstreams_refusal_of_an_unknown_client_is_delivered(tmp_path: Any, upstream: Upstream) -> None:
    """Forwarded without an account, upstream's own 401 reaches the client word for word."""
    home = Home(tmp_path, {"CCFLARE_UPSTREAM_URL": upstream.url})
    with running(home) as server:
        found = ask(server.port, messages())
        assert found.status == 401
        assert json.loads(found.body)["error"]["type"] == "authentication_error"
        assert home.rows_when(1)[0]["status_code"] == 401


def test_an_unauthenticated_forward_that_fails_is_a_502(tmp_path: Any) -> None:
    """With neither an account nor an upstream, the answer is the 502 that scripts know."""
    with _closed_port() as port:
        home = Home(tmp_path, {"CCFLARE_UPSTREAM_URL": f"http://127.0.0.1:{port}"})
        with running(home) as server:
            found = ask(server.port, messages())
            assert found.status == 502
            told = json.loads(found.body)
            assert told["error"] == "Failed to forward unauthenticated request"
            assert CLIENT_KEY not in found.body.decode()
            row = home.rows_when(1)[0]
            assert attempts_of(home, row) == "nobody next None"
            assert (row["status_code"], row["success"]) == (502, 0)


def test_paused_accounts_are_as_good_as_none(make_home: Any, upstream: Upstream) -> None:
    """When every account is paused, the request is forwarded with the client's own credential."""
    home = make_home({"CCFLARE_UPSTREAM_URL": upstream.url})
    for name in ("alpha", "beta"):
        home.ccflare("--pause", name)
    with running(home) as server:
        assert ask(server.port, messages()).status == 401
        server.wait_for_log(NO_ACCOUNTS)
        assert attempts_of(home, home.rows_when(1)[0]) == "nobody deliver 401"


def _limit_both(server: Server, upstream: Upstream, action: Any) -> None:
    upstream.faults(alpha=action, beta=action)
    assert ask(server.port, messages()).status == 429
    assert_states(server.home, BOTH_LIMITED)


@pytest.mark.parametrize(
    ("action", "least_s", "most_s", "should_retry"),
    [("429", 1, 3, None), ("429-long", 11_000, 11_054, "false"), ("429-unified", 11_000, 11_055, "false")],
)
def test_a_limited_pool_says_when_it_is_back(  # noqa: PLR0917  # a row of the table
    home: Home,
    server: Server,
    upstream: Upstream,
    action: str,
    least_s: int,
    most_s: int,
    should_retry: str | None,
) -> None:
    """When all accounts are limited, the answer names the wait and forbids to sleep for hours."""
    upstream.faults(alpha=action, beta=action)
    for attempts in ("alpha next 429, beta next 429", ""):
        found = ask(server.port, messages(), session="same")
        assert found.status == 429
        told = json.loads(found.body)
        assert (told["type"], told["error"]["type"]) == ("error", "rate_limit_error")
        assert least_s <= int(found.header("retry-after") or 0) <= most_s
        assert found.header("x-should-retry") == should_retry
        assert len(found.all("content-type")) == 1
        count = 1 if attempts else 2
        assert attempts_of(home, home.rows_when(count)[-1]) == attempts
    assert_states(home, BOTH_LIMITED)
    assert len(upstream.settled_log()) == 2
    server.wait_for_log("rate limited")


def test_unified_headers_come_with_a_limited_subscription_pool(server: Server, upstream: Upstream) -> None:
    """Accounts that speak of unified limits have the pool's answer speak of them too, with the same reset."""
    _limit_both(server, upstream, "429-unified")
    found = ask(server.port, messages())
    assert found.header("anthropic-ratelimit-unified-status") == "rejected"
    reset = int(found.header("anthropic-ratelimit-unified-reset") or 0)
    assert abs(reset - time.time() - int(found.header("retry-after") or 0)) < 3


def test_the_wait_is_that_of_the_first_account_to_return(home: Home, server: Server, upstream: Upstream) -> None:
    """The pool's recovery is the earliest of its accounts', not the last one heard of."""
    upstream.faults(alpha={"status": 429, "retry_after": 30}, beta="429-long")
    found = ask(server.port, messages())
    assert 25 <= int(found.header("retry-after") or 0) <= 30
    assert found.header("x-should-retry") is None


def test_an_account_comes_back_by_itself(home: Home, server: Server, upstream: Upstream) -> None:
    """When its reset has passed, a limited account serves again without anyone's help."""
    upstream.faults(alpha={"status": 429, "retry_after": 1}, beta={"status": 429, "retry_after": 1})
    assert ask(server.port, messages()).status == 429
    upstream.forget()
    _wait_until_limited(home)
    assert_states(home, {"alpha": "active", "beta": "active"})
    assert ask(server.port, messages()).status == 200


def test_limited_accounts_come_back_one_by_one(home: Home, server: Server, upstream: Upstream) -> None:
    """All are limited at once under load; each serves again from its own reset on, not from another's."""
    upstream.faults(alpha={"status": 429, "retry_after": 3}, beta={"status": 429, "retry_after": 1})
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: ask(server.port, messages()).status, range(16)))
    assert found == [429] * 16
    _wait_until_limited(home)
    asked = len(upstream.settled_log())
    upstream.forget()
    first: Row = eventually(lambda: _served(server), what="beta is back")
    alpha_ms = home.limited_until_ms("alpha") or 0
    assert first["timestamp"] < alpha_ms
    assert attempts_of(home, first) == "beta deliver 200"
    eventually(lambda: time.time() * 1000 > alpha_ms, what="alpha's reset")
    before = len(home.rows())
    assert ask(server.port, messages("another session"), session="new").status == 200
    rows = home.rows_when(before + 1)
    assert attempts_of(home, rows[-1]) == "alpha deliver 200"
    assert_states(home, {"alpha": "active", "beta": "active"})
    assert sum(len(row["attempts"]) for row in rows if row["status_code"] == 429) == asked
    assert_at_rest(server, upstream)


def _wait_until_limited(home: Home) -> None:
    """Wait until the limits are stored; a look at them by a program could come when they are over."""
    eventually(lambda: all(home.limited_until_ms(name) for name in ("alpha", "beta")), what="both are limited")


def _served(server: Server) -> Row:
    """Ask once; return the row of the first 200, nothing while there is none."""
    if ask(server.port, messages()).status != 200:
        return {}
    rows = eventually(lambda: [row for row in server.home.rows() if row["status_code"] == 200])
    return rows[0]


def test_a_client_with_its_own_key_is_not_told_to_wait(make_home: Any, upstream: Upstream) -> None:
    """Limited accounts do not keep a client from using a key of its own."""
    home = make_home({"CCFLARE_UPSTREAM_URL": upstream.url})
    with running(home) as server:
        _limit_both(server, upstream, "429-long")
        upstream.forget()
        found = ask(server.port, messages(), headers=_own(upstream.account("beta").api_key))
        assert found.status == 200
        assert attempts_of(home, home.rows_when(2)[-1]) == "nobody deliver 200"


@pytest.mark.parametrize("way", ["refused", "no TLS there", "unknown host", "untrusted"])
def test_no_way_to_upstream_is_a_503(way: str, tmp_path: Any, upstream: Upstream, secure: Upstream) -> None:
    """Refused connections, failed handshakes and unknown hosts end in the 503 that scripts know."""
    home = Home(tmp_path, {"RETRY_ATTEMPTS": "2"})
    with _closed_port() as port:
        url = {
            "refused": f"http://127.0.0.1:{port}",
            "no TLS there": upstream.url.replace("http://", "https://"),
            "unknown host": "https://no-such-host.invalid",
            "untrusted": secure.url,
        }[way]
        home.add_account("alpha", "sk-ant-api03-alpha", url)
        home.add_account("beta", "sk-ant-api03-beta", url)
        with running(home) as server:
            found = ask(server.port, messages())
            assert found.status == 503
            told = json.loads(found.body)
            assert told["type"] == "error"
            assert told["error"] == "All accounts failed to proxy the request"
            assert told["attempts"] == 3
            assert isinstance(told["lastError"], str)
            assert told["lastError"]
            row = home.rows_when(1)[0]
            assert attempts_of(home, row) == "alpha retry None, alpha retry None, beta retry None"
            assert "Failed to proxy request with account alpha" in server.wait_for_log("account alpha")
            assert_at_rest(server, upstream)
            assert_states(home, {"alpha": "active", "beta": "active"})


def test_a_broken_account_is_not_noticed(upstream: Upstream, make_home: Any) -> None:
    """An account whose address does not answer fails over to one that serves."""
    home = make_home()
    with _closed_port() as port:
        home.ccflare("--remove", "alpha")
        home.add_account("alpha", "sk-ant-api03-x", f"http://127.0.0.1:{port}", "--priority", "-1")
        with running(home) as server:
            assert ask(server.port, messages()).status == 200
            expected = "alpha retry None, alpha retry None, alpha retry None, beta deliver 200"
            assert attempts_of(home, home.rows_when(1)[0]) == expected
    assert_upstream_clean(upstream)


def test_own_answers_say_so(server: Server, upstream: Upstream) -> None:
    """An answer of ccflare's own is marked as such; one of upstream's is not."""
    assert ask(server.port, messages()).header("x-ccflare-answer") is None
    found = ask(server.port, target="/v1/../secret", headers=client_headers())
    assert found.status == 400
    assert b"Provider cannot handle path: /v1/../secret" in found.body
    assert found.header("x-ccflare-answer") is not None
