"""`ccflare demo`: the main job on one screen, in a temporary directory, without an account or a network.

The parts are the real ones: the server is started by its own command, accounts are added by theirs, the official SDK
makes the requests. Only the upstream is simulated. What is shown is read from the database that the server writes.

On a terminal it stays when its table is shown: with gentle traffic, for the dashboard, until somebody ends it.
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
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ccflare.demo.accounts import SimulatedAccount
from ccflare.demo.budgets import Limits
from ccflare.demo.traffic import CONVERSATIONS, Conversation, converse, keep_talking
from ccflare.demo.upstream import SimulatedUpstream
from ccflare.errors import OperatorError
from ccflare.store import Store, open_store

START_S = 20.0
LONGEST_S = 60.0
LOOK_EVERY_S = 0.2
PACE_S = 0.02
"""Between the events of a stream; afterwards slower, so that the dashboard shows requests while they run."""
SLOW_PACE_S = 0.3


def run(*, once: bool = False) -> int:
    """Show the demo; about half a minute, on a terminal until Ctrl+C unless `once`. Returns the exit status."""
    missing = [name for name in ("anthropic", "rich") if find_spec(name) is None]
    if missing:
        raise OperatorError(f"The demo needs {' and '.join(missing)}: pip install 'ccflare[demo]'")
    stays = not once and sys.stdout.isatty()
    with ExitStack() as stack:
        stack.enter_context(_ended_like_by_hand())
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ccflare-demo-")))
        upstream = stack.enter_context(_upstream(_accounts()))
        base_url = f"http://127.0.0.1:{_free_port()}"
        environment = _environment(home, base_url)
        for account, priority in zip(_accounts(), (0, 1, 1), strict=True):
            _add(account, upstream.url, priority, environment)
        stack.enter_context(_server(environment, base_url, home))
        store = open_store(home / "ccflare.db")
        stack.callback(store.close)
        try:
            _watch(store, base_url, stays=stays)
            if stays:
                upstream.settings.pace = SLOW_PACE_S
                _stay(base_url)
        except KeyboardInterrupt:
            if not stays:
                raise
            sys.stdout.write("\nThe demo ends; nothing of it is left.\n")
    return 0


@contextmanager
def _ended_like_by_hand() -> Iterator[None]:
    """Have a closed terminal and a polite kill end the demo as Ctrl+C does: with everything that it has started."""

    def end(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    numbers = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before: list[Any] = [signal.signal(number, end) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _accounts() -> tuple[SimulatedAccount, ...]:
    """Return the accounts: the first is preferred and has the smallest budget."""
    return (
        SimulatedAccount("work", limits=Limits(rpm=12, period_s=6)),
        SimulatedAccount("home", limits=Limits(rpm=600, period_s=60)),
        SimulatedAccount("spare", limits=Limits(rpm=600, period_s=60)),
    )


@contextmanager
def _upstream(accounts: tuple[SimulatedAccount, ...]) -> Iterator[SimulatedUpstream]:
    """Run the simulated upstream in a thread of its own."""
    ready: threading.Event = threading.Event()
    serving: list[SimulatedUpstream] = []
    stop = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        upstream = SimulatedUpstream(accounts)
        upstream.settings.pace = PACE_S
        upstream.rule("529", match={"account": "home"}, skip=4, every=9)
        async with upstream:
            loops.append(asyncio.get_running_loop())
            serving.append(upstream)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="simulated-upstream")
    thread.start()
    if not ready.wait(START_S):
        raise OperatorError("The simulated upstream did not start")
    try:
        yield serving[0]
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
            [sys.executable, "-m", "ccflare", "serve"],
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl+C is for the demo, which ends the server
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


def _watch(store: Store, base_url: str, *, stays: bool) -> None:
    """Let the conversations run and tell what the server records of them."""
    from ccflare.demo.story import Story

    story = Story(store, sys.stdout)
    story.begin(base_url, CONVERSATIONS, stays=stays)
    with _talking(lambda each, stop: converse(each, base_url, stop)) as turns:
        give_up = time.monotonic() + LONGEST_S
        while not all(turn.done() for turn in turns) and time.monotonic() < give_up:
            story.go_on()
            time.sleep(LOOK_EVERY_S)
    time.sleep(2 * LOOK_EVERY_S)  # what ended last is written within a tenth of a second
    story.go_on()
    story.end(sum(turn.result() for turn in turns))


def _stay(base_url: str) -> None:
    """Go on with gentle traffic until somebody ends it; when there was enough of it, without."""
    sys.stdout.write(f"It goes on, with less to do. Dashboard: {base_url}/?range=1h   Ctrl+C ends it.\n")
    sys.stdout.flush()
    with _talking(lambda each, stop: keep_talking(each, base_url, stop)):
        while True:
            time.sleep(LOOK_EVERY_S)


@contextmanager
def _talking(talk: Callable[[Conversation, threading.Event], int]) -> Iterator[list[Future[int]]]:
    """Hold all conversations at once, each in a thread, as long as the block lasts."""
    stop = threading.Event()
    with ThreadPoolExecutor(len(CONVERSATIONS)) as threads:
        try:
            yield [threads.submit(talk, each, stop) for each in CONVERSATIONS]
        finally:
            stop.set()
