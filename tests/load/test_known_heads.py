"""Answers whose heads are recognised, on their whole way between real sockets."""

import re
from contextlib import closing
from pathlib import Path

from bench import payload

from ccflare.store import open_store
from load_kit import rig, run

ANSWERS = 40
"""More than twice as many as it takes until a head is recognised."""
_OF_ITS_OWN = re.compile(rb"remaining: \d+|dur=[0-9.]+")
"""What two of these answers differ in: what is left of the limits, and our share of the time."""


def test_a_recognised_head_reaches_client_and_store_as_any_other(tmp_path: Path) -> None:
    """The last answers are as the first, to the byte; of what upstream said all is there, of its credentials none."""

    async def scenario() -> list[bytes]:
        async with rig(tmp_path) as there:
            (request,) = there.requests(1)
            got = [await there.client.ask(request) for _ in range(ANSWERS)]
            await there.at_rest()
            return got

    got = run(scenario)
    assert len({_OF_ITS_OWN.sub(b"", each) for each in got}) == 1
    heads = [each.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:] for each in got]
    said = payload.answer().partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    names = [line.partition(b": ")[0] for line in said]
    assert [line.partition(b": ")[0] for line in heads[-1]] == [
        *(name for name in names if name != b"content-length"), b"server-timing", b"content-length"
    ]  # fmt: skip
    with closing(open_store(tmp_path / "load.db")) as store:
        kept = [store.payloads.read(each.id) for each in store.exchanges()]
    lines = [[b"set-cookie: ***" if line.startswith(b"set-cookie: ") else line for line in head[:-1]] for head in heads]
    assert sorted(made.response_head.splitlines() for made in kept if made is not None) == sorted(lines)
