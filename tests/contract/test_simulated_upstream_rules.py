"""Where the simulated upstream's faults come from: rules, accounts, headers, directives."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ccflare.demo.accounts import SimulatedAccount
from ccflare.demo.upstream import SimulatedUpstream
from simulated_kit import Arrived, arrive, ask, by_key, eventually, fake, raw_request


@pytest.fixture
async def upstream() -> AsyncIterator[SimulatedUpstream]:
    """A server with one key account."""
    async with SimulatedUpstream([SimulatedAccount("a")]) as server:
        yield server


async def provoke(server: SimulatedUpstream, preset: Any, *, stream: bool = True, silent_s: float = 0.5) -> Arrived:
    """Have one request misbehave by a directive in its message."""
    headers = by_key(server.accounts["a"].api_key)
    return await arrive(server.url, raw_request(headers, fake(preset, stream=stream)), silent_s=silent_s)


async def test_a_rule_counts(upstream: SimulatedUpstream) -> None:
    """skip, every and times decide which of the matching requests misbehave."""
    upstream.rule("500", match={"path": "/v1/messages", "model": "*sonnet*"}, skip=1, every=2, times=2)
    statuses = [(await provoke(upstream, {}, stream=False)).status for _ in range(7)]
    assert statuses == [200, 500, 200, 500, 200, 200, 200]


@pytest.mark.parametrize(
    ("match", "applies"),
    [
        ({"method": "POST", "account": "a", "stream": False}, True),
        ({"account": "b"}, False),
        ({"stream": True}, False),
        ({"path": "/v1/files*"}, False),
        ({"header": {"Anthropic-Version": "^2023"}}, True),
        ({"header": {"anthropic-beta": "."}}, False),
        ({"body": "ple[a]se"}, True),
        ({"body": "nothing"}, False),
        ({"model": "claude-opus*"}, False),
    ],
)
async def test_what_a_rule_matches(upstream: SimulatedUpstream, match: dict[str, Any], applies: bool) -> None:
    """Each key of a match decides by itself."""
    upstream.rule("503", match=match)
    assert (await provoke(upstream, {}, stream=False)).status == (503 if applies else 200)


async def test_probability_is_seeded() -> None:
    """A rule with a probability applies to about that share, the same ones for the same seed."""
    runs = []
    for _ in range(2):
        async with SimulatedUpstream([SimulatedAccount("a")], seed=3) as server:
            server.rule("500", probability=0.5)
            runs.append([(await provoke(server, {}, stream=False)).status for _ in range(20)])
    assert runs[0] == runs[1]
    assert 3 < runs[0].count(500) < 17


async def test_later_sources_win(upstream: SimulatedUpstream) -> None:
    """The account's fault is the weakest, then rules, the header, the directive."""
    headers = by_key(upstream.accounts["a"].api_key)
    seen = []
    upstream.accounts["a"].fault = "500"
    seen.append((await arrive(upstream.url, raw_request(headers, ask()))).status)
    upstream.rule("503")
    seen.append((await arrive(upstream.url, raw_request(headers, ask()))).status)
    seen.append((await arrive(upstream.url, raw_request({**headers, "x-fake": "504"}, ask()))).status)
    seen.append((await arrive(upstream.url, raw_request({**headers, "x-fake": "504"}, fake("529")))).status)
    assert seen == [500, 503, 504, 529]


async def test_the_first_attempts_fail(upstream: SimulatedUpstream) -> None:
    """`fail_first` fails so many attempts over all accounts, or of each."""
    other = upstream.add(SimulatedAccount("b"))
    keys = [upstream.accounts["a"].api_key, other.api_key]

    async def statuses(action: dict[str, Any]) -> list[int]:
        return [
            (await arrive(upstream.url, raw_request(by_key(key), fake({"fail_first": action})))).status
            for key in keys * 2
        ]

    assert await statuses({"n": 2, "key": "x", "action": "529"}) == [529, 529, 200, 200]
    assert await statuses({"n": 1, "key": "y", "action": "500", "per_account": True}) == [500, 500, 200, 200]


async def test_only_some_accounts(upstream: SimulatedUpstream) -> None:
    """`only_accounts` spares the others."""
    other = upstream.add(SimulatedAccount("b")).api_key
    request = fake({"status": 500, "only_accounts": ["a*"]})
    assert (await arrive(upstream.url, raw_request(by_key(other), request))).status == 200
    own = by_key(upstream.accounts["a"].api_key)
    assert (await arrive(upstream.url, raw_request(own, request))).status == 500


@pytest.mark.parametrize("bad", ["no-such-preset", '{"no_such_key": 1}', '{"malformed": "wrongly"}', "{broken"])
async def test_unknown_faults_are_refused(upstream: SimulatedUpstream, bad: str) -> None:
    """A fault nobody knows is a 400 that says so, and a ValueError in process."""
    headers = {**by_key(upstream.accounts["a"].api_key), "x-fake": bad}
    got = await arrive(upstream.url, raw_request(headers, ask()))
    assert got.status == 400
    assert b"fake: " in got.rest
    with pytest.raises(ValueError, match=r"unknown|JSON|one of"):
        upstream.rule(bad)


async def test_an_accept_rule_ends_connections_unread(upstream: SimulatedUpstream) -> None:
    """A rule without match for `accept` ends connections before a byte is sent, as often as it says."""
    upstream.rule("reset-accept", times=1)
    assert (await arrive(upstream.url, b"")).end == "rst"
    assert upstream.log == []
    assert (await provoke(upstream, {})).status == 200


async def test_an_answer_from_the_head_alone(upstream: SimulatedUpstream) -> None:
    """`early_response` answers before the body came; the rest is read and the connection kept."""
    upstream.rule({"early_response": True, "status": 401}, times=1)
    headers = by_key(upstream.accounts["a"].api_key)
    request = raw_request(headers, ask(), keep=True)
    head, _, body = request.partition(b"\r\n\r\n")
    got = await arrive(upstream.url, head + b"\r\n\r\n" + body[:10], silent_s=0.2)
    assert (got.status, got.end) == (401, "silent")
    upstream.rule({"early_response": True, "status": 401}, match={"header": {"x-early": "1"}})
    early = raw_request({**headers, "x-early": "1"}, ask(), keep=True)
    both = await arrive(upstream.url, early + raw_request(headers, ask()), silent_s=5)
    assert [int(part[:3]) for part in both.data.split(b"HTTP/1.1 ")[1:]] == [401, 200]


async def test_an_upload_is_read_slowly(upstream: SimulatedUpstream) -> None:
    """`slow_read` takes a body at about so many bytes a second."""
    upstream.rule({"slow_read": 400_000})
    headers = by_key(upstream.accounts["a"].api_key)
    started = time.monotonic()
    got = await arrive(upstream.url, raw_request(headers, ask("x" * 200_000)))
    assert got.status == 200
    assert time.monotonic() - started > 0.3


async def test_nothing_is_left(upstream: SimulatedUpstream) -> None:
    """After broken and abandoned exchanges nothing is in flight and every one of them is in the log."""
    for preset in ("hang", "reset-mid", "stall", "garbage"):
        await provoke(upstream, preset, silent_s=0.1)
    await eventually(lambda: upstream.in_flight == 0, "nothing in flight")
    assert [entry.aborted for entry in upstream.log] == ["client", "server", "client", "server"]
    assert upstream.accounts["a"].in_flight == 0
