"""The ledger against the upstream's own books, after mixed traffic with faults, disconnects and a kill in the middle.

`CCFLARE_TEST_EXCHANGES=20000` makes it long; the suite's short form asks a thousand times.
"""

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import books_kit as books
from harness import Home, Server, Upstream, eventually

EXCHANGES = int(os.environ.get("CCFLARE_TEST_EXCHANGES", "1000"))
CLIENTS = 24
LOST_S = 0.25
SLACK_S = 0.25
"""What the machine, not the journal, may take between an answer's end here and its end there."""
ACCOUNTS = ("first", "second", "third")
FAR_S = 60.0 + EXCHANGES / 100


@pytest.fixture
def busy_upstream() -> Iterator[Upstream]:
    """An upstream that now and then refuses, with the memory for a long test."""
    upstream = Upstream(*ACCOUNTS, log_size=EXCHANGES * 4)
    upstream.do(lambda: upstream.server.world.rng.seed(7))
    for fault, probability in books.NOW_AND_THEN:
        upstream.rule(fault, probability=probability)
    yield upstream
    upstream.close()


class Killed:
    """When the server was killed and when it was there again, in monotonic seconds."""

    at = back_at = 0.0


async def drive(home: Home, first: Server, traffic: books.Traffic, servers: list[Server]) -> Killed:
    """Let the traffic run; kill the server when half of it has been asked, and start another one."""
    killed = Killed()

    async def kill_in_the_middle() -> None:
        await traffic.half_asked.wait()
        killed.at = time.monotonic()
        await asyncio.to_thread(first.kill)
        servers.append(await asyncio.to_thread(Server, home))
        traffic.port = servers[-1].port
        killed.back_at = time.monotonic()

    async with asyncio.timeout(FAR_S), asyncio.TaskGroup() as tasks:
        tasks.create_task(traffic.run(CLIENTS))
        tasks.create_task(kill_in_the_middle())
    return killed


@pytest.mark.timeout(FAR_S + 120)
def test_every_book_says_the_same(tmp_path: Path, busy_upstream: Upstream) -> None:
    """Rows, rollups, API and upstream agree on each account, model and token class; a kill costs 250 ms at most."""
    upstream, home = busy_upstream, Home(tmp_path, {"RETRY_DELAY_MS": "5", "CF_PRICING_OFFLINE": "1"})
    for name in ACCOUNTS:
        home.add_account(name, upstream.account(name).api_key, upstream.url)
    servers = [Server(home)]
    traffic = books.Traffic(servers[0].port, seed=3, total=EXCHANGES, pace_s=0.001)
    try:
        killed = asyncio.run(drive(home, servers[0], traffic, servers))
        entries = books.delivered(upstream)
        unsure = books.uncertain(traffic, killed.at, killed.back_at, LOST_S + SLACK_S)
        certain = (entries.keys() | traffic.whole) - unsure
        rows = eventually(
            lambda: found if (found := books.rows_by_tag(home, traffic.asked)).keys() >= certain else {},
            what="a row for every exchange but those around the kill",
        )
        lost = (entries.keys() | traffic.whole) - set(rows)
        told = {tag: books.told(entries[tag]) if tag in entries else books.Tally(1) for tag in rows}
        differ = {
            tag: (traffic.asked[tag], row["status_code"], row["error_message"], books.of_row(row), told[tag])
            for tag, row in rows.items()
            if tag not in unsure and books.of_row(row) != told[tag]
        }
        assert not differ, f"{len(differ)} rows differ: {list(differ.items())[:5]}"
        assert books.sums_of_api(servers[-1]) == books.sums_of_rows(home)
        assert servers[-1].stop() == 0
        servers[-1].assert_sound()
    finally:
        for server in servers:
            server.kill()
    sys.stdout.write(f"{len(rows)} rows, {len(lost)} lost of {len(unsure)} uncertain; {dict(traffic.seen)}\n")
    assert min(traffic.seen[each] for each in ("200", "400", "left", "cut")) > 0
