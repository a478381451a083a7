"""What `ccflare doctor` prints for people reads as people read: numbers, units, comparisons."""

import re
import time

from ccflare.store import Batch, Store
from ccflare.usage import Usage
from cli_kit import Run, exchange, put

NOW_MS = int(time.time() * 1000)
NOBODY = ("--port", "0")
"""No server is asked."""


def part(text: str, name: str) -> list[str]:
    """Return the lines below a heading."""
    _, _, behind = text.partition(f"\n{name}\n")
    return behind.split("\n\n")[0].splitlines()


def cells(line: str) -> list[str]:
    """Return what stands in the columns of a line."""
    return re.split(r" {2,}", line.strip())


def served(store: Store) -> None:
    """Make a slow request now, and two of the hour before."""
    account = put(store, "a")
    usage = Usage(input_tokens=1_234_567, output_tokens=20)
    slow = exchange(account.id, NOW_MS - 1, id="slow", response_time_ms=20_512, cost_microusd=10, usage=usage)
    before = [exchange(account.id, NOW_MS - 3_700_000 - at, id=f"b{at}", response_time_ms=7) for at in range(2)]
    store.write(Batch(exchanges=[slow, *before]))


def test_the_last_hour_stands_beside_the_one_before(run: Run, store: Store) -> None:
    """One line for each fact, in two columns; whatever is not known of both hours is left out."""
    served(store)
    head, *lines = part(run("doctor", *NOBODY).out, "Last hour")
    assert cells(head) == ["last hour", "hour before"]
    facts = {name: values for name, *values in map(cells, lines)}
    assert facts["requests"] == ["1", "2"]
    assert facts["input tokens"] == ["1,234,567", "-"]
    assert "thinking tokens" not in facts
    assert all(len(values) == 2 for values in facts.values())


def test_numbers_are_written_out(run: Run, store: Store) -> None:
    """Large ones with separators, small ones with their digits, none as a power of ten; what names a thing as it is."""
    served(store)
    text = run("doctor", *NOBODY).out
    facts = {name: value for name, value, _ in map(cells, part(text, "Last hour")[1:])}
    assert facts["avg response time ms"] == "20,512"
    assert facts["p95 response time ms"].startswith("20,")
    assert facts["cost usd"] == "0.00001"
    assert not [line for line in text.splitlines() if "e+0" in line or "e-0" in line]
    assert "  port   8765" in run("doctor", "--port", "8765").out


def test_free_room_is_told_from_size(run: Run, store: Store) -> None:
    """The column over the directories says that it is what is free on their disk."""
    put(store, "a")
    lines = part(run("doctor", *NOBODY).out, "Files")
    at = next(at for at, line in enumerate(lines) if cells(line) == ["path", "free bytes on its disk"])
    assert "," in lines[at + 1].split()[-1]
