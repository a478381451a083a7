"""Signing in on the command line: addresses, pasted codes, terminals, browsers and every clear line."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from harness import COMMAND, Home, Upstream, eventually
from sign_in_kit import allow, sign_in, sign_in_home, signing_in, state_of_url

LIMIT_S = 20


@pytest.fixture(scope="module")
def shared_upstream() -> Iterator[Upstream]:
    upstream = Upstream("alpha")
    yield upstream
    upstream.close()


@pytest.fixture
def upstream(shared_upstream: Upstream) -> Iterator[Upstream]:
    shared_upstream.forget()
    yield shared_upstream
    shared_upstream.forget()


@pytest.fixture
def home(tmp_path: Path, upstream: Upstream) -> Home:
    return sign_in_home(tmp_path, upstream)


def stored(home: Home) -> list[tuple[Any, ...]]:
    """Return what a user with sqlite3 sees."""
    with closing(sqlite3.connect(home.database)) as connection:
        return connection.execute(
            "SELECT name, api_key, access_token, refresh_token, priority, account_tier, base_url FROM accounts"
        ).fetchall()


@pytest.mark.parametrize("command", [["--add-account", "me"], ["accounts", "add", "me", "--mode", "max"]])
def test_an_account_with_tokens(home: Home, command: list[str]) -> None:
    """A name alone signs in; the address is all that stdout has; the notice stands in one line."""
    with signing_in(home, *command, "--priority", "4", "--tier", "20") as dialogue:
        status, said = dialogue.answer(allow(dialogue.url))
    assert status == 0
    assert len([line for line in said if "your own" in line and "provider's terms" in line]) == 1
    assert said[-1].startswith("Added me.")
    ((name, api_key, access, refresh, priority, tier, base_url),) = stored(home)
    assert (name, api_key, priority, tier, base_url) == ("me", None, 4, 20, None)
    assert access.startswith("sk-ant-oat01-")
    assert refresh.startswith("sk-ant-ort01-")
    assert "sk-ant" not in "".join(said)
    listed = home.accounts()["me"]
    assert (listed["kind"], listed["state"]) == ("oauth", "active")
    assert listed["expires_at"] is not None


def test_an_account_with_a_new_api_key(home: Home) -> None:
    """Console mode ends with a key, an empty refresh token, and none of the tokens."""
    with signing_in(home, "accounts", "add", "me", "--mode", "console") as dialogue:
        status, said = dialogue.answer(allow(dialogue.url))
    assert (status, said[-1]) == (0, "Added me with a new API key. A running server uses it within a second.")
    ((_, api_key, access, refresh, *_),) = stored(home)
    assert api_key.startswith("sk-ant-api03-")
    assert (access, refresh) == (None, "")
    assert home.accounts()["me"]["kind"] == "api_key"


def test_signing_in_again(home: Home) -> None:
    """`accounts reauth` gives new tokens to the same account; an unknown name is a clear line with a hint."""
    sign_in(home, "--add-account", "me", "--priority", "4")
    before, account_id = stored(home)[0], home.accounts()["me"]["id"]
    with signing_in(home, "accounts", "reauth", "me") as dialogue:
        status, said = dialogue.answer(allow(dialogue.url))
    assert (status, said[-1].partition(".")[0]) == (0, "Signed in to me again")
    after = stored(home)[0]
    assert after[2] != before[2]
    assert after[3] != before[3]
    assert after[4] == 4
    assert home.accounts()["me"]["id"] == account_id
    refused = home.ccflare("accounts", "reauth", "em", check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "there is no account named 'em'" in refused.stderr


def test_a_mistyped_code_may_be_pasted_again(home: Home) -> None:
    """Two bad lines are named, the third is good; the code itself is never repeated."""
    with signing_in(home, "--add-account", "me") as dialogue:
        code = allow(dialogue.url)
        status, said = dialogue.answer(code[:-1], f"x#{'A' * 43}", code)
    assert status == 0
    assert [line for line in said if "ccflare:" in line] == [
        "ccflare: the code is not complete: paste all of it, in the form code#state",
        "ccflare: this code belongs to another sign-in; paste the code that the newest address gave",
    ]
    assert state_of_url(dialogue.url) not in "".join(said)


def test_three_lines_without_a_code_are_enough(home: Home, upstream: Upstream) -> None:
    """Then it ends with status 1; nothing was sent and nothing added."""
    with signing_in(home, "--add-account", "me") as dialogue:
        status, said = dialogue.answer("one", "two", "three", allow(dialogue.url))
    assert status == 1
    assert len([line for line in said if "not complete" in line]) == 3
    assert stored(home) == []
    assert not [entry for entry in upstream.log if "oauth/token" in entry.target]


def test_an_end_of_input_is_not_a_try(home: Home) -> None:
    """Without a terminal and without a code there is one line and status 1."""
    done = home.ccflare("--add-account", "me", check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ccflare: no code was given; begin the sign-in again"


def test_a_name_that_is_taken_is_found_before_the_address_is_shown(home: Home) -> None:
    """Nobody goes to the browser for it."""
    sign_in(home, "--add-account", "me")
    for command in (["--add-account", "me"], ["accounts", "add", "me", "--mode", "console"]):
        done = home.ccflare(*command, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "ccflare: there is already an account named 'me'\n"


def test_a_name_that_is_taken_meanwhile_is_found_in_the_end(home: Home, upstream: Upstream) -> None:
    """Two sign-ins for one name: the second is told, and its code is not spent."""
    with signing_in(home, "--add-account", "me") as slow:
        sign_in(home, "--add-account", "me")
        status, said = slow.answer(allow(slow.url))
    assert status == 1
    assert said[-1] == "ccflare: there is already an account named 'me'"
    assert len(stored(home)) == 1
    assert len([entry for entry in upstream.log if "oauth/token" in entry.target]) == 1


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--add-account", "me", "--mode", "max", "--api-key", "-"], 1, "--mode is for signing in"),
        (["accounts", "add", "me", "--mode", "max", "--api-key-env", "X"], 1, "--mode is for signing in"),
        (["--add-account", "me", "--mode", "pro"], 2, "'pro' is not one of 'max', 'console'"),
        (["--mode", "max"], 2, "--mode only goes with --add-account"),
        (["--add-account", "a/b"], 1, "1 to 100 letters"),
        (["--add-account", "--mode"], 1, "looks like an option"),
        (["--add-account", "me", "--base-url", "ftp://x"], 1, "must look like https://"),
    ],
)
def test_wrong_calls(home: Home, arguments: list[str], status: int, words: str) -> None:
    """Each is one clear line, before any address is shown."""
    done = home.ccflare(*arguments, check=False)
    assert (done.returncode, done.stdout) == (status, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [["--add-account", "me"], ["accounts", "reauth", "me"]])
def test_without_an_oauth_client_both_ways_are_named(tmp_path: Path, upstream: Upstream, command: list[str]) -> None:
    """The line says what to set, and that a key will do."""
    home = sign_in_home(tmp_path, upstream)
    if "reauth" in command:
        sign_in(home, "--add-account", "me")
    home.settings = {}
    done = home.ccflare(*command, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "CLIENT_ID" in done.stderr
    assert "--api-key" in done.stderr


# A terminal.


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A pseudo terminal: the person's side and the program's side."""
    pty = pytest.importorskip("pty", reason="there are no terminals like that on this system")
    person, program = pty.openpty()
    yield person, program
    os.close(person)
    os.close(program)


def read_until(descriptor: int, text: str) -> str:
    """Read what a program shows on its terminal until some text has come."""
    shown = b""
    deadline = time.monotonic() + LIMIT_S
    while text.encode() not in shown:
        assert time.monotonic() < deadline, shown
        shown += os.read(descriptor, 1024)
    return shown.decode()


def on_terminal(home: Home, program: int, *arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=home.environment(),
        stdin=program,
        stdout=program,
        stderr=program,
        start_new_session=True,
    )


def test_a_terminal_with_a_browser(tmp_path: Path, upstream: Upstream, terminal: tuple[int, int]) -> None:
    """The address is printed and opened; a browser that never returns stops nothing; the code is asked for."""
    person, program = terminal
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}.part\nmv {opened}.part {opened}\nexec sleep 30\n')
    browser.chmod(0o700)
    home = sign_in_home(tmp_path, upstream, BROWSER=f"{browser} %s")
    process = on_terminal(home, program, "--add-account", "me")
    try:
        shown = read_until(person, "Paste the code (code#state): ")
        eventually(opened.exists)
        url = opened.read_text().strip()
        assert url in shown
        os.write(person, f"{allow(url)}\n".encode())
        read_until(person, "Added me.")
        assert process.wait(LIMIT_S) == 0
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the browser, too
        process.wait()
    assert stored(home)[0][0] == "me"


def test_without_a_display_no_browser_is_tried(home: Home, terminal: tuple[int, int]) -> None:
    """A text browser would take the terminal away; the address is enough. Ctrl-C ends quietly, with status 130."""
    person, program = terminal
    process = on_terminal(home, program, "--add-account", "me")
    try:
        read_until(person, "Paste the code")
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == 130
    finally:
        process.kill()
        process.wait()
    os.write(program, b"END")
    assert "Traceback" not in read_until(person, "END")
    assert stored(home) == []


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="the process list is read from /proc")
def test_neither_process_list_nor_database_show_state_or_code(home: Home) -> None:
    """While the code is waited for, and afterwards, neither is to be read anywhere."""
    with signing_in(home, "--add-account", "me") as dialogue:
        state = state_of_url(dialogue.url).encode()
        for file in ("cmdline", "environ"):
            assert state not in Path(f"/proc/{dialogue.process.pid}/{file}").read_bytes()
        assert all(state not in path.read_bytes() for path in home.path.glob("ccflare.db*"))
        code = allow(dialogue.url)
        assert dialogue.answer(code)[0] == 0
    kept = b"".join(path.read_bytes() for path in home.path.glob("ccflare.db*"))
    assert code.partition("#")[0].encode() not in kept


def test_listing_accounts_imports_nothing_of_a_sign_in(home: Home) -> None:
    """Start-up time is a feature: who signs in pays for it, nobody else."""
    script = "import sys; from ccflare.cli import main; main(['--list']); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=home.environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    assert {"ccflare.sign_in", "ccflare.tokens", "asyncio", "webbrowser"}.isdisjoint(done.stdout.split())
