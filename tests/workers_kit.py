"""Several workers for tests: which there are, and steady traffic whose every failure is kept."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import rawhttp
from harness import Home, Server, client_headers, eventually, messages


def workers_of(server: Server) -> list[int]:
    """Return the process ids of a server's workers."""
    pid = server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children]


def serving(server: Server) -> set[int]:
    """Return the numbers of the workers that serve, by the log."""
    numbers: set[int] = set()
    for line in server.log_text().splitlines():
        words = line.partition("[Server] Worker ")[2].split()
        if words[1:] == ["serves"]:
            numbers.add(int(words[0]))
        elif words[1:3] == ["has", "stopped"] or " after " in line:
            numbers.discard(int(words[0]) if words else 0)
    return numbers


def alive(pid: int) -> bool:
    """Say whether a process lives."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:1]


PAUSE_S = 0.01


class Traffic:
    """Clients that ask again and again: some on kept connections, one on a new one each time.

    They leave the machine some time, because a worker that is started needs it.
    """

    def __init__(self, port: int, clients: int) -> None:
        self.port = port
        self.served_at: list[float] = []
        """The monotonic second at which each answer was whole."""
        self.failures: list[str] = []
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(clients)]

    @property
    def served(self) -> int:
        return len(self.served_at)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(20)

    def more(self, count: int) -> None:
        """Wait until so many further requests were served."""
        wanted = self.served + count
        eventually(lambda: self.served >= wanted or self.failures, within_s=15, what=f"{count} more requests")

    def _run(self, number: int) -> None:
        request = rawhttp.request_bytes("POST", "/v1/messages", client_headers(f"session-{number}"), messages())
        connection: rawhttp.Connection | None = None
        while not self._end.wait(PAUSE_S):
            try:
                if connection is None:
                    connection = rawhttp.Connection(self.port)
                connection.send(request)
                answer = connection.answer()
            except (OSError, AssertionError) as error:
                self._note(f"{type(error).__name__}: {error}")
                if connection is not None:
                    connection.close()
                connection = None
                continue
            whole = answer.status == 200 and answer.end == "whole"
            self._note("" if whole else f"{answer.status} {answer.end}")
            if number == 0 or answer.header("connection") == "close":
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def _note(self, failure: str) -> None:
        with self._lock:
            if failure:
                self.failures.append(failure)
            else:
                self.served_at.append(time.monotonic())


@contextmanager
def traffic(server: Server, clients: int = 6) -> Iterator[Traffic]:
    """Have clients ask for as long as the block lasts."""
    found = Traffic(server.port, clients)
    found.start()
    try:
        yield found
    finally:
        found.stop()


def spread(home: Home, server: Server) -> None:
    """Wait until two workers serve."""
    eventually(lambda: len(serving(server)) == 2, what=f"two workers of {home.path}")


class Desk:
    """A kept connection to one certain worker."""

    def __init__(self, port: int) -> None:
        self.connection = rawhttp.Connection(port)
        self.close = self.connection.close
        assert self.ask(method="HEAD", target="/api/hello").status == 200

    def send(
        self,
        body: bytes | None = None,
        *,
        method: str = "POST",
        target: str = "/v1/messages",
        session: str | None = None,
    ) -> None:
        """Send a request."""
        self._head_only = method == "HEAD"
        headers = client_headers(session)
        self.connection.send(rawhttp.request_bytes(method, target, headers, body))

    def answer(self) -> rawhttp.Answer:
        """Read the answer."""
        return self.connection.answer(head_only=self._head_only)

    def ask(self, body: bytes | None = None, **more: Any) -> rawhttp.Answer:
        """Send a request and return the answer."""
        self.send(body, **more)
        return self.answer()

    def get(self, target: str) -> Any:
        """Return the JSON at a path."""
        answer = self.ask(method="GET", target=target)
        assert answer.status == 200, answer.body
        return json.loads(answer.body)

    def post(self, target: str, **body: Any) -> Any:
        """Send JSON; return the JSON that comes back."""
        answer = self.ask(json.dumps(body).encode(), target=target)
        assert answer.status < 300, answer.body
        return json.loads(answer.body)


@contextmanager
def desks(server: Server) -> Iterator[tuple[Desk, Desk]]:
    """Connect to each of two workers."""
    with more_desks(server, 1) as ((one,), (other,)):
        yield one, other


@contextmanager
def more_desks(server: Server, each: int) -> Iterator[tuple[list[Desk], list[Desk]]]:
    """Connect so often to each of two workers: while one is stopped it is the other that accepts."""
    eventually(lambda: len(serving(server)) == 2, what="two workers")
    first, second = workers_of(server)
    with ExitStack() as stack:
        found: list[list[Desk]] = []
        for stopped in (second, first):
            os.kill(stopped, signal.SIGSTOP)
            try:
                found.append([stack.enter_context(closing(Desk(server.port))) for _ in range(each)])
            finally:
                os.kill(stopped, signal.SIGCONT)
        yield found[0], found[1]
