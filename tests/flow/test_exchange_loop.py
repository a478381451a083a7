"""The exchange loop in process: every row of the outcome table, every end, with a scripted upstream and clock."""

import asyncio

import pytest

from ccflare.errors import TransportError
from flow.scripted import MESSAGE, Answer, Client, World, error, stream

BROKEN = TransportError("broken", "gone")
CONNECT = TransportError("connect_error", "refused")
START = b'event: message_start\ndata: {"type":"message_start"}\n\n'
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
LIMIT_5H = [
    (b"anthropic-ratelimit-unified-status", b"rejected"),
    (b"anthropic-ratelimit-unified-5h-status", b"rejected"),
    (b"anthropic-ratelimit-unified-5h-reset", b"1700003600"),
    (b"anthropic-ratelimit-unified-reset", b"1700003600"),
    (b"retry-after", b"3600"),
]


def error_event(kind: str) -> bytes:
    return b'event: error\ndata: {"type":"error","error":{"type":"%b","message":"m"}}\n\n' % kind.encode()


async def test_an_answer_is_delivered_as_it_came_and_recorded_once() -> None:
    """A plain answer reaches the client byte for byte over one attempt, and is one successful row."""
    world = World()
    client = await world.ask()
    assert (client.status, bytes(client.answer), client.ended) == (200, MESSAGE, "clean")
    [row] = world.rows
    assert (row.account_id, row.status_code, row.success, row.model) == ("a", 200, True, "claude-x")
    assert [attempt.verdict for attempt in row.attempts] == ["deliver"]
    assert client.header(b"server-timing") is not None
    assert client.header(b"x-ccflare-attempts") is None
    world.assert_quiet()


MOVES_ON: dict[str, tuple[list[Answer | TransportError], str, list[str]]] = {
    "401": ([error(401, "authentication_error")], "auth_failed", ["next", "deliver"]),
    "403 of the organisation": (
        [
            error(
                403,
                "permission_error",
                "OAuth authentication is currently not allowed for this organization.",
            )
        ],
        "auth_failed",
        ["next", "deliver"],
    ),
    "400 credit": (
        [error(400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API.")],
        "rate_limited",
        ["next", "deliver"],
    ),
    "402": ([error(402, "billing_error")], "rate_limited", ["next", "deliver"]),
    "429 of the account": (
        [error(429, "rate_limit_error", headers=LIMIT_5H)],
        "rate_limited",
        ["next", "deliver"],
    ),
    "429 bare": ([error(429, "rate_limit_error", "Error")], "active", ["next", "deliver"]),
    "529": ([error(529, "overloaded_error")], "active", ["retry", "retry", "retry", "deliver"]),
    "500": ([error(500)], "active", ["retry", "retry", "retry", "deliver"]),
    "408": ([error(408, "timeout_error")], "active", ["retry", "retry", "retry", "deliver"]),
    "503 with a long wait": ([error(503, headers=[(b"retry-after", b"120")])], "active", ["next", "deliver"]),
    "connect": ([CONNECT], "active", ["retry", "retry", "retry", "deliver"]),
    "overloaded event first": (
        [stream(error_event("overloaded_error"))],
        "active",
        ["retry", "retry", "retry", "deliver"],
    ),
    "rate limit event first": ([stream(error_event("rate_limit_error"))], "active", ["next", "deliver"]),
    "cut before the first event": (
        [stream(b"event: mess", cut=BROKEN)],
        "active",
        ["retry", "retry", "retry", "deliver"],
    ),
}


@pytest.mark.parametrize("case", MOVES_ON)
async def test_failures_before_the_first_byte_are_not_noticed(case: str) -> None:
    """Whatever fails before the first byte, the client gets the next account's answer; the account's state is right."""
    answers, state, verdicts = MOVES_ON[case]
    world = World()
    world.script(a=list(answers))
    client = await world.ask()
    assert (client.status, bytes(client.answer)) == (200, MESSAGE)
    assert client.header(b"x-ccflare-attempts") == b"%d" % len(verdicts)
    assert world.states() == {"a": state, "b": "active"}
    [row] = world.rows
    assert [attempt.verdict for attempt in row.attempts] == verdicts
    assert (row.account_id, row.success, row.failover_attempts) == ("b", True, len(verdicts) - 1)
    world.assert_quiet()


@pytest.mark.parametrize("status", [200, 204, 302, 400, 404, 409, 413, 422])
async def test_the_clients_own_outcomes_are_delivered_at_once(status: int) -> None:
    """2xx, 3xx and the client's own errors are delivered verbatim by the first account, sent exactly once."""
    world = World()
    answer = error(status, "invalid_request_error", "max_tokens: required") if status >= 300 else Answer(status)
    world.script(a=[answer])
    client = await world.ask()
    assert (client.status, bytes(client.answer)) == (status, answer.body)
    assert len(world.transport.sent) == 1
    assert world.rows[0].success is (status < 300)
    world.assert_quiet()


async def test_retries_wait_longer_each_time() -> None:
    """The same account is tried again after the delay, then after delay times backoff, give or take a quarter."""
    world = World(retry_delay_ms=1000, retry_backoff=2.0, retry_attempts=3)
    world.script(a=[error(500)])
    await world.ask()
    first, second = world.clock.slept
    assert 0.75 <= first <= 1.25
    assert 1.5 <= second <= 2.5
    assert [a.wait_ms for a in world.rows[0].attempts] == [0, int(first * 1000), int(second * 1000), 0]


@pytest.mark.parametrize(("attempts", "tries"), [(0, 1), (1, 1), (2, 2), (5, 5)])
async def test_retry_attempts_counts_tries(attempts: int, tries: int) -> None:
    """The setting is the number of tries on the first failing account, in one exchange."""
    world = World(retry_attempts=attempts, retry_delay_ms=1)
    world.script(a=[error(500)], b=[error(500)])
    await world.ask()
    assert [sent.key for sent in world.transport.sent] == ["key-a"] * tries + ["key-b"]


async def test_a_short_retry_after_is_honoured() -> None:
    """An overload that names a short time is waited for that long."""
    world = World(retry_delay_ms=1)
    world.script(a=[error(529, headers=[(b"retry-after", b"4")]), Answer()])
    await world.ask()
    assert 4 <= world.clock.slept[0] <= 5


async def test_a_broken_upstream_is_not_hammered() -> None:
    """With a long row of failures the retry budget runs dry: exchanges are tried about once on each account."""
    world = World(retry_delay_ms=1, retry_attempts=10)
    world.script(a=[error(500)], b=[error(500)])
    for _ in range(100):
        await world.ask()
    assert len(world.transport.sent) < 200 + 60


async def test_nothing_is_sent_again_after_the_first_byte() -> None:
    """A stream that is cut after it began is cut for the client too, in the same way, and is a failed row."""
    world = World()
    world.script(a=[stream(START, cut=TransportError("broken", "reset", reset=True))])
    client = await world.ask()
    assert (client.status, bytes(client.answer), client.ended) == (200, START, "reset")
    [row] = world.rows
    assert (row.success, row.error_message, row.attempts[-1].verdict) == (False, "truncated stream", "broken")
    assert len(world.transport.sent) == 1
    world.assert_quiet()


async def test_an_error_in_the_middle_of_a_stream_is_data() -> None:
    """An `error` event that is not the first passes to the client."""
    world = World()
    world.script(a=[stream(START, error_event("overloaded_error"))])
    client = await world.ask()
    assert bytes(client.answer) == START + error_event("overloaded_error")
    assert client.ended == "clean"


# Nothing worked.


async def test_all_limited_is_a_429_with_the_true_recovery() -> None:
    """When every account is limited the client learns when the first one recovers, and that sleeping is no use."""
    world = World()
    world.script(
        a=[error(429, "rate_limit_error", headers=LIMIT_5H)],
        b=[error(429, headers=[(b"retry-after", b"90")])],
    )
    client = await world.ask()
    assert client.status == 429
    assert client.json["error"]["type"] == "rate_limit_error"
    assert client.header(b"retry-after") == b"90"
    assert client.header(b"x-should-retry") == b"false"
    assert client.header(b"anthropic-ratelimit-unified-status") == b"rejected"
    [row] = world.rows
    assert (row.status_code, row.success, len(row.attempts)) == (429, False, 2)
    again = await world.ask()
    assert again.status == 429
    assert len(world.transport.sent) == 2
    assert world.rows[1].attempts == ()
    world.assert_quiet()


async def test_the_last_upstream_error_is_delivered_verbatim() -> None:
    """When accounts fail with 5xx, the client gets the last answer as upstream gave it."""
    world = World(retry_attempts=1)
    last = error(529, "overloaded_error", "Overloaded", headers=[(b"request-id", b"req_9")])
    world.script(a=[error(500)], b=[last])
    client = await world.ask()
    assert (client.status, bytes(client.answer)) == (529, last.body)
    assert client.header(b"request-id") == b"req_9"
    assert world.rows[0].account_id == "b"
    assert world.rows[0].success is False
    world.assert_quiet()


async def test_an_event_stream_that_only_had_an_error_is_delivered_verbatim() -> None:
    """The same for streams whose first event was the error: status 200 and its bytes."""
    world = World("a", retry_attempts=1)
    world.script(a=[stream(error_event("overloaded_error"))])
    client = await world.ask()
    assert (client.status, bytes(client.answer)) == (200, error_event("overloaded_error"))
    assert world.rows[0].success is False


async def test_no_answer_at_all_is_a_503_in_the_known_shape() -> None:
    """When no account produced an answer, the 503 says how often it was tried and what came last."""
    world = World(retry_attempts=2, retry_delay_ms=1)
    world.script(a=[CONNECT], b=[error(401, "authentication_error", "invalid x-api-key")])
    client = await world.ask()
    assert client.status == 503
    assert client.json["type"] == "error"
    assert client.json["error"] == "All accounts failed to proxy the request"
    assert client.json["attempts"] == 3
    assert client.json["lastError"]
    assert [a.verdict for a in world.rows[0].attempts] == ["retry", "retry", "next"]
    world.assert_quiet()


async def test_accounts_without_money_say_so() -> None:
    """When every account lacks money, the client gets upstream's own words."""
    poor = error(400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API.")
    world = World()
    world.script(a=[poor], b=[poor])
    client = await world.ask()
    assert (client.status, bytes(client.answer)) == (400, poor.body)


async def test_without_accounts_the_clients_own_credential_goes_upstream(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With no account at all the request is forwarded with the client's headers untouched, and a warning says so."""
    world = World("")
    headers = [(b"X-Api-Key", b"sk-ant-own"), (b"Cookie", b"a=b"), (b"Authorization", b"Bearer x")]
    client = await world.ask(Client(b"{}", headers=headers))
    assert client.status == 200
    assert world.transport.sent[0].headers == headers
    assert "No active accounts available - forwarding request without authentication" in caplog.text
    assert world.rows[0].account_id is None
    assert [a.account_id for a in world.rows[0].attempts] == [None]
    world.assert_quiet()


async def test_a_forward_that_cannot_be_sent_is_a_502() -> None:
    """The known 502 tells that even this failed."""
    world = World("")
    world.script(nobody=[CONNECT])
    client = await world.ask()
    assert client.status == 502
    assert client.json["error"] == "Failed to forward unauthenticated request"
    assert world.rows[0].success is False


async def test_limited_accounts_and_an_own_credential_forward() -> None:
    """A client with an upstream credential of its own is forwarded with it while all accounts are limited."""
    world = World("a")
    world.script(a=[error(429, headers=LIMIT_5H)])
    assert (await world.ask()).status == 429
    client = await world.ask(Client(b"{}", headers=[(b"x-api-key", b"sk-ant-own")]))
    assert client.status == 200
    assert dict(world.transport.sent[-1].headers)[b"x-api-key"] == b"sk-ant-own"


async def test_a_path_that_leaves_the_api_is_refused() -> None:
    """A path that decodes to something above /v1/ is a 400 and goes nowhere."""
    world = World()
    client = await world.ask(Client(b"", target=b"/v1/%2e%2e/api/accounts"))
    assert client.status == 400
    assert client.json["error"]["message"] == "Provider cannot handle path: /v1/%2e%2e/api/accounts"
    assert world.transport.sent == []


# The request.


async def test_what_goes_upstream_is_what_came_with_one_credential() -> None:
    """Method, target with query and body are untouched; of the credentials only the account's is left."""
    world = World()
    body = b'{"a" : 1, "a":2.0e5, "url":"\\/x" }\n'
    headers = [
        (b"X-Api-Key", b"mine"),
        (b"authorization", b"Bearer mine"),
        (b"X-Odd", b"1"),
        (b"x-odd", b"2"),
        (b"Cookie", b"c"),
    ]
    await world.ask(Client(body, target=b"/v1/messages?beta=true&x=%2F+", headers=headers))
    [sent] = world.transport.sent
    assert (sent.method, sent.target, sent.body) == (b"POST", b"/v1/messages?beta=true&x=%2F+", body)
    assert sent.headers == [(b"X-Odd", b"1"), (b"x-odd", b"2"), (b"x-api-key", b"key-a")]


async def test_a_body_too_long_to_keep_is_sent_once() -> None:
    """A streamed body reaches the first account whole; after a failure there is no second try."""
    world = World()
    world.script(a=[error(500)])
    client = await world.ask(Client(b"0123456789", too_long=True))
    assert [sent.body for sent in world.transport.sent] == [b"0123456789"]
    assert client.status == 500
    world.assert_quiet()


async def test_a_session_stays_on_its_account() -> None:
    """Requests of one session go to the account that served it, also when another one is preferred by then."""
    world = World()
    world.script(a=[error(429, headers=[(b"retry-after", b"2")]), Answer()])
    session = [(b"x-claude-code-session-id", b"s1"), (b"x-api-key", b"dummy")]
    for _ in range(2):
        await world.ask(Client(b'{"model":"m"}', headers=session))
    world.clock.passed += 600
    await world.ask(Client(b'{"model":"m"}', headers=session))
    assert [sent.key for sent in world.transport.sent] == ["key-a", "key-b", "key-b", "key-b"]


# Leaving and stopping.


async def test_a_client_that_leaves_ends_everything() -> None:
    """The upstream answer is discarded, the row says 499 and why, no account is blamed, nothing is left."""
    world = World()
    world.script(a=[stream(START, forever=True)])
    client = Client(b'{"model":"m"}')
    task = asyncio.create_task(world.proxy.serve(client))
    await client.started.wait()
    client.gone = True
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    [row] = world.rows
    assert (row.status_code, row.success, row.error_message) == (499, False, "client disconnected")
    assert row.attempts[-1].verdict == "cancelled"
    assert world.states() == {"a": "active", "b": "active"}
    world.assert_quiet()


async def test_a_client_that_leaves_before_the_head_is_recorded_once() -> None:
    """Leaving while upstream has not answered is one row with one cancelled attempt."""
    world = World()
    world.transport.hang = True
    client = Client(b'{"model":"m"}')
    task = asyncio.create_task(world.proxy.serve(client))
    await world.transport.reached.wait()
    client.gone = True
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [(row.status_code, [a.verdict for a in row.attempts]) for row in world.rows] == [(499, ["cancelled"])]
    world.assert_quiet()


async def test_too_many_exchanges_are_refused_and_recorded() -> None:
    """Above the bound a request is answered at once with an overload."""
    world = World(max_exchanges=1)
    world.transport.hang = True
    first = asyncio.create_task(world.proxy.serve(Client(b"{}")))
    await world.transport.reached.wait()
    client = await world.ask()
    assert client.status == 503
    assert client.json["error"]["type"] == "overloaded_error"
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert len(world.rows) == 2
    world.assert_quiet()


async def test_the_first_byte_has_one_bound_over_all_attempts() -> None:
    """When the time for a first byte is over, nothing further is tried."""
    world = World(
        retry_delay_ms=60_000,
        retry_attempts=5,
        first_byte_timeout_ms=100_000,
        connect_timeout_ms=1000,
        idle_timeout_ms=1000,
    )
    world.script(a=[error(500)], b=[error(500)])
    await world.ask()
    assert world.clock.passed < 100


async def test_a_200_that_says_rejected_is_delivered_and_remembered() -> None:
    """An answer is not altered by its limit headers, but the account is limited for the next request."""
    world = World()
    served = Answer(headers=[pair for pair in LIMIT_5H if pair[0] != b"retry-after"])
    world.script(a=[served])
    client = await world.ask()
    assert (client.status, bytes(client.answer)) == (200, MESSAGE)
    assert world.states() == {"a": "rate_limited", "b": "active"}
    assert world.rows[0].success


# Usage and cost.

USAGE_START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"model":"claude-sonnet-4-5","usage":'
    b'{"input_tokens":1000,"cache_read_input_tokens":2000,"output_tokens":1,'
    b'"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":500}}}}\n\n'
)
USAGE_END = (
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
    b'"usage":{"output_tokens":300}}\n\n'
)


async def test_a_streams_usage_is_recorded_and_priced() -> None:
    """The last word of a stream about each class of tokens is in the row, with its cost in micro-dollars."""
    world = World()
    world.script(a=[stream(USAGE_START, USAGE_END, STOP)])
    await world.ask()
    [row] = world.rows
    assert row.success
    assert (row.usage.input_tokens, row.usage.cache_read_input_tokens, row.usage.output_tokens) == (1000, 2000, 300)
    assert row.usage.prompt_tokens == 3500
    assert row.model == "claude-sonnet-4-5"
    assert row.cost_microusd == 1000 * 3 + 2000 * 0.3 + 500 * 6 + 300 * 15


async def test_a_stream_without_its_end_is_no_success_but_keeps_what_was_seen() -> None:
    """A stream that ends cleanly without `message_stop` reaches the client as it is, and is recorded as truncated."""
    world = World()
    world.script(a=[stream(USAGE_START)])
    client = await world.ask()
    assert client.ended == "clean"
    [row] = world.rows
    assert (row.success, row.error_message, row.usage.input_tokens) == (False, "truncated stream", 1000)


async def test_an_error_in_the_middle_of_a_stream_is_the_rows_error() -> None:
    """A stream with an `error` event is recorded with the error's type and message."""
    world = World()
    world.script(a=[stream(USAGE_START, error_event("overloaded_error"))])
    await world.ask()
    assert (world.rows[0].success, world.rows[0].error_message) == (False, "overloaded_error: m")


async def test_a_client_that_leaves_keeps_the_tokens_seen_so_far() -> None:
    """What a stream said before the client left is in its row."""
    world = World()
    world.script(a=[stream(USAGE_START, forever=True)])
    client = Client(b'{"model":"m"}')
    task = asyncio.create_task(world.proxy.serve(client))
    await client.started.wait()
    await asyncio.sleep(0.01)
    client.gone = True
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    [row] = world.rows
    assert (row.status_code, row.error_message, row.usage.input_tokens) == (499, "client disconnected", 1000)


@pytest.mark.parametrize("target", [b"/v1/messages/count_tokens", b"/v1/messages/batches", b"/v1/models"])
async def test_other_paths_have_no_usage(target: bytes) -> None:
    """Only messages and completions feed usage and cost."""
    world = World()
    await world.ask(Client(b"{}", target=target))
    assert world.rows[0].usage.input_tokens is None
    assert world.rows[0].cost_microusd is None


async def test_an_unknown_models_cost_is_unknown() -> None:
    """A model without a price has tokens and no cost, not a cost of nothing."""
    world = World()
    world.script(a=[stream(USAGE_START.replace(b"claude-sonnet-4-5", b"claude-unheard-of"), USAGE_END, STOP)])
    await world.ask()
    assert (world.rows[0].usage.output_tokens, world.rows[0].cost_microusd) == (300, None)


async def test_an_early_timer_does_not_blame_the_next_account() -> None:
    """When a first-byte timeout fires a moment early, no further account is tried for that moment."""
    world = World(first_byte_timeout_ms=2000, connect_timeout_ms=1000, idle_timeout_ms=1000)
    world.transport.takes_s = 1.999
    world.script(a=[TransportError("first_byte_timeout", "no first byte in time")])
    client = await world.ask()
    assert client.status == 503
    assert [sent.key for sent in world.transport.sent] == ["key-a"]


async def test_debug_lines_say_why_an_account_is_tried(caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG the strategy tells which account it takes and why; at INFO it says nothing."""
    world = World()
    session = [(b"x-claude-code-session-id", b"s1")]
    with caplog.at_level("INFO", logger="ccflare"):
        await world.ask(Client(b'{"model":"m"}', headers=session))
    assert not [record for record in caplog.records if record.name == "ccflare.SessionStrategy"]
    with caplog.at_level("DEBUG", logger="ccflare"):
        await world.ask(Client(b'{"model":"m"}', headers=session))
    [line] = [record for record in caplog.records if record.name == "ccflare.SessionStrategy"]
    assert "its session's account" in line.getMessage()


async def test_what_follows_the_first_error_of_a_stream_is_delivered_too() -> None:
    """The last refused stream is verbatim to its end, which may come later than its error, as a gzip trailer does."""
    world = World("a", retry_attempts=1)
    refused = stream(error_event("overloaded_error"))
    refused.rest = b": the end\n\n"
    world.script(a=[refused])
    client = await world.ask()
    assert bytes(client.answer) == error_event("overloaded_error") + b": the end\n\n"


async def test_a_stream_that_stays_open_after_its_error_gives_the_error() -> None:
    """When the stream does not end, the client gets its error, and the answer ends."""
    world = World("a", retry_attempts=1)
    world.script(a=[stream(error_event("overloaded_error"), forever=True)])
    client = await world.ask()
    assert (bytes(client.answer), client.ended) == (error_event("overloaded_error"), "clean")
