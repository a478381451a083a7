"""The newest Python SDK, which sends its key as a bearer token, as a user has it."""

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import pytest

from harness import CLIENT_KEY, MODEL, eventually

BROKEN_OFF = r"(?i)peer|closed|incomplete|connection|reset"
TOOL: Any = {
    "name": "get_weather",
    "description": "Tells the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def _asked(text: str = "Hello", **more: Any) -> Any:
    return {"model": MODEL, "max_tokens": 256, "messages": [{"role": "user", "content": text}], **more}


def _client(stage: Any, **more: Any) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=stage.url, api_key=CLIENT_KEY, **{"max_retries": 0, **more})


@pytest.fixture
def client(stage: Any) -> Iterator[anthropic.Anthropic]:
    """A client that does not retry: what ccflare does not hide is seen."""
    with _client(stage) as client:
        yield client


@pytest.fixture
async def async_client(stage: Any) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """The same, asynchronous."""
    async with anthropic.AsyncAnthropic(base_url=stage.url, api_key=CLIENT_KEY, max_retries=0) as client:
        yield client


def test_a_message(stage: Any, client: anthropic.Anthropic) -> None:
    """A message is answered, with upstream's request id, and the key came as a bearer token."""
    found = client.messages.create(**_asked("Good morning"))
    assert "You said: Good morning" in found.content[0].text
    entry = stage.upstream.settled_log(1)[0]
    assert found._request_id == entry.request_id
    assert (entry.header("user-agent") or "").startswith("Anthropic/Python")
    assert stage.new_rows(1)[0]["model"] == MODEL


def test_a_stream(stage: Any, client: anthropic.Anthropic) -> None:
    """The helper for streams sees every delta and the final message with its usage."""
    with client.messages.stream(**_asked("Stream this")) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert "You said: Stream this" in text
    assert (final.stop_reason, final.usage.output_tokens > 0) == ("end_turn", True)
    assert stage.new_rows(1)[0]["streamed"] == 1


def test_raw_events(client: anthropic.Anthropic) -> None:
    """The plain iterator sees the events in their order."""
    kinds = [event.type for event in client.messages.create(**_asked(), stream=True)]
    assert (kinds[0], kinds[-2], kinds[-1]) == ("message_start", "message_delta", "message_stop")


async def test_asynchronous_messages_in_parallel(stage: Any, async_client: anthropic.AsyncAnthropic) -> None:
    """Forty requests at once are all answered, each with its own words."""
    import asyncio

    async def one(number: int) -> bool:
        found = await async_client.messages.create(**_asked(f"number {number}."))
        return f"You said: number {number}." in found.content[0].text

    assert all(await asyncio.gather(*(one(number) for number in range(40))))
    assert len(stage.new_rows(40)) == 40


async def test_an_asynchronous_stream(async_client: anthropic.AsyncAnthropic) -> None:
    """The asynchronous helper streams text."""
    async with async_client.messages.stream(**_asked("asynchronously")) as stream:
        text = "".join([part async for part in stream.text_stream])
    assert "asynchronously" in text


@pytest.mark.parametrize("stream", [False, True], ids=["message", "stream"])
def test_a_tool_loop(client: anthropic.Anthropic, stage: Any, *, stream: bool) -> None:
    """A tool is asked for, its result goes back, the answer comes: two requests on one account."""
    asked = _asked("What is the weather?", tools=[TOOL], tool_choice={"type": "any"})
    first = _whole(client, asked, stream=stream)
    call = next(block for block in first.content if block.type == "tool_use")
    assert (first.stop_reason, call.name) == ("tool_use", "get_weather")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "Sunny"}
    turns = [*asked["messages"], {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    second = _whole(client, {**asked, "messages": turns, "tool_choice": {"type": "auto"}}, stream=stream)
    assert second.stop_reason == "end_turn"
    assert len({entry.account for entry in stage.upstream.settled_log(2)}) == 1


def _whole(client: anthropic.Anthropic, asked: Any, *, stream: bool) -> Any:
    if not stream:
        return client.messages.create(**asked)
    with client.messages.stream(**asked) as events:
        return events.get_final_message()


def test_count_tokens_and_models(client: anthropic.Anthropic) -> None:
    """Token counts and the list of models come through."""
    count = client.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "x" * 400}])
    assert count.input_tokens > 50
    assert MODEL in [model.id for model in client.models.list(limit=3)]
    assert client.models.retrieve(MODEL).id == MODEL


def test_a_batch(client: anthropic.Anthropic, stage: Any) -> None:
    """A batch is made, followed to its end, listed and cancelled by requests that find its account again."""
    params: Any = {"model": MODEL, "max_tokens": 16, "messages": [{"role": "user", "content": "Hi"}]}
    batch = client.messages.batches.create(requests=[{"custom_id": "one", "params": params}])
    eventually(lambda: client.messages.batches.retrieve(batch.id).processing_status == "ended")
    assert [found.id for found in client.messages.batches.list(limit=5)] == [batch.id]
    results = client.get(f"/v1/messages/batches/{batch.id}/results", cast_to=str)
    assert '"custom_id":"one"' in results.replace(" ", "")
    assert client.messages.batches.delete(batch.id).id == batch.id


ERRORS = [
    ("400", anthropic.BadRequestError),
    ("403", anthropic.PermissionDeniedError),
    ("404", anthropic.NotFoundError),
    ("409", anthropic.ConflictError),
    ("413", anthropic.APIStatusError),
]


@pytest.mark.parametrize(("preset", "kind"), ERRORS, ids=[preset for preset, _ in ERRORS])
def test_the_clients_own_errors(stage: Any, client: anthropic.Anthropic, preset: str, kind: Any) -> None:
    """An error keeps its class, its words and its request id."""
    with pytest.raises(kind) as raised:
        client.messages.create(**_asked(f"[[fake {preset}]]"))
    assert raised.value.status_code == int(preset)
    assert raised.value.request_id in {entry.request_id for entry in stage.upstream.settled_log(1)}
    assert raised.value.message


@pytest.mark.parametrize(
    "fault",
    [
        "401",
        "403-revoked",
        "400-credit",
        "402",
        "429",
        "429-long",
        "429-unified",
        "429-bare",
        "500",
        "503",
        "529",
        "garbage",
        "502-html",
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["message", "stream"])
def test_one_failing_account_is_not_noticed(fresh: Any, fault: str, *, stream: bool) -> None:
    """Whatever one account does, a client that does not retry gets its answer."""
    fresh.upstream.faults(alpha=fault)
    with _client(fresh) as client:
        for _ in range(2):
            assert _whole(client, _asked(), stream=stream).stop_reason == "end_turn"
    assert {row["status_code"] for row in fresh.home.rows_when(2)} == {200}


@pytest.mark.parametrize("fault", ["429-long", "429-unified", "429-unified-7d"])
def test_a_limited_pool_is_an_error_at_once(fresh: Any, fault: str) -> None:
    """When every account is limited for hours, the SDK raises instead of sleeping until then."""
    fresh.upstream.faults(alpha=fault, beta=fault, gamma=fault)
    began = time.monotonic()
    with _client(fresh, max_retries=2) as client:
        for _ in range(2):
            with pytest.raises(anthropic.RateLimitError) as raised:
                client.messages.create(**_asked())
    assert time.monotonic() - began < 5
    assert "rate_limit_error" in raised.value.message
    assert len(fresh.home.rows_when(2)) == 2


def test_a_pool_limited_for_seconds_is_waited_for(fresh: Any) -> None:
    """When the pool is back in a second, the SDK's own retry succeeds."""
    limited = {"status": 429, "retry_after": 1}
    for name in ("alpha", "beta", "gamma"):
        fresh.upstream.rule(limited, match={"account": name}, times=1)
    with _client(fresh, max_retries=2) as client:
        assert client.messages.create(**_asked()).stop_reason == "end_turn"
    assert [row["status_code"] for row in fresh.home.rows_when(2)] == [429, 200]


@pytest.mark.parametrize(("fault", "kind"), [("500", anthropic.InternalServerError), ("529", anthropic.APIStatusError)])
def test_trouble_everywhere_is_upstreams_error(fresh: Any, fault: str, kind: Any) -> None:
    """When all accounts fail, the last answer of upstream is what the SDK raises, request id included."""
    fresh.upstream.faults(alpha=fault, beta=fault, gamma=fault)
    with _client(fresh) as client, pytest.raises(kind) as raised:
        client.messages.create(**_asked())
    assert raised.value.request_id == fresh.upstream.settled_log(5)[-1].request_id


@pytest.mark.parametrize("fault", ["disconnect-mid", "reset-mid", "truncated-event"])
def test_a_cut_stream_raises(client: anthropic.Anthropic, fault: str) -> None:
    """A stream that broke off upstream raises at the client, both ways of reading it."""
    asked = _asked(f"[[fake {fault}]]")
    with pytest.raises(Exception, match=BROKEN_OFF):
        _whole(client, asked, stream=True)
    with pytest.raises(Exception, match=BROKEN_OFF):
        list(client.messages.create(**asked, stream=True))


def test_an_error_event_in_mid_stream_raises(client: anthropic.Anthropic) -> None:
    """An error event raises the class of its type."""
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        list(client.messages.create(**_asked("[[fake error-event]]"), stream=True))


def test_a_client_that_gives_up_is_recorded_and_let_go(stage: Any) -> None:
    """A timeout of the client ends the upstream request, and the row says who left."""
    with _client(stage, timeout=0.4) as client, pytest.raises(anthropic.APITimeoutError):
        client.messages.create(**_asked("[[fake hang]]"))
    assert stage.upstream.settled_log(1)[0].aborted == "client"
    assert stage.new_rows(1)[0]["status_code"] == 499


def test_a_conversation_of_the_app_keeps_its_account(stage: Any, client: anthropic.Anthropic) -> None:
    """Calls with one `metadata.user_id` stay on one account and read its prompt cache."""
    system: Any = [{"type": "text", "text": "Be brief. " * 300, "cache_control": {"type": "ephemeral"}}]
    usages = [
        client.messages.create(**_asked(f"turn {turn}", system=system, metadata={"user_id": "conversation-1"})).usage
        for turn in range(3)
    ]
    assert usages[0].cache_creation_input_tokens > 0
    assert [usage.cache_read_input_tokens > 0 for usage in usages[1:]] == [True, True]
    assert len({entry.account for entry in stage.upstream.settled_log(3)}) == 1
