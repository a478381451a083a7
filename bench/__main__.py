"""The command: `python -m bench [--quick] [--json FILE]`."""

import argparse
import signal
import sys
from pathlib import Path

from bench import table
from bench.machine import BenchError
from bench.run import DEFAULT, QUICK, run


def main() -> int:
    """Measure and print one table. Returns 0 whatever the numbers are, 1 when there are none."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="What ccflare costs, against nginx.")
    parser.add_argument("--quick", action="store_true", help="one short round: less than a minute, less exact")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value of every round to FILE")
    given = parser.parse_args()
    # As an exception it passes through the code that ends the processes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        results, setting = run(QUICK if given.quick else DEFAULT)
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
