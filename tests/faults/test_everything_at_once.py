"""Many clients while everything goes wrong now and then: nothing is lost, mixed up or left behind."""

import asyncio
import random
from collections import Counter
from typing import Any

import httpx
import pytest

from harness import Upstream, assert_at_rest, assert_upstream_clean, client_headers, messages, running

CLIENTS = 24
EACH = 12
NOW_AND_THEN = [
    ("500", 0.1),
    ("529", 0.1),
    ("error-event-first", 0.05),
    ("disconnect-mid", 0.05),
    ("reset-mid", 0.05),
    ("garbage", 0.05),
    ({"disconnect": {"phase": "before_headers", "how": "rst"}}, 0.05),
    ("close-silently", 0.1),
    ("odd-chunks", 0.1),
    ({"delay_headers": 0.05}, 0.1),
]


async def _client(url: str, number: int, seen: Counter[str]) -> None:
    """Ask a dozen times; leave early now and then."""
    rng = random.Random(number)
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as client:
        for turn in range(EACH):
            word = f"client-{number}-turn-{turn}."
            body = messages(word, stream=rng.random() < 0.5)
            try:
                async with client.stream(
                    "POST", "/v1/messages", content=body, headers=client_headers(f"session {number}")
                ) as answer:
                    if rng.random() < 0.1:
                        seen["left"] += 1
                        continue
                    content = await answer.aread()
            except (httpx.RemoteProtocolError, httpx.ReadError):
                seen["cut"] += 1
                continue
            assert answer.status_code in {200, 500, 529, 503}, content
            seen[str(answer.status_code)] += 1
            others = [word for word in content.decode().split() if word.startswith("client-")]
            assert set(others) <= {word}


@pytest.mark.parametrize("seed", [1, 2])
def test_many_clients_and_many_faults(seed: int, make_home: Any, upstream: Upstream) -> None:
    """Every request is one row with the status its client saw, and in the end everything is at rest."""
    upstream.do(lambda: upstream.server.world.rng.seed(seed))
    for fault, probability in NOW_AND_THEN:
        upstream.rule(fault, probability=probability)
    seen: Counter[str] = Counter()

    async def all_of_them() -> None:
        await asyncio.gather(*(_client(server.url, seed * 1000 + number, seen) for number in range(CLIENTS)))

    home = make_home({"RETRY_DELAY_MS": "5"})
    with running(home) as server:
        asyncio.run(all_of_them())
        rows = home.rows_when(CLIENTS * EACH)
        assert_at_rest(server, upstream, descriptors=40)
        assert len(home.rows()) == CLIENTS * EACH
        assert all(row["attempts"] for row in rows)
        whole = sum(seen[status] for status in ("200", "500", "529", "503"))
        assert whole + seen["cut"] + seen["left"] == CLIENTS * EACH
        assert seen["200"] > CLIENTS * EACH / 2
    tried = sum(len(row["attempts"]) for row in rows)
    assert len(upstream.settled_log()) >= tried
    assert set(home.states().values()) == {"active"}
    assert_credentials_only(upstream)


def assert_credentials_only(upstream: Upstream) -> None:
    """Sessions may move here, for accounts fail at random; what is left is that no credential went upstream."""
    for entry in upstream.settled_log():
        entry.headers = [pair for pair in entry.headers if pair[0].lower() != b"x-claude-code-session-id"]
    assert_upstream_clean(upstream)
