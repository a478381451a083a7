"""Payloads to be stored, and ways to store, find and forget them."""

import random
import string
from typing import Any

import msgspec

from ccflare.payload import Content, Payload
from ccflare.records import Exchange
from ccflare.store import Batch, Store

PLENTY = 1 << 40


def payload(number: int, **fields: Any) -> Payload:
    made = Payload(
        id=f"x{number:05d}",
        timestamp_ms=10_000 + number,
        session="s",
        target="/v1/messages",
        request_head=b"content-type: application/json\nx-number: %d\n" % number,
        request=content(b'{"messages":[' + b'"again and again",' * 50 + b"%d]}" % number),
        status=200,
        response=content(b"answer %d" % number),
    )
    return msgspec.structs.replace(made, **fields)


def content(data: bytes) -> Content:
    return Content(data, len(data))


def conversation(turns: int, seed: int = 1) -> list[bytes]:
    """Bodies as an agent sends them: everything said so far, and one more turn of words that do not repeat."""
    rng = random.Random(seed)

    def text(size: int) -> str:
        return "".join(rng.choices(string.ascii_lowercase + "      ", k=size))

    system, said, bodies = text(20_000), [], []
    for _ in range(turns):
        said.append(f'{{"role":"user","content":"{text(700)}"}}')
        bodies.append(f'{{"messages":[{",".join(said)}],"system":"{system}","stream":true}}'.encode())
        said.append(f'{{"role":"assistant","content":"{text(700)}"}}')
    return bodies


def keep(store: Store, *payloads: Payload, budget_bytes: int = PLENTY) -> None:
    """Store payloads with their exchanges."""
    rows = [
        Exchange(
            id=each.id, timestamp_ms=each.timestamp_ms, method="POST", path="/v1/messages", status_code=200,
            success=True, response_time_ms=1,
        )
        for each in payloads
    ]  # fmt: skip
    store.write(Batch(exchanges=rows))
    assert store.payloads.write(payloads, budget_bytes=budget_bytes) == len(payloads)


def forget(store: Store, before_ms: int = 0, budget_bytes: int = PLENTY, at_most: int = 1000) -> int:
    return store.payloads.forget(before_ms=before_ms, budget_bytes=budget_bytes, at_most=at_most)


def kept(store: Store, *payloads: Payload) -> list[str]:
    """The ids of the payloads that are there; each must be the same as it was."""
    found = {each.id: store.payloads.read(each.id) for each in payloads}
    assert all(found[each.id] in (None, each) for each in payloads)
    return [name for name, each in found.items() if each is not None]
