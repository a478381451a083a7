"""A server under a service manager: it says how it is doing, and serves on sockets that it is passed."""

import os
import queue
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import rawhttp
from harness import COMMAND, Home, Server, Upstream, client_headers, eventually, messages, passing, running
from workers_kit import alive, workers_of

WORKERS: tuple[list[str], ...] = ([], ["--workers", "2"])


class Manager:
    """Listens to what a service says of itself."""

    def __init__(self, name: str) -> None:
        self.name = f"@{name}"
        self.alive = 0
        """How many signs of life there were."""
        self._said: queue.Queue[str] = queue.Queue()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{name}")
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while said := self._socket.recv(4096).decode():
            if said == "WATCHDOG=1":
                self.alive += 1
            else:
                self._said.put(said)

    def next(self) -> str:
        """Return the next thing that it says, but for signs of life."""
        return self._said.get(timeout=15)

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", f"\0{self.name[1:]}")
        self._thread.join(5)
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    found = Manager(f"ccflare-{tmp_path.name}-{id(tmp_path)}")
    yield found
    found.close()


@pytest.mark.parametrize("flags", WORKERS)
def test_the_manager_is_told_of_the_life_of_a_service(
    flags: Sequence[str], make_home: Any, upstream: Upstream, manager: Manager
) -> None:
    """Ready when it serves, alive all the time, reloading and ready again on SIGHUP, and stopping before it ends."""
    home: Home = make_home({"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "200000"})
    with running(home, *flags) as server:
        assert manager.next() == "READY=1"
        assert server.health()["status"] == "ok"
        eventually(lambda: manager.alive >= 2, what="signs of life")
        home.settings_file.write_text('{"retry_attempts": 1}')
        server.signal(signal.SIGHUP)
        assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", manager.next())
        assert manager.next() == "READY=1"
        server.wait_for_log("2 workers are new" if flags else "Settings changed: retry_attempts")
        for pid in workers_of(server):
            assert b"NOTIFY_SOCKET" not in Path(f"/proc/{pid}/environ").read_bytes()
        server.signal(signal.SIGTERM)
        assert manager.next() == "STOPPING=1"
        assert server.process.wait(15) == 0


def test_a_worker_that_hangs_is_not_hidden(make_home: Any, upstream: Upstream, manager: Manager) -> None:
    """The manager that asks for signs of life gets none while one worker does nothing."""
    home: Home = make_home({"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "100000"})
    with running(home, "--workers", "2") as server:
        assert manager.next() == "READY=1"
        eventually(lambda: manager.alive >= 1, what="signs of life")
        hung = workers_of(server)[0]
        os.kill(hung, signal.SIGSTOP)
        try:
            eventually(lambda: ") T " in Path(f"/proc/{hung}/stat").read_text())
            # One that was asked before may still have answered.
            eventually(lambda: _is_silent(manager), what="no sign of life for six times as long as one may take")
        finally:
            os.kill(hung, signal.SIGCONT)
        before = manager.alive
        eventually(lambda: manager.alive > before)


def _is_silent(manager: Manager) -> bool:
    before = manager.alive
    time.sleep(0.3)
    return manager.alive == before


@pytest.mark.parametrize("flags", WORKERS)
def test_connections_wait_while_a_service_restarts(flags: Sequence[str], home: Home, upstream: Upstream) -> None:
    """On passed sockets a server serves; who connects while there is none is served by the next one."""
    request = rawhttp.request_bytes("POST", "/v1/messages", client_headers("s"), messages())
    with socket.create_server(("127.0.0.1", 0), backlog=64) as passed:
        port = passed.getsockname()[1]
        first = Server(home, *flags, passed=[passed])
        try:
            assert first.port == port
            with rawhttp.Connection(port) as connection:
                connection.send(request)
                assert connection.answer().status == 200
            pids = workers_of(first)
            assert first.stop() == 0
            assert not any(map(alive, pids))
            with rawhttp.Connection(port) as waiting:
                waiting.send(request)
                second = Server(home, *flags, passed=[passed])
                try:
                    assert waiting.answer().status == 200
                    assert second.stop() == 0
                finally:
                    second.kill()
        finally:
            first.kill()
    assert len(home.rows()) == 2


def test_what_cannot_be_served_on_is_refused(home: Home) -> None:
    """A passed descriptor that nobody can connect to, or that other machines reach, is one clear line."""
    with socket.socket() as silent, socket.create_server(("0.0.0.0", 0)) as public:
        for passed, words in ((silent, "no TCP socket that listens"), (public, "other machines")):
            done = subprocess.run(
                [*passing([passed]), *COMMAND, "serve"],
                env=home.environment(), pass_fds=[passed.fileno()], capture_output=True, text=True, timeout=20,
                check=False,
            )  # fmt: skip
            assert done.returncode == 1
            assert words in done.stderr
            assert len(done.stderr.strip().splitlines()) == 1
