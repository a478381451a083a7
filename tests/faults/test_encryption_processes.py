"""Credentials at rest with real processes: encryption is turned on, the key is wrong, missing or changed."""

import json
import subprocess
import urllib.request
from pathlib import Path

from ccflare.records import UNREADABLE
from harness import COMMAND, Home, Server, Upstream, ask, eventually, running

KEY = "open-sesame-at-rest"


def keyed(home: Home, key: str) -> Home:
    """The same home, used with a key."""
    return Home(home.path, {**home.settings, "ccflare_SECRET_KEY": key})


def on_disk(home: Home) -> bytes:
    return b"".join(each.read_bytes() for each in sorted(home.path.glob("ccflare.db*")))


def refused_start(home: Home) -> str:
    """Start a server that must not start, and return what it said."""
    done = subprocess.run(
        [*COMMAND, "serve", "--port", "0"],
        env=home.environment(), capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_server_turns_encryption_on(home: Home, upstream: Upstream) -> None:
    """The first start with a key seals what is there; it serves, and so it does after the next start."""
    assert b"sk-ant-api" in on_disk(home)
    for _ in range(2):
        with running(keyed(home, KEY)) as server:
            assert ask(server.port).status == 200
            assert b"sk-ant-api" not in on_disk(home)
            assert KEY.encode() not in on_disk(home)
            assert KEY not in server.log_text() + server.output()


def test_the_command_line_needs_the_key_for_credentials_only(home: Home, upstream: Upstream) -> None:
    """Without it accounts are listed and paused, but not added; with it a running server sees the new one."""
    with running(keyed(home, KEY)) as server:
        assert home.states() == {"alpha": "active", "beta": "active"}
        home.ccflare("--pause", "beta")
        without = home.ccflare("--add-account", "gamma", "--api-key", "-", stdin="sk-ant-api03-x", check=False)
        assert without.returncode == 1
        assert "set ccflare_SECRET_KEY" in without.stderr
        assert without.stderr.count("\n") == 1
        key = upstream.account("alpha").api_key
        keyed(home, KEY).add_account("gamma", key, upstream.url)
        server.wait_until_accounts(3)
        assert b"sk-ant-api" not in on_disk(home)


def test_a_wrong_key_or_none_is_refused_at_start(home: Home, upstream: Upstream) -> None:
    """One clear line, nothing is touched, and the right key works afterwards."""
    with running(keyed(home, KEY)):
        pass
    before = on_disk(home)
    for bad, words in ((keyed(home, "another-key"), "is not the key"), (home, "set ccflare_SECRET_KEY")):
        said = refused_start(bad)
        assert words in said
        assert "another-key" not in said
        assert on_disk(home) == before
    with running(keyed(home, KEY)) as server:
        assert ask(server.port).status == 200


def test_the_key_is_changed_with_a_start(home: Home, upstream: Upstream) -> None:
    """New key first, old key second, for one start; from then on the new one alone."""
    with running(keyed(home, KEY)):
        pass
    with running(keyed(home, f"the-next-key,{KEY}")) as server:
        assert ask(server.port).status == 200
    assert "is not the key" in refused_start(keyed(home, KEY))
    with running(keyed(home, "the-next-key")) as server:
        assert ask(server.port).status == 200


def test_a_server_from_before_the_change_goes_on(home: Home, upstream: Upstream, tmp_path: Path) -> None:
    """Another process turns encryption on: the running server, which has no key, serves and records as before."""
    with running(home) as early:
        with running(keyed(home, KEY)) as late:
            assert ask(late.port).status == 200
            assert [ask(early.port).status for _ in range(3)] == [200] * 3
            home.rows_when(4)
            eventually(lambda: "set ccflare_SECRET_KEY" in early.log_text(), what="it says what it lacks")
        assert ask(early.port).status == 200


def test_an_account_that_a_server_cannot_read_is_said_to_be_unusable(home: Home, upstream: Upstream) -> None:
    """Whoever is asked says so and names the key; nothing goes there until the server was started with it."""
    home.ccflare("--remove", "alpha")
    home.ccflare("--remove", "beta")
    with running(home) as early:
        keyed(home, KEY).add_account("gamma", upstream.account("alpha").api_key, upstream.url)
        eventually(lambda: early.health()["accounts"]["auth_failed"] == 1, what="/health says so")
        assert (early.health()["status"], early.health()["accounts"]["active"]) == ("unavailable", 0)
        with urllib.request.urlopen(f"{early.url}/api/accounts", timeout=10) as answer:
            [shown] = json.load(answer)
        listed = eventually(lambda: [each for each in home.accounts().values() if each["state"] != "active"])
        for each in (shown, *listed):
            assert (each["state"], each["reason"]) == ("auth_failed", UNREADABLE)
        assert early.log_text().count(f"Account gamma is not used: {UNREADABLE}") == 1
    with running(keyed(home, KEY)) as late:
        assert ask(late.port).status == 200
        eventually(lambda: home.states() == {"gamma": "active"}, what="it is used again")


def test_an_interrupted_change_leaves_one_state_or_the_other(home: Home, upstream: Upstream) -> None:
    """Killed at once after the start, ten times with changing keys: the database opens with one of the last two."""
    key = KEY
    for number in range(10):
        fresh = f"changing-key-{number}"
        process = subprocess.Popen(
            [*COMMAND, "serve", "--port", "0"],
            env=keyed(home, f"{fresh},{key}").environment(),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            process.wait(0.3 + number * 0.05)
        except subprocess.TimeoutExpired:
            pass
        finally:
            process.kill()
            process.wait(10)
        done = keyed(home, fresh).ccflare(
            "accounts", "export", str(home.path / "x"), "--force", stdin="x" * 9, check=False
        )
        key = fresh if done.returncode == 0 and b"sk-ant-api" not in on_disk(home) else key
    server = Server(keyed(home, f"last-key-of-all,{key}"))
    try:
        assert ask(server.port).status == 200
        assert b"sk-ant-api" not in on_disk(home)
        assert server.stop() == 0
    finally:
        server.kill()
