"""Tokens are refreshed once, however many exchanges and processes need them at the same time."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness import Home, Server, Upstream, ask, eventually, running
from rawhttp import Answer
from refresh_kit import oauth_settings, oauth_upstream, refreshes, sign_in, tokens_of

NAMES = tuple(f"sub-{number}" for number in range(8))
EXCHANGES = 200


def ask_all(servers: list[Server], exchanges: int) -> list[Answer]:
    """Ask servers in turn, as many at once as there are exchanges, each in a session of its own."""
    together = threading.Barrier(exchanges)

    def one(number: int) -> Answer:
        together.wait(20)
        return ask(servers[number % len(servers)].port, session=f"session-{number}")

    with ThreadPoolExecutor(exchanges) as threads:
        return list(threads.map(one, range(exchanges)))


def stored_tokens(home: Home) -> dict[str, str | None]:
    from ccflare.store import open_store

    store = open_store(home.database)
    try:
        held = store.credentials()
        return {
            account.name: token.reveal() if (token := held[account.id].refresh_token) else None
            for account in store.accounts()
        }
    finally:
        store.close()


def test_one_refresh_per_account_across_exchanges_and_processes(tmp_path: Path) -> None:
    """200 exchanges at once over 8 expired accounts in two servers on one store: 8 refreshes, nothing failed."""
    upstream = oauth_upstream(*NAMES)
    home = Home(tmp_path, oauth_settings(upstream))
    sign_in(home, upstream, NAMES, ends_in_s=-60)
    try:
        with running(home) as first, running(home) as second:
            answers = ask_all([first, second], EXCHANGES)
            assert [answer.status for answer in answers] == [200] * EXCHANGES
            eventually(lambda: refreshes(upstream) == dict.fromkeys(NAMES, 1), what="one refresh for each account")
        assert refreshes(upstream) == dict.fromkeys(NAMES, 1)
        assert upstream.do(lambda: upstream.server.oauth.counts.refused) == 0
        assert stored_tokens(home) == {name: tokens_of(upstream, name)[1] for name in NAMES}
    finally:
        upstream.close()


def test_tokens_are_refreshed_under_load_without_a_failure(tmp_path: Path) -> None:
    """Tokens that live for two seconds, two servers and a command line on one store: no client notices anything."""
    upstream = oauth_upstream("a", "b", access_ttl=2.0)
    home = Home(tmp_path, oauth_settings(upstream))
    sign_in(home, upstream, ("a", "b"), ends_in_s=2)
    try:
        with running(home) as first, running(home) as second:
            statuses: list[int] = []

            def client(server: Server) -> None:
                while refreshes(upstream).get("a", 0) < 3 or refreshes(upstream).get("b", 0) < 3:
                    statuses.append(ask(server.port).status)

            with ThreadPoolExecutor(6) as threads:
                running_clients = [threads.submit(client, server) for server in (first, second) * 3]
                for number in range(4):
                    home.ccflare("accounts", "priority", "a", str(number))
                    home.ccflare("--list")
                for each in running_clients:
                    each.result(60)
            assert set(statuses) == {200}
        used = upstream.do(lambda: upstream.server.oauth.counts.reused)
        assert used == 0
        assert home.states() == {"a": "active", "b": "active"}
    finally:
        upstream.close()


def test_a_server_without_an_oauth_client_says_so_at_its_start(tmp_path: Path) -> None:
    """Accounts with tokens were signed in to by a command that had CLIENT_ID; the server has not."""
    upstream = oauth_upstream("a")
    home = Home(tmp_path, oauth_settings(upstream, CLIENT_ID=""))
    sign_in(home, upstream, ["a"], ends_in_s=3600)
    try:
        with running(home) as server:
            line = server.wait_for_log("CLIENT_ID is not set")
            assert "WARN: [Server] CLIENT_ID is not set: the tokens of 1 OAuth account cannot be refreshed" in line
    finally:
        upstream.close()


def refused_once(upstream: Upstream, name: str) -> None:
    upstream.do(lambda: upstream.server.oauth.revoke(upstream.account(name), "access"))


def test_a_refused_token_is_replaced_once_for_everybody(tmp_path: Path) -> None:
    """Upstream refuses a token that should be good: one refresh, every exchange is repeated and served."""
    upstream = oauth_upstream("a")
    home = Home(tmp_path, oauth_settings(upstream))
    sign_in(home, upstream, ("a",), ends_in_s=7200)
    try:
        with running(home) as server:
            assert ask(server.port).status == 200
            upstream.do(lambda: upstream.server.oauth.expire(upstream.account("a"), 0.0))
            answers = ask_all([server], 30)
            assert [answer.status for answer in answers] == [200] * 30
            assert refreshes(upstream) == {"a": 1}
            rows = home.rows_when(31)
        repeated = [row for row in rows if len(row["attempts"]) == 2]
        assert repeated
        assert all([each["verdict"] for each in row["attempts"]] == ["refresh", "deliver"] for row in repeated)
        assert home.states() == {"a": "active"}
    finally:
        upstream.close()


def test_a_dead_refresh_token_expires_the_account_and_a_new_sign_in_brings_it_back(tmp_path: Path) -> None:
    """`invalid_grant`: `expired` with its reason, one warning; with new credentials it serves again, one line."""
    upstream = oauth_upstream("a")
    home = Home(tmp_path, oauth_settings(upstream))
    sign_in(home, upstream, ("a",), ends_in_s=-1)
    upstream.do(lambda: upstream.server.oauth.revoke(upstream.account("a"), "all"))
    try:
        with running(home) as server:
            answer = ask(server.port, headers=[("x-api-key", "dummy"), ("anthropic-version", "2023-06-01")])
            assert answer.status in {401, 503}
            eventually(lambda: home.states() == {"a": "expired"}, what="the account is expired")
            listed = home.accounts()["a"]
            assert "invalid_grant" in listed["reason"]
            assert listed["refresh_error"] == listed["reason"]
            assert listed["refresh_failed_at"] is not None
            server.wait_for_log("needs a new sign-in")
            _sign_in_again(home, upstream, "a")
            server.wait_for_log("is signed in again")
            eventually(lambda: ask(server.port).status == 200, what="served again")
        log = server.log_text()
        assert log.count("needs a new sign-in") == 1
        assert log.count("is signed in again") == 1
        assert "Token refresh failed: invalid_grant" in log
        assert "sk-ant-o" not in log
    finally:
        upstream.close()


def _sign_in_again(home: Home, upstream: Upstream, name: str) -> None:
    from ccflare.demo.accounts import SimulatedAccount
    from ccflare.records import Credentials, Secret
    from ccflare.store import open_store
    from refresh_kit import now_ms

    def again() -> tuple[str, str]:
        oauth = upstream.server.oauth
        account: SimulatedAccount = upstream.account(name)
        access, refresh = oauth._new("oat", account), oauth._new("ort", account)
        oauth._give(account, account.scopes, access, refresh, refresh, time_now())
        return access, refresh

    def time_now() -> float:
        import time

        return time.time()

    access, refresh = upstream.do(again)
    store = open_store(home.database)
    try:
        credentials = Credentials(f"id-{name}", access_token=Secret(access), refresh_token=Secret(refresh))
        store.set_credentials(credentials, now_ms() + 3_600_000)
    finally:
        store.close()
