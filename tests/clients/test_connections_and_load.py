"""Connections, parallel clients, and sessions that stay with their account."""

import asyncio
import json
import uuid
from typing import Any

import httpx
import pytest

import rawhttp
from harness import VERSION, ask, client_headers, eventually, messages

PARALLEL = 150
POST = b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\n"


def test_22_an_idle_connection_that_upstream_closed_is_no_error(stage: Any) -> None:
    """When upstream closes connections between requests, the next request is served, by the same account."""
    for _ in range(5):
        assert ask(stage.port, messages("[[fake close-silently]]")).status == 200
    assert ask(stage.port, messages()).status == 200
    assert {len(row["attempts"]) for row in stage.new_rows(6)} == {1}


def test_23_client_connections_are_kept_alive(stage: Any) -> None:
    """Messages, streams, errors and health checks of one client go over one connection."""
    asked = [
        messages("one"),
        messages("two", stream=True),
        messages("[[fake 400]]"),
        messages("[[fake 404]]", stream=True),
    ]
    with rawhttp.Connection(stage.port) as connection:
        for body in asked * 5:
            connection.send(rawhttp.request_bytes("POST", "/v1/messages", client_headers(), body))
            assert connection.answer().end == "whole"
        connection.send(rawhttp.request_bytes("GET", "/health", []))
        assert connection.answer().status == 200


def test_23_pipelined_requests_are_answered_in_order(stage: Any) -> None:
    """Requests sent without waiting for answers are answered one after the other."""
    texts = [f"number {number}" for number in range(8)]
    with rawhttp.Connection(stage.port) as connection:
        requests = (rawhttp.request_bytes("POST", "/v1/messages", client_headers(), messages(text)) for text in texts)
        connection.send(b"".join(requests))
        for text in texts:
            assert f"You said: {text}" in connection.answer().body.decode()


async def test_24_parallel_streams_are_not_mixed_up(stage: Any) -> None:
    """A hundred and fifty streams at once each get their own words, and none waits for another."""
    began = asyncio.get_running_loop().time()
    limits = httpx.Limits(max_connections=PARALLEL)
    async with httpx.AsyncClient(base_url=stage.url, trust_env=False, timeout=30, limits=limits) as client:

        async def one(number: int) -> str:
            word = f"word-{number}-{uuid.uuid4()}"
            body = messages(f'[[fake {{"delay_first_event": 0.5}}]] {word}', stream=True)
            answer = await client.post("/v1/messages", content=body, headers=client_headers(f"session-{number}"))
            assert answer.status_code == 200
            return word if word in _text(answer.text) else answer.text

        words = await asyncio.gather(*(one(number) for number in range(PARALLEL)))
    assert all(word.startswith("word-") for word in words)
    assert stage.upstream.server.books.peak_in_flight >= PARALLEL * 0.8
    assert asyncio.get_running_loop().time() - began < 15


def _text(stream: str) -> str:
    events = (json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: "))
    return "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")


def test_26_each_failing_account_is_asked_and_the_client_notices_nothing(fresh: Any) -> None:
    """One account refused, one limited: the third serves, and the next request goes to it at once."""
    fresh.upstream.faults(alpha="401", beta="429-long")
    assert ask(fresh.port, messages(), session="s").status == 200
    assert ask(fresh.port, messages(), session="s").status == 200
    assert [entry.account for entry in fresh.upstream.settled_log(4)] == ["alpha", "beta", "gamma", "gamma"]


def test_27_what_was_answered_is_never_sent_again(stage: Any) -> None:
    """Served requests, client errors and broken streams reach upstream exactly once."""
    for directive in (
        "",
        "[[fake 400]]",
        "[[fake disconnect-mid]]",
        "[[fake reset-mid]]",
        "[[fake error-event]]",
    ):
        stage.upstream.forget()
        ask(stage.port, messages(f"{directive} Hello", stream=True))
        assert len(stage.upstream.settled_log(1)) == 1, directive


def test_28_one_session_has_one_account_and_hits_its_cache(stage: Any) -> None:
    """Turns and token counts of a session go to one account, and turns read its cache."""
    system = [{"type": "text", "text": "You are careful. " * 200, "cache_control": {"type": "ephemeral"}}]
    usages: list[Any] = []
    for turn in range(6):
        for session in ("one", "two", "three"):
            body = messages(f"turn {turn} of {session}", system=[*system, {"type": "text", "text": session}])
            found = ask(stage.port, body, session=session)
            usages.append(json.loads(found.body)["usage"])
            count = {"model": "claude-sonnet-5-5", "messages": [{"role": "user", "content": "?"}]}
            ask(stage.port, json.dumps(count).encode(), target="/v1/messages/count_tokens", session=session)
    assert all(usage["cache_read_input_tokens"] > 500 for usage in usages[3:])


@pytest.mark.parametrize("place", ["user_id", "suffix", "fingerprint"])
def test_28_sessions_are_known_without_a_header(level: Any, place: str) -> None:
    """Clients that name no session in a header keep their account while parallel ones go elsewhere."""

    def body(number: int, turn: int) -> bytes:
        user = {"user_id": json.dumps({"session_id": f"s{number}", "device_id": str(turn)})}
        suffix = {"user_id": f"user_1_account__session_00000000-0000-4000-8000-00000000000{number}"}
        metadata = {"user_id": user, "suffix": suffix, "fingerprint": {}}[place]
        said = [{"role": "user", "content": f"first words {number}"}]
        for past in range(turn):
            said += [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": f"more {past}"}]
        return messages("", system=f"prompt {number}", messages=said, metadata=metadata)

    holding = [_hold(level, body(number, 0)) for number in range(3)]
    for connection in holding:
        assert connection.answer().status == 200
        connection.close()
    first = {entry.account for entry in level.upstream.settled_log(3)}
    assert len(first) == 3
    level.upstream.forget()
    for turn in (1, 2):
        for number in range(3):
            assert ask(level.port, body(number, turn)).status == 200
    accounts = [entry.account for entry in level.upstream.settled_log(6)]
    assert accounts[:3] == accounts[3:]
    assert set(accounts) == first


def test_28_a_session_returns_when_its_account_does(fresh: Any) -> None:
    """A short limit has another account stand in; then the session is back where its prompt cache is."""
    assert ask(fresh.port, messages(), session="s").status == 200
    fresh.upstream.rule({"status": 429, "retry_after": 1}, match={"account": "alpha"}, times=1)
    assert ask(fresh.port, messages(), session="s").status == 200
    assert ask(fresh.port, messages(), session="s").status == 200
    eventually(lambda: fresh.server.health()["accounts"]["active"] == 3)
    assert ask(fresh.port, messages(), session="s").status == 200
    accounts = [entry.account for entry in fresh.upstream.settled_log(5)]
    assert accounts == ["alpha", "alpha", "beta", "beta", "alpha"]
    fresh.upstream.forget()


def _hold(stage: Any, body: bytes) -> rawhttp.Connection:
    connection = rawhttp.Connection(stage.port)
    fields = [*client_headers(), ("x-fake", '{"delay_headers": 0.4}')]
    connection.send(rawhttp.request_bytes("POST", "/v1/messages", fields, body))
    return connection


def test_31_refusals_of_one_kind_do_not_park_the_account(fresh: Any) -> None:
    """A shape rejection, an overage or a model limit of one model leaves the account to all other models."""
    for action, model in (
        ("429-bare", "claude-a"),
        ("429-overage", "claude-b"),
        ("429-model", "claude-opus-5-5"),
    ):
        fresh.upstream.faults(alpha=action)
        assert ask(fresh.port, messages(model=model), session=model).status == 200
        fresh.upstream.forget()
        assert ask(fresh.port, messages(), session=f"after {action}").status == 200
        assert fresh.upstream.settled_log(1)[-1].account == "alpha", action
    assert fresh.home.states()["alpha"] == "active"


def test_32_a_served_answer_that_says_rejected_counts_for_the_next(fresh: Any) -> None:
    """A 200 with a rejected status is delivered unchanged; the next request goes to another account."""
    rejected = {"unified": {"status": "rejected", "claim": "five_hour", "reset_in": 3600, "utilization": {"5h": 1.0}}}
    fresh.upstream.faults(alpha=rejected)
    first = ask(fresh.port, messages(), session="s")
    assert (first.status, first.header("anthropic-ratelimit-unified-status")) == (200, "rejected")
    assert ask(fresh.port, messages(), session="s").status == 200
    accounts = [entry.account for entry in fresh.upstream.settled_log(2)]
    assert accounts == ["alpha", "beta"]
    fresh.upstream.forget()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GARBAGE\r\n\r\n",
        b"GET /v1/messages HTTP/9.9\r\nHost: localhost\r\n\r\n",
        POST + b"Content-Length: abc\r\n\r\n",
        POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /v1/messages HTTP/1.1\r\n\r\n",
        b"GET /v1/messages HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /v1/messages HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET /v1/messages HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n\r\n",
        b"GET /v1/messages HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 200_000 + b"\r\n\r\n",
        b"GET /v1/" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
    ],
    ids=lambda value: value[:40].decode("latin-1").split("\r")[0],
)
def test_bad_requests_get_a_clear_refusal_and_others_go_on(stage: Any, request_bytes: bytes) -> None:
    """What is no request is refused with a 4xx; other clients are served meanwhile."""
    with rawhttp.Connection(stage.port) as connection:
        connection.send(request_bytes)
        assert ask(stage.port, messages(), headers=[("anthropic-version", VERSION)]).status == 200
        found = connection.answer()
    assert 400 <= found.status < 500
    assert "error" in json.loads(found.body)
    assert len(stage.upstream.settled_log(1)) == 1
