"""The command line as a real program: pipes, terminals, signals, and what other users can see."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ccflare

KEY = "sk-ant-api03-very-secret"
PROGRAM = [sys.executable, "-m", "ccflare"]
LIMIT_S = 20


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An empty HOME and nothing else that could be meant for ccflare."""
    sources = str(Path(ccflare.__file__).parents[1])
    return {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": sources, "LANG": "C.UTF-8"}


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A pseudo terminal: the person's side and the program's side."""
    pty = pytest.importorskip("pty", reason="there are no terminals like that on this system")
    person, program = pty.openpty()
    yield person, program
    os.close(person)
    os.close(program)


def accounts(home: str) -> list[tuple[Any, ...]]:
    """What a user with sqlite3 sees."""
    db = sqlite3.connect(Path(home) / ".config" / "ccflare" / "ccflare.db")
    try:
        return db.execute(
            "SELECT name, api_key, refresh_token, base_url, priority, account_tier FROM accounts"
        ).fetchall()
    finally:
        db.close()


def read_until(descriptor: int, text: str) -> str:
    """Read what a program shows on its terminal until some text has come."""
    shown = b""
    deadline = time.monotonic() + LIMIT_S
    while text.encode() not in shown:
        assert time.monotonic() < deadline, shown
        shown += os.read(descriptor, 1024)
    return shown.decode()


def test_the_documented_pipe(environ: dict[str, str]) -> None:
    """The line from the documentation works in a shell, and the next program finds the account."""
    program = " ".join(PROGRAM)
    script = (
        f'printf %s "$KEY" | {program} --add-account "my account" --api-key - '
        f"--base-url http://127.0.0.1:9 --priority 2 --tier 5 && {program} --list --json"
    )
    done = subprocess.run(
        ["sh", "-c", script],
        env={**environ, "KEY": KEY},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    assert [row["name"] for row in json.loads(done.stdout)] == ["my account"]
    assert accounts(environ["HOME"]) == [("my account", KEY, "", "http://127.0.0.1:9", 2, 5)]
    assert KEY not in done.stdout + done.stderr


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="the process list is read from /proc")
def test_the_process_list_does_not_show_the_key(environ: dict[str, str]) -> None:
    """While the program has the key, its arguments and its environment do not."""
    with subprocess.Popen(
        [*PROGRAM, "--add-account", "a", "--api-key", "-"],
        env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(KEY.encode())
        process.stdin.flush()
        for file in ("cmdline", "environ"):
            assert KEY.encode() not in Path(f"/proc/{process.pid}/{file}").read_bytes()
        out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0
    assert KEY.encode() not in out + err
    assert accounts(environ["HOME"])[0][1] == KEY


def test_a_terminal_does_not_show_the_key(environ: dict[str, str], terminal: tuple[int, int]) -> None:
    """A typed key is not echoed."""
    person, program = terminal
    process = subprocess.Popen(
        [*PROGRAM, "--add-account", "a", "--api-key"],
        env=environ, stdin=program, stdout=program, stderr=program, start_new_session=True,
    )  # fmt: skip
    shown = read_until(person, "API key for a: ")
    os.write(person, f"{KEY}\n".encode())
    shown += read_until(person, "Added a")
    assert process.wait(LIMIT_S) == 0
    assert KEY not in shown
    assert accounts(environ["HOME"])[0][1] == KEY


def test_ctrl_c_is_quiet(environ: dict[str, str], terminal: tuple[int, int]) -> None:
    """An interrupted question ends with status 130 and without a traceback."""
    person, program = terminal
    process = subprocess.Popen(
        [*PROGRAM, "--add-account", "a", "--api-key"],
        env=environ, stdin=program, stdout=program, stderr=program, start_new_session=True,
    )  # fmt: skip
    read_until(person, "API key for a: ")
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT_S) == 130
    os.write(program, b"END")
    assert "Traceback" not in read_until(person, "END")
    assert accounts(environ["HOME"]) == []


def test_an_empty_home(environ: dict[str, str]) -> None:
    """The first command on a new machine works and leaves only private files."""
    done = subprocess.run(
        [*PROGRAM, "--list", "--json"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
    for path in Path(environ["HOME"]).rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize(("arguments", "status"), [(["--list"], 0), (["--remove", "nobody"], 1), (["--frobnicate"], 2)])
def test_exit_codes(environ: dict[str, str], arguments: list[str], status: int) -> None:
    """Success, failure and a wrong call are told apart, each with one line on stderr."""
    done = subprocess.run(
        [*PROGRAM, *arguments], env=environ, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == status
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)


def test_a_reader_that_has_gone_is_no_error(environ: dict[str, str]) -> None:
    """`ccflare --help | true` complains to nobody."""
    with subprocess.Popen([*PROGRAM, "--help"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(LIMIT_S) != 0


def test_the_list_imports_little(environ: dict[str, str]) -> None:
    """Start-up time is a feature: nothing of the server is loaded for a table."""
    script = "import sys; from ccflare.cli import main; main(['--list']); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environ,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    heavy = {
        "asyncio",
        "rich",
        "uvicorn",
        "starlette",
        "httptools",
        "ssl",
        "socket",
        "http",
        "email",
        "difflib",
    }
    assert heavy.isdisjoint(done.stdout.split())
    assert "ccflare.store" in done.stdout.split()


@pytest.mark.parametrize("arguments", [["--list", "--json"], ["--help"], ["config"]])
def test_a_full_disk_behind_stdout_is_one_line(tmp_path: Path, arguments: list[str]) -> None:
    """Output that cannot be written ends with one clear line and status 1."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PROGRAM, *arguments], env=environment, stdout=full, stderr=subprocess.PIPE, text=True, timeout=LIMIT_S,
            check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if "No space left" in line] == [done.stderr.splitlines()[-1]]
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_group_alone_shows_its_help(tmp_path: Path) -> None:
    """A group of commands without one shows what there is, readable, with the status of a wrong call."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        [*PROGRAM, "accounts"], env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 2
    assert "Commands:\n" in done.stderr


def test_closed_standard_streams_are_no_defect(tmp_path: Path) -> None:
    """A program started without standard streams does its work."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    command = f"{sys.executable} -m ccflare --list >&- 2>&-"
    done = subprocess.run(["sh", "-c", command], env=environment, timeout=LIMIT_S, check=False)
    assert done.returncode == 0


def test_a_shell_can_complete_commands_and_values(environ: dict[str, str]) -> None:
    """The tab key's line from the README gives a script, and that script's question an answer."""
    for words, position, expected in (("ccflare hist", "1", "history"), ("ccflare logs --level w", "3", "warn")):
        asked = {"_CCFLARE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": position}
        done = subprocess.run(PROGRAM, env=environ | asked, capture_output=True, text=True, timeout=LIMIT_S, check=True)
        assert done.stdout == f"plain,{expected}\n"
