"""`ccflare demo`: the main job on one screen, in a temporary directory, without an account or a network.

The parts are the real ones: the server is started by its own command, accounts are added by theirs, the official SDK
makes the requests. Only the upstream is simulated. What is shown is read from the database that the server writes.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

from ccflare.demo.accounts import SimulatedAccount
from ccflare.demo.budgets import Limits
from ccflare.demo.traffic import CONVERSATIONS, converse
from ccflare.demo.upstream import SimulatedUpstream
from ccflare.errors import OperatorError
from ccflare.store import Store, open_store

START_S = 20.0
LONGEST_S = 60.0
LOOK_EVERY_S = 0.2


def run() -> int:
    """Show the demo; about half a minute. Returns the exit status."""
    missing = [name for name in ("anthropic", "rich") if find_spec(name) is None]
    if missing:
        raise OperatorError(f"The demo needs {' and '.join(missing)}: pip install 'ccflare[demo]'")
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ccflare-demo-")))
        upstream_url = stack.enter_context(_upstream(_accounts()))
        base_url = f"http://127.0.0.1:{_free_port()}"
        environment = _environment(home, base_url)
        for account, priority in zip(_accounts(), (0, 1, 1), strict=True):
            _add(account, upstream_url, priority, environment)
        stack.enter_context(_server(environment, base_url, home))
        store = open_store(home / "ccflare.db")
        stack.callback(store.close)
        _watch(store, base_url)
    return 0


def _accounts() -> tuple[SimulatedAccount, ...]:
    """Return the accounts: the first is preferred and has the smallest budget."""
    return (
        SimulatedAccount("work", limits=Limits(rpm=12, period_s=6)),
        SimulatedAccount("home", limits=Limits(rpm=600, period_s=60)),
        SimulatedAccount("spare", limits=Limits(rpm=600, period_s=60)),
    )


@contextmanager
def _upstream(accounts: tuple[SimulatedAccount, ...]) -> Iterator[str]:
    """Run the simulated upstream in a thread of its own."""
    ready: threading.Event = threading.Event()
    urls: list[str] = []
    stop = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        upstream = SimulatedUpstream(accounts)
        upstream.settings.pace = 0.02
        upstream.rule("529", match={"account": "home"}, skip=4, every=9)
        async with upstream:
            loops.append(asyncio.get_running_loop())
            urls.append(upstream.url)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="simulated-upstream")
    thread.start()
    if not ready.wait(START_S):
        raise OperatorError("The simulated upstream did not start")
    try:
        yield urls[0]
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(START_S)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _environment(home: Path, base_url: str) -> dict[str, str]:
    """Return the environment of a program that knows nothing of the user's own settings."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG", "TERM", "SYSTEMROOT"}}
    return kept | {
        "HOME": str(home),
        "PORT": base_url.rpartition(":")[2],
        "CCFLARE_CONFIG_PATH": str(home / "ccflare.json"),
        "CCFLARE_DB_PATH": str(home / "ccflare.db"),
        "CCFLARE_LOG_DIR": str(home / "logs"),
        "RETRY_DELAY_MS": "200",
        "CF_PRICING_OFFLINE": "1",
    }


def _add(account: SimulatedAccount, url: str, priority: int, environment: dict[str, str]) -> None:
    """Add an account as a person would: its key comes by standard input."""
    command = [
        "--add-account",
        account.name,
        "--api-key",
        "-",
        "--base-url",
        url,
        "--priority",
        str(priority),
    ]
    SimulatedUpstream((account,))  # gives the account its key
    subprocess.run(  # noqa: S603  # our own program, our own arguments
        [sys.executable, "-m", "ccflare", *command],
        input=account.api_key.encode(),
        env=environment,
        check=True,
        capture_output=True,
        timeout=START_S,
    )


@contextmanager
def _server(environment: dict[str, str], base_url: str, home: Path) -> Iterator[None]:
    """Run the real server until the block ends."""
    with (home / "server.txt").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ccflare", "serve"], env=environment, stdout=output, stderr=output
        )
    try:
        _wait_until_healthy(process, base_url, home)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(START_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_healthy(process: subprocess.Popen[bytes], base_url: str, home: Path) -> None:
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{base_url}/health", timeout=1):  # noqa: S310  # our own address
                return
        except OSError:
            time.sleep(0.05)
    raise OperatorError(f"The server did not start: {(home / 'server.txt').read_text().strip()[-500:]}")


def _watch(store: Store, base_url: str) -> None:
    """Let the conversations run and tell what the server records of them."""
    from ccflare.demo.story import Story

    story = Story(store, sys.stdout)
    story.begin(base_url, CONVERSATIONS)
    stop = threading.Event()
    with ThreadPoolExecutor(len(CONVERSATIONS)) as threads:
        try:
            turns = [threads.submit(converse, each, base_url, stop) for each in CONVERSATIONS]
            give_up = time.monotonic() + LONGEST_S
            while not all(turn.done() for turn in turns) and time.monotonic() < give_up:
                story.go_on()
                time.sleep(LOOK_EVERY_S)
        finally:
            stop.set()
    time.sleep(2 * LOOK_EVERY_S)  # what ended last is written within a tenth of a second
    story.go_on()
    story.end(sum(turn.result() for turn in turns))
