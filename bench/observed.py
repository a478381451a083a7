"""`ccflare`, watched from within: `python -m bench.observed FILE serve ...` writes its counts to a file as it runs.

One line of JSON every second: tasks of the event loop, and blocks of memory that the interpreter has handed out.
"""

import asyncio
import json
import sys
import threading
import time
from pathlib import Path

import uvloop

from ccflare.cli import main

EVERY_S = 1.0

_loops: list[asyncio.AbstractEventLoop] = []
_new_event_loop = uvloop.new_event_loop


def _remember() -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = _new_event_loop()
    _loops.append(loop)
    return loop


def watch(path: Path) -> None:
    """Write down the counts for ever."""
    while True:
        time.sleep(EVERY_S)
        told = {"tasks": sum(len(asyncio.all_tasks(loop)) for loop in _loops), "blocks": sys.getallocatedblocks()}
        with path.open("a") as file:
            file.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    uvloop.new_event_loop = _remember  # type: ignore[assignment]  # a loop is a loop
    threading.Thread(target=watch, args=(Path(sys.argv.pop(1)),), daemon=True).start()
    sys.exit(main())
