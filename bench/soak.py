"""A long mixed load with faults: `python -m bench.soak [--minutes 15] [--per-second 40]`.

ccflare stands between the simulated upstream and clients that stream, leave, read slowly and ask for faults; accounts
are changed by the command line, a dashboard polls and follows, the log is rotated. Every five seconds it is looked at
from outside and from within. In the end nothing may have grown, no error been seen that nobody asked for, and the books
of clients, upstream and database must agree. The exit status says so.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import uvloop

from bench.machine import BenchError, Child, Cores
from bench.servers import free_port, wait_until_up
from bench.soak_judge import judge, text
from bench.soak_server import DEFECTS, Soak, environment
from bench.soak_traffic import Traffic
from ccflare.demo.accounts import SimulatedAccount
from ccflare.demo.upstream import SimulatedUpstream

ACCOUNTS = 6
CLIENTS = 60
START_S = 60.0
SETTLE_S = 20.0


async def run(home: Path, stack: ExitStack, minutes: float, per_second: float) -> tuple[Soak, Traffic]:
    """Run everything for so long, then let it come to rest. Raises BenchError when it cannot begin."""
    names = [*(f"key-{number + 1}" for number in range(ACCOUNTS)), "visitor"]
    upstream = SimulatedUpstream([SimulatedAccount(name) for name in names], log_size=100_000)
    await upstream.start()
    port = free_port()
    everywhere = Cores.of_this_machine()
    command = [sys.executable, "-m", "bench.observed", str(home / "observed"), "serve", "--port", str(port)]
    child = Child(command, everywhere.measured | everywhere.others, home, environment(home))
    stack.callback(child.stop)
    wait_until_up(child, port, "GET", "/health", within_s=START_S)
    soak = Soak(upstream, home, port, child.pid)
    for name in names[:ACCOUNTS]:
        given = upstream.accounts[name].api_key.encode()
        await soak.command("--add-account", name, "--api-key", "-", "--base-url", upstream.url, given=given)
    await asyncio.sleep(2)
    traffic = Traffic(port, per_second)
    chores = [asyncio.create_task(chore()) for chore in (soak.look, soak.poll, soak.follow, soak.change, soak.rotate)]
    load = asyncio.create_task(traffic.run(CLIENTS))
    await asyncio.wait([load, *chores], timeout=minutes * 60, return_when=asyncio.FIRST_EXCEPTION)
    for chore in chores:
        chore.cancel()
    for ended in await asyncio.gather(*chores, return_exceptions=True):
        if not isinstance(ended, asyncio.CancelledError):
            soak.faults.append(f"a chore of the soak ended: {ended!r}")
    traffic.stop()
    await load
    await come_to_rest(soak)
    await upstream.stop()
    if not child.running:
        soak.faults.append("the server ended by itself")
    child.stop()
    soak.take_log()
    for line in child.complaint().splitlines():
        if any(sign in line for sign in DEFECTS):
            soak.faults.append(f"stderr: {line[:200]}")
    return soak, traffic


async def come_to_rest(soak: Soak) -> None:
    """Wait until nothing is in flight and everything is written; look once more."""
    last = time.monotonic() + SETTLE_S
    while time.monotonic() < last:
        await asyncio.sleep(1)
        seen = soak.seen(json.loads(await soak.get("/health")))
        if not (seen.in_flight or seen.waiting or soak.upstream.in_flight):
            break
    else:
        soak.faults.append(f"no rest within {SETTLE_S:.0f} s: {seen}")
    await asyncio.sleep(2)
    soak.looks.append(soak.seen(json.loads(await soak.get("/health"))))
    soak.upstream_asked = soak.upstream.books.requests


def main() -> int:
    """Soak and judge. Returns 1 when something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description="A long mixed load with faults.")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--per-second", type=float, default=40.0)
    parser.add_argument("--json", type=Path, help="write every look to a file")
    given = parser.parse_args()
    os.umask(0o077)
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ccflare-soak-")))
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        try:
            soak, traffic = runner.run(run(home, stack, given.minutes, given.per_second))
        except BenchError as error:
            print(f"soak: {error}", file=sys.stderr)
            return 1
        wrong = judge(soak, traffic)
        print(text(soak, traffic))
    for what in wrong:
        print(f"WRONG: {what}")
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(look) for look in soak.looks]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
