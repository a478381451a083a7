"""Mixed traffic with a tag on every request, and what its ledger must say: the simulated upstream's own books.

A tag is a session of its own, so that a row of `requests`, the attempts that reached the upstream and what the client
saw can be brought together. A client that leaves does so behind `message_start` of a slow stream: up to there both
books have seen the same.
"""

import asyncio
import json
import random
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ccflare.demo.books import LogEntry
from ccflare.strategy import Peek, session_key
from harness import CLIENT_KEY, VERSION, Home, Row, Server, Upstream

MODELS = ("claude-sonnet-5-5", "claude-opus-5-5", "claude-haiku-5-5", "claude-opus-4-1-20250805")
NOW_AND_THEN = (
    ("500", 0.03),
    ("529", 0.03),
    ("close-silently", 0.02),
    ("odd-chunks", 0.03),
    ("429-concurrency", 0.0002),
)
"""What any attempt may meet."""
KINDS: Mapping[str, tuple[str, float]] = {
    "plain": ("", 40),
    "gzip": ("gzip", 6),
    "zstd": ("zstd", 3),
    "search": ('{"server_tool": true}', 4),
    "leave": ("slow-stream", 3),
    "error-event": ("error-event", 4),
    "truncated": ("disconnect-mid", 4),
    "no-stop": ("no-message-stop", 3),
    "first-error": ("error-event-first", 2),
    "bad-request": ("400", 3),
    "count": ("", 3),
}
"""What a request asks the upstream to do, by kind, and how often it comes."""
_STREAMED_ONLY = {"leave", "error-event", "truncated", "no-stop", "first-error"}
_CACHED = "The same beginning of many requests, long enough to be kept. " * 80
_DEADLINE_S = 30.0

TOKENS = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cache_read": "cache_read_input_tokens",
    "cache_write_5m": "cache_creation_5m_tokens",
    "cache_write_1h": "cache_creation_1h_tokens",
    "web_searches": "web_search_requests",
}
"""The upstream's names of the token classes, and the columns of `requests`."""


class Tally(NamedTuple):
    """What is counted of a day, an account and a model."""

    requests: int = 0
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    web_searches: int = 0

    def plus(self, other: "Tally") -> "Tally":
        return Tally(*(ours + theirs for ours, theirs in zip(self, other, strict=True)))


Sums = dict[tuple[str, str], Tally]
"""By account name and model."""


@dataclass(slots=True)
class Traffic:
    """Clients that go on asking whatever becomes of the server. `port` may change while they run."""

    port: int
    seed: int
    total: int
    pace_s: float = 0.0
    seen: Counter[str] = field(default_factory=Counter)
    asked: dict[str, str] = field(default_factory=dict)
    """The kind of every request by its tag."""
    began: dict[str, float] = field(default_factory=dict)
    """When each request was sent, in monotonic seconds."""
    ended: dict[str, float] = field(default_factory=dict)
    """When the client was done with it, whatever the outcome."""
    whole: set[str] = field(default_factory=set)
    """Tags of requests whose answer came whole."""

    half_asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, clients: int) -> None:
        """Ask `total` times over so many connections at once."""
        numbers = iter(range(self.total))
        await asyncio.gather(*(self._client(numbers, random.Random(self.seed * 1000 + n)) for n in range(clients)))

    async def _client(self, numbers: Iterable[int], rng: random.Random) -> None:
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        for number in numbers:
            tag = f"tag-{self.seed}-{number}"
            kind = rng.choices(list(KINDS), [weight for _, weight in KINDS.values()])[0]
            self.asked[tag], self.began[tag] = kind, time.monotonic()
            if 2 * len(self.asked) >= self.total:
                self.half_asked.set()
            try:
                async with asyncio.timeout(_DEADLINE_S):
                    if streams is None:
                        streams = await self._connect()
                    stays = await self._ask(*streams, tag, kind, rng)
            except (OSError, EOFError, asyncio.IncompleteReadError):
                self.seen["cut"] += 1
                stays = False
            self.ended[tag] = time.monotonic()
            if not stays and streams is not None:
                await _close(streams[1])
                streams = None
            if self.pace_s:
                await asyncio.sleep(self.pace_s)
        if streams is not None:
            await _close(streams[1])

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect, waiting while there is no server."""
        while True:
            with suppress(ConnectionRefusedError):
                return await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
            await asyncio.sleep(0.05)

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tag: str, kind: str, rng: random.Random
    ) -> bool:
        """Send one request and read its answer; False when the connection is of no more use."""
        writer.write(_request(tag, kind, rng))
        status, fields = await _head(reader)
        self.seen[str(status)] += 1
        if kind == "leave" and status == 200:
            await reader.readuntil(b"message_start")
            await reader.readuntil(b"\n\n")
            self.seen["left"] += 1
            return False
        await _body(reader, fields)
        self.whole.add(tag)
        return fields.get("connection", "") != "close"


def _request(tag: str, kind: str, rng: random.Random) -> bytes:
    fault, _ = KINDS[kind]
    stream = kind in _STREAMED_ONLY or (kind not in {"count", "gzip", "zstd"} and rng.random() < 0.5)
    asked: dict[str, Any] = {"model": rng.choice(MODELS), "messages": [{"role": "user", "content": f"Hello {tag}."}]}
    if kind != "count":
        asked |= {"max_tokens": rng.choice((16, 64, 256)), "stream": stream}
    if rng.random() < 0.4:
        ttl = rng.choice(("5m", "1h"))
        text = f"{rng.randrange(20)}. {_CACHED}"
        control = {"type": "ephemeral", "ttl": ttl}
        asked["system"] = [{"type": "text", "text": text, "cache_control": control}]
    body = json.dumps(asked).encode()
    fields = [
        f"POST /v1/messages{'/count_tokens' if kind == 'count' else ''} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {CLIENT_KEY}",
        f"anthropic-version: {VERSION}",
        "Content-Type: application/json",
        f"X-Claude-Code-Session-Id: {tag}",
        f"Content-Length: {len(body)}",
    ]
    if fault:
        fields.append(f"X-Fake: {fault}")
    return "\r\n".join(fields).encode() + b"\r\n\r\n" + body


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in head[1:] if line)
    return int(head[0].split(" ")[1]), {name.lower(): value.strip().lower() for name, _, value in pairs}


async def _body(reader: asyncio.StreamReader, fields: Mapping[str, str]) -> None:
    if fields.get("transfer-encoding") != "chunked":
        await reader.readexactly(int(fields.get("content-length", "0")))
        return
    while size := int(await reader.readuntil(b"\r\n"), 16):
        await reader.readexactly(size + 2)
    await reader.readuntil(b"\r\n")


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


# What the books say.


def delivered(upstream: Upstream) -> dict[str, LogEntry]:
    """Return the last attempt of every tag: the one whose answer was delivered, if any was."""
    last: dict[str, LogEntry] = {}
    for entry in sorted(upstream.settled_log(), key=lambda entry: entry.order):
        tag = entry.header("x-claude-code-session-id")
        if tag is not None:
            last[tag] = entry
    return last


def told(entry: LogEntry) -> Tally:
    """Return the tokens that an attempt told of."""
    usage = entry.usage
    return Tally(1) if usage is None else Tally(1, *(getattr(usage, name) for name in TOKENS))


def rows_by_tag(home: Home, tags: Iterable[str]) -> dict[str, Row]:
    """Return the row of each tag. Fails when a tag has two."""
    tag_of = {session_key(Peek(session_id=tag), "127.0.0.1"): tag for tag in tags}
    found: dict[str, Row] = {}
    for row in home.rows():
        tag = tag_of[row["session"]]
        assert tag not in found, f"two rows of {tag}"
        found[tag] = row
    return found


def of_row(row: Row) -> Tally:
    """Return what a row says."""
    return Tally(1, *(row[column] or 0 for column in TOKENS.values()))


def sums_of_rows(home: Home) -> Sums:
    """Add up the rows by account and model."""
    sums: Sums = defaultdict(Tally)
    names = home.names()
    for row in home.rows():
        key = (names.get(row["account_used"], ""), row["model"] or "")
        sums[key] = sums[key].plus(of_row(row))
    return dict(sums)


def sums_of_api(server: Server) -> Sums:
    """Ask the API for the same, one account after the other."""
    period = _get(server, "/api/analytics?range=24h")
    sums: Sums = {}
    for account in period["accounts"]:
        for model in _get(server, f"/api/analytics?range=24h&account={account['name'] or 'none'}")["models"]:
            tokens = [model["tokens"][column] or 0 for column in TOKENS.values()]
            sums[account["name"] or "", model["model"] or ""] = Tally(model["requests"], *tokens)
    assert period["overview"]["requests"] == sum(each.requests for each in sums.values())
    return sums


def _get(server: Server, path: str) -> Any:
    with urllib.request.urlopen(server.url + path, timeout=30) as answer:
        return json.load(answer)


def uncertain(traffic: Traffic, killed_at: float, restarted_at: float, lost_s: float) -> set[str]:
    """Return the tags that were under way, or had ended no longer than `lost_s` before the kill."""
    return {
        tag for tag, began in traffic.began.items() if began < restarted_at and traffic.ended[tag] > killed_at - lost_s
    }
