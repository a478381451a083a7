"""The command: `python -m bench [--quick] [--json FILE] [--rows N] [--peer NAME=URL [--peer-pid PID]]...`."""

import argparse
import dataclasses
import signal
import sys
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from bench import table
from bench.machine import BenchError
from bench.run import DEFAULT, QUICK, Asked, run
from bench.servers import Target, peer


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="What ccflare costs, against nginx.")
    parser.add_argument("--quick", action="store_true", help="one short round: a minute and a half, less exact")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value of every round to FILE")
    parser.add_argument("--rows", type=int, help="exchanges in the history that is asked (10000000 take 5 GB)")
    parser.add_argument(
        "--peer", action="append", default=[], metavar="NAME=URL", help="measure another proxy that runs already"
    )
    parser.add_argument(
        "--peer-pid", action="append", default=[], type=int, metavar="PID", help="its process, for CPU and memory"
    )
    parser.add_argument(
        "--upstream-port", type=int, default=0, metavar="PORT", help="where the bench upstream listens, for peers"
    )
    return parser


def _peers(urls: Sequence[str], pids: Sequence[int]) -> list[Target]:
    """Return the peers; the first process id belongs to the first one. Raises BenchError."""
    if len(pids) > len(urls):
        raise BenchError("there are more --peer-pid than --peer")
    return [peer(url, pid) for url, pid in zip_longest(urls, pids)]


def main() -> int:
    """Measure and print one table. Returns 0 whatever the numbers are, 1 when there are none."""
    given = _parser().parse_args()
    # As an exception it passes through the code that ends the processes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    plan = QUICK if given.quick else DEFAULT
    if given.rows:
        plan = dataclasses.replace(plan, rows=given.rows)
    try:
        results, setting = run(plan, Asked(_peers(given.peer, given.peer_pid), given.upstream_port))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(table.text(results, setting))
    if given.json is not None:
        given.json.write_text(table.as_json(results, setting))
    return 0


if __name__ == "__main__":
    sys.exit(main())
