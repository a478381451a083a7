"""What the simulated upstream remembers of its traffic: a log, and totals to hold a ledger against."""

import hashlib
from collections import deque
from typing import Any

import msgspec

from ccflare.demo.reply import Usage

MOST_TIMES = 1000


class LogEntry(msgspec.Struct):
    """One request from its head to the end of its answer. Times are monotonic seconds."""

    order: int
    """Counts requests from 1 in the order their heads arrived."""
    connection: int
    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    """As they arrived: order, spelling, repeats."""
    started_at: float
    body: bytes = b""
    """Emptied when the request ends, unless bodies are kept; `body_bytes` and `body_sha256` stay."""
    body_bytes: int = 0
    body_sha256: str = ""
    body_times: list[float] = msgspec.field(default_factory=list)
    """When pieces of the request body arrived, at most the first thousand."""
    account: str | None = None
    credential: str | None = None
    """The last six characters of the credential."""
    model: str | None = None
    stream: bool = False
    action: dict[str, Any] | None = None
    """The fault that was applied."""
    status: int | None = None
    request_id: str | None = None
    response_head: bytes = b""
    response_bytes: int = 0
    """Bytes written, head and framing included."""
    response_sha256: str = ""
    """Of the body that was meant to be sent, after content coding and before framing."""
    write_times: list[float] = msgspec.field(default_factory=list)
    ended_at: float | None = None
    complete: bool = False
    """The answer went out whole, as it was meant."""
    aborted: str | None = None
    """Who broke the exchange off: `client` or `server`."""
    usage: Usage | None = None
    """The token counts that were told, up to where the answer got."""

    def header(self, name: str) -> str | None:
        """Return the first value of a request field."""
        wanted = name.lower().encode()
        return next((value.decode("latin-1") for key, value in self.headers if key.lower() == wanted), None)

    @property
    def response_headers(self) -> list[tuple[str, str]]:
        """The answer's fields as they were sent."""
        lines = self.response_head.decode("latin-1").split("\r\n")[1:]
        pairs = (text.partition(": ") for text in lines if text)
        return [(name, value) for name, _, value in pairs]

    def as_json(self) -> dict[str, Any]:
        """Describe the entry for the control interface."""
        plain = {name: getattr(self, name) for name in self.__struct_fields__ if name != "body"}
        plain["headers"] = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in self.headers]
        plain["response_head"] = self.response_head.decode("latin-1")
        plain["path"] = self.target.partition("?")[0]
        return plain


class Totals(msgspec.Struct):
    """What one account was used for."""

    requests: int = 0
    succeeded: int = 0
    """Answered with 2xx, whole."""
    failed: int = 0
    aborted: int = 0
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    web_searches: int = 0

    def add(self, usage: Usage) -> None:
        """Count tokens."""
        self.input += usage.input
        self.output += usage.output
        self.cache_read += usage.cache_read
        self.cache_write_5m += usage.cache_write_5m
        self.cache_write_1h += usage.cache_write_1h
        self.web_searches += usage.web_searches


class Books:
    """Counts and the bounded log."""

    def __init__(self, log_size: int, *, keep_bodies: bool = False) -> None:
        self._size = log_size
        self._keep_bodies = keep_bodies
        self.reset()

    def reset(self) -> None:
        """Forget the traffic so far; what is in flight stays counted as in flight."""
        self.entries: deque[LogEntry] = deque(maxlen=self._size)
        self.accounts: dict[str, Totals] = {}
        self.models: dict[str, dict[str, Totals]] = {}
        self.requests = 0
        self.peak_in_flight = getattr(self, "in_flight", 0)
        self.in_flight: int = self.peak_in_flight
        self.connections = 0
        self.open_connections: int = getattr(self, "open_connections", 0)
        self.peak_connections = self.open_connections

    def connected(self) -> int:
        """Count a new connection and return its number."""
        self.connections += 1
        self.open_connections += 1
        self.peak_connections = max(self.peak_connections, self.open_connections)
        return self.connections

    def disconnected(self) -> None:
        """Count a connection that is gone."""
        self.open_connections -= 1

    def begin(self) -> int:
        """Count a request whose head has arrived and return its number."""
        self.requests += 1
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        return self.requests

    def end(self, entry: LogEntry, entity: bytes, now: float) -> None:
        """Log a request that is over, with the body of its answer, and count it for its account."""
        self.in_flight -= 1
        entry.ended_at = now
        entry.response_sha256 = hashlib.sha256(entity).hexdigest()
        entry.body_bytes = len(entry.body)
        entry.body_sha256 = hashlib.sha256(entry.body).hexdigest()
        if not self._keep_bodies:
            entry.body = b""
        self.entries.append(entry)
        if entry.account is None:
            return
        account = self.accounts.get(entry.account)
        if account is None:
            account = self.accounts[entry.account] = Totals()
        _count(account, entry)
        if entry.model is not None and entry.usage is not None:
            by_model = self.models.setdefault(entry.account, {})
            _count(by_model.setdefault(entry.model, Totals()), entry)

    def totals(self) -> dict[str, Any]:
        """Describe all counts for the control interface."""
        return {
            "requests": self.requests,
            "in_flight": self.in_flight,
            "peak_in_flight": self.peak_in_flight,
            "connections": self.connections,
            "open_connections": self.open_connections,
            "peak_connections": self.peak_connections,
            "accounts": self.accounts,
            "models": self.models,
        }


def _count(totals: Totals, entry: LogEntry) -> None:
    totals.requests += 1
    if entry.aborted is not None:
        totals.aborted += 1
    elif entry.status is not None and entry.status < 300 and entry.complete:
        totals.succeeded += 1
    else:
        totals.failed += 1
    if entry.usage is not None:
        totals.add(entry.usage)
