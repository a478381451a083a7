"""Real processes for tests: a simulated upstream in a thread, ccflare as a server process, its command line.

Everything has a deadline, and every process ends by its own id, whatever the test did.
"""

import asyncio
import json
import os
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

import rawhttp
from ccflare.demo.accounts import SimulatedAccount
from ccflare.demo.books import LogEntry
from ccflare.demo.upstream import SimulatedUpstream

T = TypeVar("T")
Row = dict[str, Any]

ROOT = Path(__file__).resolve().parent.parent
CLIENT_KEY = "client-side-dummy-key"
"""What clients prove themselves with towards ccflare. It must never reach the upstream."""
VERSION = "2023-06-01"
MODEL = "claude-sonnet-5-5"
DEFECTS = ("Traceback", "never retrieved", "never awaited", "by a defect", "Exception in callback")
"""Words that a sound server never writes."""
COMMAND = (sys.executable, "-m", "ccflare")
START_S = 20.0
SETTLE_S = 6.0
SOON_S = 1.0
"""What is promised for what somebody has changed beside a server."""


def eventually(question: Callable[[], T], *, within_s: float = SETTLE_S, what: str = "") -> T:
    """Ask until the answer is true, and return it. Fails at the deadline with the last answer."""
    deadline = time.monotonic() + within_s
    while not (found := question()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what or question}; last seen: {found!r}")
        time.sleep(0.01)
    return found


def _starved_s(*pids: int) -> float:
    """Return for how long threads of these processes have had something to do and no processor to do it on."""
    found = 0
    for pid in pids:
        for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with suppress(OSError):  # a thread that has ended meanwhile
                found += int(file.read_text().split()[1])
    return found / 1e9


class Upstream:
    """A simulated upstream that runs in a thread with its own event loop."""

    def __init__(
        self, *names: str, tls: ssl.SSLContext | None = None, strict: bool = True, log_size: int = 100_000
    ) -> None:
        accounts = [SimulatedAccount(name) for name in names]
        self.server = SimulatedUpstream(accounts, strict=strict, log_size=log_size)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="upstream", daemon=True)
        self._thread.start()
        self.url = self.run(self.server.start(ssl_context=tls))

    def run(self, coroutine: Any) -> Any:
        """Run a coroutine on the upstream's loop and return what it returns."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def do(self, action: Callable[[], T]) -> T:
        """Call something on the upstream's loop, where its state is safe to touch."""

        async def call() -> T:
            return action()

        found: T = self.run(call())
        return found

    def close(self) -> None:
        """Stop the server and end the thread."""
        try:
            self.run(self.server.stop())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()

    def account(self, name: str) -> SimulatedAccount:
        """Return an account of the upstream."""
        return self.server.accounts[name]

    def rule(self, action: Any, **more: Any) -> None:
        """Have requests misbehave; see `SimulatedUpstream.rule`."""
        self.do(lambda: self.server.rule(action, **more))

    def faults(self, **by_account: Any) -> None:
        """Replace all rules by one per account."""
        self.do(self.server.clear_rules)
        for name, action in by_account.items():
            self.rule(action, match={"account": name})

    @property
    def log(self) -> list[LogEntry]:
        """What was asked so far, in the order in which it ended."""
        return self.do(lambda: list(self.server.log))

    def settled_log(self, count: int | None = None) -> list[LogEntry]:
        """Return the log once nothing is in flight and, where it is said, so many requests are in it."""

        def settled() -> bool:
            return self.in_flight == 0 and (count is None or len(self.server.log) >= count)

        eventually(settled, what=f"upstream at rest, {count} requests logged")
        return self.log

    @property
    def in_flight(self) -> int:
        """Requests being answered now."""
        return int(self.server.in_flight)

    def forget(self) -> None:
        """Forget rules and traffic."""

        def clean() -> None:
            self.server.clear_rules()
            self.server.books.reset()

        self.do(clean)


@dataclass(slots=True)
class Home:
    """A user's directory with everything that ccflare keeps, and the environment that points there."""

    path: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    """Environment variables on top."""

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.path / "ccflare.db"

    @property
    def settings_file(self) -> Path:
        """The settings file."""
        return self.path / "ccflare.json"

    @property
    def app_log(self) -> Path:
        """The server's log."""
        return self.path / "logs" / "app.log"

    def environment(self) -> dict[str, str]:
        """Return the variables a process gets: nothing of the machine's own settings."""
        own = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.path),
            "TMPDIR": str(self.path),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "ccflare_CONFIG_PATH": str(self.settings_file),
            "ccflare_DB_PATH": str(self.database),
            "CCFLARE_LOG_DIR": str(self.path / "logs"),
            "RETRY_DELAY_MS": "10",
            "CF_PRICING_OFFLINE": "1",
        }
        return own | dict(self.settings)

    def ccflare(self, *arguments: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the command line."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            input=stdin,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=START_S,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"ccflare {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def add_account(self, name: str, key: str, base_url: str, *options: str) -> None:
        """Add an account as a user does."""
        self.ccflare("--add-account", name, "--api-key", "-", "--base-url", base_url, *options, stdin=key)

    def add_accounts(self, upstream: Upstream, *names: str) -> None:
        """Add accounts of the upstream, the first with the best priority."""
        for priority, name in enumerate(names):
            key = upstream.account(name).api_key
            self.add_account(name, key, upstream.url, "--priority", str(priority))

    def accounts(self) -> dict[str, Row]:
        """Return what `--list --json` says, by name."""
        listed: list[Row] = json.loads(self.ccflare("--list", "--json").stdout)
        return {account["name"]: account for account in listed}

    def states(self) -> dict[str, str]:
        """Return every account's state by its name."""
        return {name: account["state"] for name, account in self.accounts().items()}

    def names(self) -> dict[str, str]:
        """Return the names of the accounts by their ids."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=5)) as connection:
            return dict(connection.execute("SELECT id, name FROM accounts").fetchall())

    def limited_until_ms(self, name: str) -> int | None:
        """Return until when the store has an account limited."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=5)) as connection:
            found = connection.execute("SELECT rate_limited_until FROM accounts WHERE name = ?", (name,)).fetchone()
        return None if found is None else int(found[0] or 0)

    def rows(self) -> list[Row]:
        """Return the rows of `requests` in the order of arrival, with `attempts` decoded."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=5)) as connection:
            connection.row_factory = sqlite3.Row
            found = [dict(row) for row in connection.execute("SELECT * FROM requests ORDER BY timestamp, id")]
        for row in found:
            row["attempts"] = json.loads(row["attempts"] or "[]")
        return found

    def rows_when(self, count: int, *, within_s: float = SETTLE_S) -> list[Row]:
        """Return the rows once there are at least so many."""
        return eventually(
            lambda: found if len(found := self.rows()) >= count else [],
            within_s=within_s,
            what=f"{count} rows",
        )


_PASS = """
import os, sys
count = int(sys.argv[1])
for place, copy in enumerate([os.dup(int(each)) for each in sys.argv[2:2 + count]], 3):
    os.dup2(copy, place)
    os.set_inheritable(place, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(count), LISTEN_FDNAMES=":".join(["x"] * count))
os.execv(sys.argv[2 + count], sys.argv[2 + count:])
"""


def passing(sockets: Sequence[socket.socket]) -> list[str]:
    """Return what to put before a command, so that it gets these sockets as a service manager passes them."""
    if not sockets:
        return []
    return [sys.executable, "-c", _PASS, str(len(sockets)), *(str(sock.fileno()) for sock in sockets)]


class Server:
    """A running `ccflare serve`."""

    def __init__(self, home: Home, *flags: str, files: int | None = None, passed: Sequence[socket.socket] = ()) -> None:
        """`files`: how many descriptors it may have; None: as many as the tests. `passed`: sockets to serve on."""
        limited = () if files is None else ("sh", "-c", f'ulimit -n {files}; exec "$@"', "sh")
        self.home = home
        self._stderr = home.path / f"stderr-{time.monotonic_ns()}.txt"
        with self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*limited, *passing(passed), *COMMAND, "serve", "--port", "0", *flags],
                env=home.environment(),
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                start_new_session=True,
                pass_fds=[sock.fileno() for sock in passed],
            )
        try:
            self.port = self._wait_for_port()
        except BaseException:
            self.kill()
            raise

    @property
    def url(self) -> str:
        """Where clients go."""
        return f"http://127.0.0.1:{self.port}"

    def _wait_for_port(self) -> int:
        def port() -> int:
            found = re.search(r"listens on port (\d+)", self.output())
            assert self.process.poll() is None, f"the server ended at start:\n{self.output()}"
            return int(found[1]) if found else 0

        return eventually(port, within_s=START_S, what="the server tells its port")

    def output(self) -> str:
        """Return what this process wrote to its terminal."""
        return self._stderr.read_text(errors="replace")

    def log_text(self) -> str:
        """Return the log file."""
        return self.home.app_log.read_text() if self.home.app_log.exists() else ""

    def wait_for_log(self, words: str, *, within_s: float = SETTLE_S) -> str:
        """Return the first line of the log with these words once it is there."""

        def line() -> str:
            return next((line for line in self.log_text().splitlines() if words in line), "")

        return eventually(line, within_s=within_s, what=f"{words!r} in the log")

    def health(self) -> Row:
        """Ask `/health`."""
        with urllib.request.urlopen(f"{self.url}/health", timeout=10) as answer:
            found: Row = json.load(answer)
        return found

    def soon(self, question: Callable[[], T], what: str = "") -> T:
        """Ask until the answer is true, and return it. The server has a second for that.

        What it, or who asks, is kept waiting for a processor does not count: that is the machine's doing.
        """
        pids = (self.process.pid, os.getpid())
        began, starved_s = time.monotonic(), _starved_s(*pids)
        while not (found := question()):
            elapsed_s = time.monotonic() - began
            if elapsed_s - max(0.0, _starved_s(*pids) - starved_s) > SOON_S or elapsed_s > START_S:
                raise AssertionError(f"not within {SOON_S} s: {what or question}; last seen: {found!r}")
            time.sleep(0.01)
        return found

    def wait_until_accounts(self, total: int) -> None:
        """Wait until the server knows so many accounts."""
        self.soon(lambda: self.health()["accounts"]["total"] == total, f"{total} accounts")

    def descriptors(self) -> int:
        """Count the open files and sockets of the process."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def resident_bytes(self) -> int:
        """Return the resident memory of the process."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found
        return int(found[1]) * 1024

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def stop(self, *, within_s: float = 15.0) -> int:
        """Ask the server to end, as a service manager does, and return its exit status."""
        self.signal(signal.SIGTERM)
        return self.process.wait(within_s)

    def kill(self) -> None:
        """End the process at once."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)

    def assert_sound(self) -> None:
        """Assert that no defect and no credential was logged or printed."""
        for text in (self.output(), self.log_text()):
            for sign in (
                "Traceback",
                "never retrieved",
                "never awaited",
                "by a defect",
                "Exception in callback",
            ):
                assert sign not in text, text[max(0, text.find(sign) - 1000) : text.find(sign) + 3000]
            assert CLIENT_KEY not in text
            assert "sk-ant-api" not in text


@contextmanager
def running(home: Home, *flags: str, files: int | None = None) -> Iterator[Server]:
    """Run a server for as long as it is needed; in the end it must stop gently and have logged no defect."""
    server = Server(home, *flags, files=files)
    try:
        yield server
        if server.process.poll() is None:
            assert server.stop() == 0
        server.assert_sound()
    finally:
        server.kill()


# Requests.


def messages(text: str = "Hello", **more: Any) -> bytes:
    """Return the body of a `/v1/messages` request."""
    asked = {"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": text}], **more}
    return json.dumps(asked, ensure_ascii=False).encode()


def client_headers(session: str | None = None, **more: str) -> list[rawhttp.Pair]:
    """Return the fields a client sends: its key in the newest form, and its session where one is named."""
    pairs = [
        ("Authorization", f"Bearer {CLIENT_KEY}"),
        ("anthropic-version", VERSION),
        ("Content-Type", "application/json"),
    ]
    if session is not None:
        pairs.append(("X-Claude-Code-Session-Id", session))
    return pairs + [(name.replace("_", "-"), value) for name, value in more.items()]


def ask(  # the parts of a request, each with a default
    port: int,
    body: bytes | None = None,
    *,
    method: str = "POST",
    target: str = "/v1/messages",
    headers: Sequence[rawhttp.Pair] | None = None,
    session: str | None = None,
) -> rawhttp.Answer:
    """Send one request on a connection of its own and return the answer."""
    pairs = client_headers(session) if headers is None else list(headers)
    if body is None and method == "POST":
        body = messages()
    with rawhttp.Connection(port) as connection:
        connection.send(rawhttp.request_bytes(method, target, pairs, body))
        return connection.answer(head_only=method == "HEAD")


# What must hold after every test.


def timer_slack_ns(pid: int) -> int:
    """Return how much later than they ask for a process's main thread may be woken; the test is skipped where that is
    not told."""
    try:
        return int(Path(f"/proc/{pid}/timerslack_ns").read_text())
    except (FileNotFoundError, PermissionError):
        pytest.skip("only Linux tells of another process's timers, and only root")


def assert_at_rest(server: Server, upstream: Upstream, *, descriptors: int | None = None) -> None:
    """Assert that nothing is left of what went on: no exchange, no upstream request, no descriptor."""
    eventually(lambda: upstream.in_flight == 0, what="no request left upstream")
    eventually(lambda: server.health()["in_flight"] == 0, what="no exchange left")
    if descriptors is not None:
        eventually(lambda: server.descriptors() <= descriptors, what=f"descriptors back to {descriptors}")


def assert_upstream_clean(upstream: Upstream, *own: str) -> None:
    """Assert that no client credential went upstream but one of an account, and that sessions stayed put."""
    served: dict[str, set[str]] = {}
    for entry in upstream.settled_log():
        for secret in (CLIENT_KEY, *own):
            assert all(secret.encode() not in value for _, value in entry.headers), entry.headers
        credentials = [name for name, _ in entry.headers if name.lower() in {b"x-api-key", b"authorization"}]
        assert len(credentials) == 1, entry.headers
        session = entry.header("x-claude-code-session-id")
        began_badly = (entry.action or {}).get("error_event", {}).get("after_events") == 0
        if session is not None and entry.account is not None and entry.status == 200 and not began_badly:
            served.setdefault(session, set()).add(entry.account)
    assert all(len(accounts) == 1 for accounts in served.values()), served
