"""Client keys with a real server over real sockets: what the command line changes counts, and the key stays here."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import rawhttp
from ccflare.client_keys import digest_of
from ccflare.records import Secret
from ccflare.store import open_store
from harness import Home, Server, Upstream, ask, assert_upstream_clean, eventually, messages, running
from key_kit import BOSS, KEYS, WORKER

JSON = ("Content-Type", "application/json")
ORIGIN = "http://localhost"
"""The kit's requests go to the host `localhost`."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    made = Upstream("one")
    yield made
    made.close()


def make(home: Home, secret: Secret) -> None:
    """Make a key as the command line does."""
    with closing(open_store(home.database)) as store:
        store.client_keys.add(KEYS[secret], digest_of(secret))


def bearer(key: str) -> list[rawhttp.Pair]:
    return [("Authorization", f"Bearer {key}"), ("anthropic-version", "2023-06-01"), JSON]


def status_of(server: Server, key: str) -> int:
    return ask(server.port, headers=bearer(key)).status


def api(server: Server, method: str, target: str, *headers: rawhttp.Pair, body: Any = None) -> rawhttp.Answer:
    """Call the API as a browser that loaded the dashboard from here."""
    own = [("Origin", ORIGIN), ("Sec-Fetch-Site", "same-origin"), JSON]
    text = None if body is None else json.dumps(body).encode()
    return ask(server.port, text, method=method, target=target, headers=[*own, *headers])


def test_from_the_first_key_on_every_request_needs_one(upstream: Upstream, tmp_path: Path) -> None:
    """Within a second of the command, without a restart; the history names the key, and the key is nowhere."""
    home = Home(tmp_path)
    home.add_accounts(upstream, "one")
    with running(home) as server:
        assert status_of(server, "anything") == 200
        key = home.ccflare("keys", "create", "laptop").stdout.strip()
        server.soon(lambda: status_of(server, "anything") == 401, "strangers are refused")
        assert status_of(server, key) == 200
        assert server.health()["status"] == "ok"
        with rawhttp.Connection(server.port) as connection:
            connection.send(rawhttp.request_bytes("HEAD", "/", [], None))
            assert connection.answer(head_only=True).status == 200
        served = eventually(lambda: [row for row in home.rows() if row["client_key"]], what="the key's row")
        listed = json.loads(home.ccflare("keys", "list", "--json").stdout)
        assert [row["client_key"] for row in served] == [listed[0]["id"]]
        assert (listed[0]["requests"], listed[0]["last_used"] is not None) == (1, True)
        home.ccflare("keys", "revoke", "laptop", "--yes")
        server.soon(lambda: status_of(server, key) == 401, "the revoked key is refused")
        assert status_of(server, "anything") == 401
        server.stop()
        for path in [*tmp_path.rglob("*")]:
            assert path.is_dir() or key.encode() not in path.read_bytes(), path
        assert_upstream_clean(upstream, key)
        assert "Refused a request of 127.0.0.1: this client key was revoked" in server.log_text()


def test_another_address_lets_nobody_in_without_a_key(upstream: Upstream, tmp_path: Path) -> None:
    """Listening beyond this machine is closed from the first moment, and says so; a key made meanwhile is let in."""
    upstream.forget()
    home = Home(tmp_path, {"CCFLARE_HOST": "0.0.0.0"})
    home.add_accounts(upstream, "one")
    with running(home) as server:
        assert status_of(server, "anything") == 401
        assert api(server, "GET", "/api/accounts").status == 401
        assert "nobody is let in" in server.log_text()
        make(home, WORKER)
        server.soon(lambda: status_of(server, WORKER.reveal()) == 200, "the new key is known")


def test_a_lost_database_does_not_open_a_server(upstream: Upstream, tmp_path: Path) -> None:
    """When the file is removed while running, the keys in memory count, as the accounts do."""
    upstream.forget()
    home = Home(tmp_path)
    home.add_accounts(upstream, "one")
    make(home, WORKER)
    with running(home) as server:
        for path in tmp_path.glob("ccflare.db*"):
            path.unlink()
        server.wait_for_log("it is opened again")
        eventually(home.database.exists, what="a new file")
        assert status_of(server, "anything") == 401
        assert status_of(server, WORKER.reveal()) == 200


def test_a_browser_signs_in_and_other_sites_cannot_use_it(tmp_path: Path) -> None:
    """The cookie works for the dashboard's own calls; with it a page of another origin reads and changes nothing."""
    home = Home(tmp_path)
    make(home, BOSS)
    with running(home) as server:
        answer = api(server, "POST", "/api/session", body={"key": BOSS.reveal()})
        assert answer.status == 200
        cookie = ("Cookie", (answer.header("set-cookie") or "").partition(";")[0])
        assert api(server, "GET", "/api/accounts", cookie).status == 200
        assert api(server, "GET", "/", cookie).status == 200
        for foreign in (("Origin", "https://evil.example"), ("Origin", "null"), ("Sec-Fetch-Site", "cross-site"),
                        ("Sec-Fetch-Site", "same-site")):  # fmt: skip
            answer = ask(server.port, method="GET", target="/api/accounts", headers=[foreign, cookie])
            assert answer.status == 403, foreign
        form = ("Content-Type", "application/x-www-form-urlencoded")
        for target in ("/api/stats/reset", "/api/session", "/api/keys"):
            answer = ask(server.port, b"{}", target=target, headers=[("Origin", ORIGIN), form, cookie])
            assert answer.status == 415, target
        assert ask(server.port, messages(), headers=[cookie, JSON]).status == 401, "a cookie is no key for the proxy"
        server.stop()
    secret = cookie[1].partition("=")[2].encode()
    assert len(secret) == 43
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or secret not in path.read_bytes(), path
