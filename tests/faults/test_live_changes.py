"""What people change while the server runs is seen within a second: accounts, and settings."""

import json
import time
import urllib.request
from typing import Any

import rawhttp
from faultcase import attempts_of
from harness import (
    Home,
    Server,
    Upstream,
    ask,
    assert_at_rest,
    client_headers,
    eventually,
    messages,
    running,
)


def _counts(server: Server, **expected: int) -> bool:
    accounts = server.health()["accounts"]
    return all(accounts[name] == count for name, count in expected.items())


def _asides(server: Server) -> list[Any]:
    """Return what the first account is not asked for at the moment."""
    with urllib.request.urlopen(f"{server.url}/api/accounts", timeout=10) as answer:
        found: list[Any] = json.load(answer)[0]["asides"]
    return found


def test_the_command_line_changes_a_running_server(home: Home, server: Server, upstream: Upstream) -> None:
    """Pause, resume, remove and add are seen within a second, and the next request goes by them."""

    def served_by() -> str | None:
        assert ask(server.port, messages()).status == 200
        return upstream.settled_log()[-1].account

    assert served_by() == "alpha"
    home.ccflare("--pause", "alpha")
    server.soon(lambda: _counts(server, paused=1, active=1))
    assert served_by() == "beta"
    home.ccflare("--resume", "alpha")
    server.soon(lambda: _counts(server, paused=0, active=2))
    home.ccflare("--remove", "beta")
    server.soon(lambda: _counts(server, total=1))
    assert served_by() == "alpha"
    home.add_account("beta", upstream.account("beta").api_key, upstream.url)
    server.soon(lambda: _counts(server, total=2, active=2))


def test_an_open_stream_outlives_its_account(home: Home, server: Server, upstream: Upstream) -> None:
    """An account that is paused or removed brings the stream it has begun to its end."""
    connection = rawhttp.Connection(server.port)
    body = messages('[[fake {"pace": 0.15}]]', stream=True)
    connection.send(rawhttp.request_bytes("POST", "/v1/messages", client_headers("s"), body))
    connection.body_until(b"message_start")
    home.ccflare("--remove", "alpha")
    server.soon(lambda: _counts(server, total=1))
    found = connection.answer()
    connection.close()
    assert (found.end, b"message_stop" in found.body) == ("whole", True)
    assert home.rows_when(1)[0]["success"] == 1
    assert ask(server.port, messages(), session="s").status == 200
    assert upstream.settled_log(2)[-1].account == "beta"
    assert_at_rest(server, upstream)


def test_a_refused_account_is_resumed(home: Home, server: Server, upstream: Upstream) -> None:
    """Resuming an account whose credential was refused has the running server try it again."""
    upstream.faults(alpha="401")
    assert ask(server.port, messages()).status == 200
    eventually(lambda: home.states()["alpha"] == "auth_failed")
    upstream.forget()
    home.ccflare("--resume", "alpha")
    server.soon(lambda: _counts(server, auth_failed=0, active=2))
    assert ask(server.port, messages(), session="new").status == 200
    assert upstream.settled_log(1)[-1].account == "alpha"


def test_a_model_that_was_set_aside_is_tried_again(home: Home, server: Server, upstream: Upstream) -> None:
    """A 429 that says nothing sets a model aside; resuming by the command line lifts that in the running server."""
    upstream.faults(alpha="429-bare")
    assert ask(server.port, messages()).status == 200
    eventually(lambda: _asides(server))
    upstream.forget()
    home.ccflare("--resume", "alpha")
    server.soon(lambda: not _asides(server))
    assert ask(server.port, messages(), session="new").status == 200
    assert upstream.settled_log(1)[-1].account == "alpha"


def test_a_new_credential_is_tried_again(make_home: Any, upstream: Upstream) -> None:
    """An account whose key was refused serves again when it is added anew with a good key."""
    home = make_home()
    for name in ("alpha", "beta"):
        home.ccflare("--remove", name)
    home.add_account("only", "sk-ant-api03-wrong", upstream.url)
    with running(home) as server:
        assert ask(server.port, messages()).status == 503
        eventually(lambda: home.states() == {"only": "auth_failed"})
        home.ccflare("--remove", "only")
        home.add_account("only", upstream.account("alpha").api_key, upstream.url)
        server.soon(lambda: _counts(server, active=1))
        assert ask(server.port, messages()).status == 200


def test_edited_settings_apply_without_a_restart(make_home: Any, upstream: Upstream) -> None:
    """An edit of the settings file changes how often a request is repeated; a broken edit changes nothing."""
    home: Home = make_home({"RETRY_DELAY_MS": "1"})
    with running(home) as server:
        upstream.faults(alpha="500", beta="500")
        assert ask(server.port, messages()).status == 500
        edited = {**json.loads(home.settings_file.read_text()), "retry_attempts": 0}
        home.settings_file.write_text(json.dumps(edited))
        server.wait_for_log("retry_attempts")
        assert ask(server.port, messages()).status == 500
        home.settings_file.write_text('{"retry_attempts": 5,')
        server.wait_for_log("Failed to parse config file")
        assert ask(server.port, messages()).status == 500
        rows = home.rows_when(3)
        once = "alpha retry 500, beta retry 500"
        three = "alpha retry 500, alpha retry 500, alpha retry 500, beta retry 500"
        assert [attempts_of(home, row) for row in rows] == [three, once, once]
        assert home.settings_file.read_text() == '{"retry_attempts": 5,'


def test_a_restart_setting_is_named(home: Home, server: Server) -> None:
    """An edit that needs a restart is told in the log, and the server goes on where it is."""
    edited = {**json.loads(home.settings_file.read_text()), "allowed_hosts": ["proxy.example"]}
    started = time.monotonic()
    home.settings_file.write_text(json.dumps(edited))
    assert "allowed_hosts" in server.wait_for_log("next start")
    assert time.monotonic() - started < 3
    assert server.health()["status"] == "ok"
