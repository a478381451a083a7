"""Signing in beside a running server, and while the token endpoint misbehaves on real sockets."""

import json
import socket
import sqlite3
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ccflare import tokens
from ccflare.clock import SystemClock
from ccflare.errors import TransportError
from ccflare.oauth import OAuthSettings
from ccflare.records import Secret
from ccflare.settings import Settings
from ccflare.transport import Transport
from harness import Home, Server, Upstream, ask, eventually, running
from sign_in_kit import allow, sign_in, sign_in_home, signing_in

TOKEN_PATH = {"path": "oauth/token"}
KEY_PATH = {"path": "create_api_key"}


@pytest.fixture
def home(tmp_path: Path, upstream: Upstream) -> Home:
    return sign_in_home(tmp_path, upstream)


@pytest.fixture
def server(home: Home) -> Iterator[Server]:
    with running(home) as server:
        yield server


def names(home: Home) -> list[str]:
    return list(home.accounts())


def wait_for(server: Server, state: str) -> None:
    server.soon(lambda: server.health()["accounts"][state] == 1, f"an account that is {state}")


@pytest.mark.parametrize("mode", ["max", "console"])
def test_a_running_server_uses_an_account_within_a_second(
    home: Home, upstream: Upstream, server: Server, mode: str
) -> None:
    """The account that was signed in to serves the next request, with its own credential alone."""
    sign_in(home, "accounts", "add", "me", "--mode", mode)
    wait_for(server, "active")
    assert ask(server.port).status == 200
    served = upstream.settled_log()[-1]
    own = [name.lower() for name, _ in served.headers if name.lower() in {b"authorization", b"x-api-key"}]
    assert own == [b"authorization" if mode == "max" else b"x-api-key"]
    assert served.account == "plan"


def test_an_expired_account_comes_back_by_signing_in_again(home: Home, upstream: Upstream, server: Server) -> None:
    """The same account, with its history, serves again within a second, without a restart."""
    sign_in(home, "--add-account", "me")
    wait_for(server, "active")
    assert ask(server.port).status == 200
    upstream.do(lambda: upstream.server.oauth.revoke(upstream.account("plan"), "all"))
    with closing(sqlite3.connect(home.database)) as connection, connection:
        connection.execute("UPDATE accounts SET expired_reason = 'invalid_grant'")
    wait_for(server, "expired")

    sign_in(home, "accounts", "reauth", "me")

    wait_for(server, "active")
    assert ask(server.port).status == 200
    rows = home.rows_when(2)
    assert {row["account_used"] for row in rows} == {home.accounts()["me"]["id"]}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("500", "Internal server error (status 500)"),
        ("502-html", "status 502"),
        ("429", "(status 429). Begin the sign-in again in 2 s"),
        ("html-200", "the answer is not JSON"),
        ("empty-200", "the answer is not JSON"),
        ({"status": 200, "raw_body": '{"access_token": "a'}, "the answer is not JSON"),
        ({"status": 200, "raw_body": f'"{"x" * 70_000}"'}, "the answer is too long"),
        ("reset-accept", "Token exchange failed: "),
        ("disconnect-headers", "Token exchange failed: "),
        ("garbage", "Token exchange failed: "),
        ("redirect", "status 307"),
        ({"status": 400, "raw_body": '{"error": "invalid_grant"}'}, "invalid_grant (status 400)"),
        ({"status": 200, "raw_body": '{"access_token": "a b", "refresh_token": "c"}'}, "access_token that cannot be"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_token_endpoint_that_misbehaves_is_one_clear_line(
    home: Home, upstream: Upstream, fault: object, words: str
) -> None:
    """The line names what failed, shows no secret, and leaves no account; signing in anew works."""
    upstream.rule(fault, match=TOKEN_PATH, times=1)
    with signing_in(home, "--add-account", "me") as dialogue:
        code = allow(dialogue.url)
        status, said = dialogue.answer(code)
    assert status == 1
    assert said[-1].startswith("ccflare: Token exchange failed: ")
    assert words in said[-1]
    assert "Begin the sign-in again" in said[-1]
    assert "Traceback" not in "".join(said)
    for secret in code.split("#"):
        assert secret not in "".join(said)
    assert names(home) == []
    sign_in(home, "--add-account", "me")
    assert names(home) == ["me"]


def test_a_token_endpoint_that_is_down(home: Home) -> None:
    """Nobody listens there: that is said at once."""
    home.settings = {**home.settings, "CCFLARE_OAUTH_TOKEN_URL": "http://127.0.0.1:9/v1/oauth/token"}
    with signing_in(home, "--add-account", "me") as dialogue:
        status, said = dialogue.answer(allow(dialogue.url))
    assert status == 1
    assert said[-1].startswith("ccflare: Token exchange failed: ")


def test_a_token_endpoint_that_is_slow_is_waited_for(home: Home, upstream: Upstream) -> None:
    """A second is no failure."""
    upstream.rule("slow-first-byte", match=TOKEN_PATH, times=1)
    sign_in(home, "--add-account", "me")
    assert names(home) == ["me"]


async def test_a_token_endpoint_that_never_answers_is_given_up(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline of a call ends it, and its connection."""
    monkeypatch.setattr(tokens, "WITHIN_S", 0.3)
    upstream.rule("hang", match=TOKEN_PATH)
    settings = OAuthSettings.of(
        Settings(client_id="simulated-client", oauth_token_url=f"{upstream.url}/v1/oauth/token")
    )
    transport = Transport()
    endpoint = tokens.TokenEndpoint(transport, lambda: settings, SystemClock())
    with pytest.raises(TransportError) as failed:
        await endpoint.refresh(Secret("r"))
    assert failed.value.kind in {"first_byte_timeout", "exchange_timeout"}
    assert transport.connections_open == 0
    await transport.aclose()


@pytest.mark.parametrize("fault", ["500", "403", "html-200"])
def test_a_key_that_cannot_be_made_is_one_clear_line(home: Home, upstream: Upstream, fault: str) -> None:
    """The tokens alone make no account."""
    upstream.rule(fault, match=KEY_PATH, times=1)
    with signing_in(home, "--add-account", "me", "--mode", "console") as dialogue:
        status, said = dialogue.answer(allow(dialogue.url))
    assert status == 1
    assert said[-1].startswith("ccflare: API key creation failed: ")
    assert "sk-ant-oat" not in "".join(said)
    assert names(home) == []


def call(server: Server, path: str, **body: object) -> tuple[int, dict[str, Any]]:
    """Call the API as a program does."""
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{server.url}{path}", json.dumps(body).encode(), headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_the_api_signs_in_too(home: Home, upstream: Upstream, server: Server) -> None:
    """Init, browser, callback: the account serves the very next request; no answer and no log has a secret."""
    status, begun = call(server, "/api/oauth/init", name="me", mode="max")
    assert status == 200
    code = allow(begun["auth_url"])
    assert call(server, "/api/oauth/callback", flow_id=begun["flow_id"], code=code[:-1])[0] == 400
    status, account = call(server, "/api/oauth/callback", flow_id=begun["flow_id"], code=code)
    assert (status, account["name"], account["kind"], account["state"]) == (200, "me", "oauth", "active")
    assert ask(server.port).status == 200

    assert call(server, "/api/oauth/callback", flow_id=begun["flow_id"], code=code)[0] == 404
    assert call(server, "/api/oauth/init", name="me")[0] == 409
    status, again = call(server, f"/api/accounts/{account['id']}/reauth")
    assert status == 200
    upstream.rule("500", match=TOKEN_PATH, times=1)
    status, said = call(server, "/api/oauth/callback", code=allow(again["auth_url"]))
    assert (status, said["error"].startswith("Token exchange failed: ")) == (502, True)
    assert "Token exchange failed: " in server.wait_for_log("WARN: [SignIn]")
    assert code.partition("#")[0] not in server.log_text()
    assert "sk-ant" not in f"{account} {said}" + server.log_text()
    assert home.states() == {"me": "active"}


def test_a_client_that_leaves_and_a_server_that_stops_lose_no_account(home: Home, upstream: Upstream) -> None:
    """The code is spent once it was sent: what comes of it is stored, though nobody waits and the server ends."""
    with running(home) as server:
        _, begun = call(server, "/api/oauth/init", name="me", mode="max")
        body = json.dumps({"flow_id": begun["flow_id"], "code": allow(begun["auth_url"])}).encode()
        upstream.rule("slow-first-byte", match=TOKEN_PATH, times=1)
        head = f"POST /api/oauth/callback HTTP/1.1\r\nhost: localhost:{server.port}\r\ncontent-length: {len(body)}\r\n"
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(f"{head}content-type: application/json\r\n\r\n".encode() + body)
            eventually(lambda: upstream.in_flight, what="the code was sent")
        server.stop()
        assert "Account me was signed in to" in server.log_text()
    assert home.states() == {"me": "active"}


def test_several_sign_ins_at_once_do_not_mix(home: Home) -> None:
    """Five people, five codes, five accounts."""
    failed: list[object] = []

    def add(name: str) -> None:
        try:
            sign_in(home, "--add-account", name)
        except AssertionError as error:
            failed.append(error)

    people = [threading.Thread(target=add, args=(f"account {number}",)) for number in range(5)]
    for person in people:
        person.start()
    for person in people:
        person.join(60)
    assert failed == []
    assert sorted(names(home)) == [f"account {number}" for number in range(5)]
