"""The simulated upstream as a process of its own, driven through `/_fake/`."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import ccflare
from simulated_kit import ask, by_key, by_token

SOURCE = str(Path(ccflare.__file__).parent.parent)


def begin(*arguments: str) -> tuple["subprocess.Popen[bytes]", dict[str, Any]]:
    """Start the process and wait, not for ever, for the line that says it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ccflare.demo.upstream", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": SOURCE},
    )
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], 20)
    assert ready, "the process did not say that it is ready"
    return process, json.loads(process.stdout.readline())


def end(process: "subprocess.Popen[bytes]") -> int:
    """Ask a process to stop and return its exit status."""
    process.send_signal(signal.SIGTERM)
    try:
        process.communicate(timeout=10)
    finally:
        process.kill()
    return process.returncode


@pytest.fixture(scope="module")
def running() -> Iterator[dict[str, Any]]:
    """A server process with two key accounts and a subscription."""
    process, told = begin("--port", "0", "--accounts", "2", "--oauth-accounts", "1")
    yield told
    assert end(process) == 0


@pytest.fixture
def client(running: dict[str, Any]) -> Iterator[httpx.Client]:
    """A client with the first account's key, on a server that is like new."""
    key = running["accounts"][0]["api_key"]
    with httpx.Client(base_url=running["url"], headers=by_key(key), timeout=10) as session:
        session.post("/_fake/reset").raise_for_status()
        yield session


def message(client: httpx.Client, headers: dict[str, str] | None = None) -> int:
    """Post a message and return the status."""
    return client.post("/v1/messages", json=ask(), headers=headers).status_code


def test_it_tells_its_accounts(running: dict[str, Any], client: httpx.Client) -> None:
    """The first line names every account with a credential that works."""
    names = [account["name"] for account in running["accounts"]]
    assert names == ["key-1", "key-2", "oauth-1"]
    assert message(client, by_key(running["accounts"][1]["api_key"])) == 200
    token = by_token(running["accounts"][2]["access_token"])
    with httpx.Client(base_url=running["url"]) as other:
        assert message(other, token) == 200


def test_rules_by_control(client: httpx.Client) -> None:
    """Rules are added, listed, applied and dropped over HTTP; a bad one is refused with a reason."""
    assert client.post("/_fake/rules", json={"action": "529", "match": {"account": "key-1"}}).status_code == 200
    assert message(client) == 529
    assert client.get("/_fake/rules").json()[0]["applied"] == 1
    client.delete("/_fake/rules")
    assert message(client) == 200
    bad = client.post("/_fake/rules", json={"action": "no-such"})
    assert bad.status_code == 400
    assert "no-such" in bad.json()["error"]
    assert client.post("/_fake/rules", json={"action": "500", "match": {"body": "("}}).status_code == 400
    assert client.post("/_fake/rules", json={"action": "500", "evry": 2}).status_code == 400
    assert client.post("/_fake/rules", content=b"{").status_code == 400


def test_accounts_by_control(client: httpx.Client) -> None:
    """Switches, budgets and windows of an account are changed over HTTP; unknown ones are refused."""
    client.post("/_fake/accounts/key-1", json={"rpm": 1, "period_s": 600})
    assert [message(client) for _ in range(2)] == [200, 429]
    client.post("/_fake/accounts/key-1", json={"rpm": 100, "no_credit": True})
    assert message(client) == 400
    assert client.post("/_fake/accounts/key-1", json={"colour": "red"}).status_code == 400
    assert client.get("/_fake/accounts/nobody").status_code == 404
    changed = client.post("/_fake/accounts/oauth-1", json={"windows": {"5h": {"utilization": 1, "resets_in": 3}}})
    window = changed.json()["windows"]["5h"]
    assert window["utilization"] == 1
    assert 2 < window["resets_in"] <= 3
    with httpx.Client(base_url=client.base_url) as other:
        refused = other.post("/v1/messages", json=ask(), headers=by_token(changed.json()["access_token"]))
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) <= 3


def test_accounts_come_and_go(client: httpx.Client) -> None:
    """An account is added, serves, and is removed with its credential."""
    made = client.post("/_fake/accounts", json={"name": "new one"}).json()
    with httpx.Client(base_url=client.base_url) as other:
        assert message(other, by_key(made["api_key"])) == 200
        assert client.delete("/_fake/accounts/new%20one").status_code == 200
        assert message(other, by_key(made["api_key"])) == 401
    assert client.post("/_fake/accounts", json={"name": "key-1"}).status_code == 400


def test_tokens_by_control(client: httpx.Client) -> None:
    """Tokens are expired and revoked over HTTP."""
    token = by_token(client.get("/_fake/accounts/oauth-1").json()["access_token"])
    with httpx.Client(base_url=client.base_url) as other:
        client.post("/_fake/accounts/oauth-1/expire")
        assert message(other, token) == 401
        client.post("/_fake/accounts/oauth-1/revoke", json={"kind": "access"})
        assert message(other, token) == 403
    assert client.post("/_fake/accounts/oauth-1/revoke", json={"kind": "?"}).status_code == 400


def test_state_log_and_config(client: httpx.Client) -> None:
    """State, log and configuration tell what happened; control requests are not part of it."""
    message(client)
    client.post("/_fake/config", json={"coding": "br", "oauth": {"access_ttl": 2}})
    state = client.get("/_fake/state").json()
    assert state["requests"] == 1
    assert state["accounts"]["key-1"]["succeeded"] == 1
    assert state["config"]["coding"] == "br"
    assert state["config"]["oauth"]["access_ttl"] == 2
    (entry,) = client.get("/_fake/log").json()["entries"]
    assert (entry["path"], entry["status"], entry["account"]) == ("/v1/messages", 200, "key-1")
    assert client.get("/_fake/log", params={"since": entry["order"]}).json()["entries"] == []
    client.delete("/_fake/log")
    assert client.get("/_fake/state").json()["requests"] == 0
    assert client.post("/_fake/config", json={"codng": "br"}).status_code == 400
    assert client.get("/_fake/nothing").status_code == 404
    assert "529" in client.get("/_fake/presets").json()


def test_a_taken_port_is_one_clear_line(running: dict[str, Any]) -> None:
    """A port that is in use ends the process with a line that names it, and status 1."""
    port = running["url"].rpartition(":")[2]
    done = subprocess.run(
        [sys.executable, "-m", "ccflare.demo.upstream", "--port", port],
        capture_output=True,
        timeout=20,
        check=False,
        env={**os.environ, "PYTHONPATH": SOURCE},
    )
    assert done.returncode == 1
    assert done.stderr.decode().count("\n") == 1
    assert port in done.stderr.decode()


def test_it_stops_with_streams_open() -> None:
    """SIGTERM ends the process with status 0 although a stream hangs."""
    process, told = begin("--accounts", "1")
    headers = {**by_key(told["accounts"][0]["api_key"]), "x-fake": "stall"}
    with httpx.Client(base_url=told["url"], timeout=10) as session:
        request = session.stream("POST", "/v1/messages", json=ask(stream=True), headers=headers)
        with request as answer:
            assert answer.status_code == 200
            assert end(process) == 0
