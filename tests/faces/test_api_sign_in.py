"""Signing in by HTTP: from the address that a person opens to an account that serves."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import Home, Server, Upstream, ask, running
from sign_in_kit import allow, sign_in_home

JSON = [("Content-Type", "application/json")]


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    made = Upstream("alpha")
    yield made
    made.close()


@pytest.fixture
def home(tmp_path: Path, upstream: Upstream) -> Home:
    return sign_in_home(tmp_path, upstream, CCFLARE_PRIVATE_UPSTREAMS="all")


def post(server: Server, target: str, body: dict[str, Any]) -> tuple[int, Any]:
    answer = ask(server.port, json.dumps(body).encode(), target=target, headers=JSON)
    assert b"sk-ant" not in answer.body
    return answer.status, json.loads(answer.body)


def test_an_account_that_was_signed_in_to_serves_the_next_request(home: Home, upstream: Upstream) -> None:
    """`init` gives the address, `callback` takes the code once; the account is there for the very next request."""
    with running(home) as server:
        status, begun = post(server, "/api/oauth/init", {"name": "me", "priority": 3, "base_url": upstream.url})
        assert status == 200
        code = allow(begun["auth_url"])
        status, account = post(server, "/api/oauth/callback", {"flow_id": begun["flow_id"], "code": code})
        assert (status, account["name"], account["kind"], account["state"]) == (200, "me", "oauth", "active")
        assert (account["priority"], account["expires_at"] is not None) == (3, True)
        assert ask(server.port).status == 200
        assert post(server, "/api/oauth/callback", {"code": code})[0] == 404


def test_signing_in_again_keeps_the_account(home: Home, upstream: Upstream) -> None:
    """`reauth` begins a sign-in for an account that is there; it keeps its id and what the operator set."""
    with running(home) as server:
        begun = post(server, "/api/oauth/init", {"name": "me", "priority": 3, "base_url": upstream.url})[1]
        first = post(server, "/api/oauth/callback", {"code": allow(begun["auth_url"])})[1]
        again = post(server, f"/api/accounts/{first['id']}/reauth", {})[1]
        status, second = post(server, "/api/oauth/callback", {"code": allow(again["auth_url"])})
        assert (status, second["id"], second["priority"]) == (200, first["id"], 3)
        assert post(server, "/api/accounts/nothing/reauth", {})[0] == 404


def test_what_is_wrong_is_said_before_anything_is_sent(home: Home, upstream: Upstream) -> None:
    """A truncated code and a foreign one are a 400 and may be pasted again; a taken name is a 409."""
    home.add_accounts(upstream, "alpha")
    with running(home) as server:
        assert post(server, "/api/oauth/init", {"name": "alpha"})[0] == 409
        begun = post(server, "/api/oauth/init", {"name": "me"})[1]
        code = allow(begun["auth_url"])
        for wrong in (code[:-1], code.replace("#", ""), f"x#{'A' * 43}"):
            status, refused = post(server, "/api/oauth/callback", {"flow_id": begun["flow_id"], "code": wrong})
            assert status == 400
            assert wrong not in refused["error"]
        assert post(server, "/api/oauth/callback", {"flow_id": begun["flow_id"], "code": code})[0] == 200


def test_an_address_of_this_machine_is_not_a_callers_to_name(tmp_path: Path, upstream: Upstream) -> None:
    """What the operator has not opened is a 400 before a sign-in begins."""
    with running(sign_in_home(tmp_path, upstream)) as server:
        status, refused = post(server, "/api/oauth/init", {"name": "me", "base_url": upstream.url})
        assert status == 400
        assert "may not be connected: it is this machine itself" in refused["error"]


def test_without_a_client_of_ones_own_it_is_said_what_to_set(tmp_path: Path) -> None:
    """There is no default OAuth client: a 400 that names the setting."""
    with running(Home(tmp_path)) as server:
        status, refused = post(server, "/api/oauth/init", {"name": "me"})
        assert status == 400
        assert "CLIENT_ID" in refused["error"]
