"""The simulated upstream speaks the API: messages, streams, counting, cache, models, batches, files, SDKs."""

import asyncio
import gzip
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import anthropic
import httpx
import pytest

from ccflare.demo.accounts import SimulatedAccount
from ccflare.demo.upstream import SimulatedUpstream
from simulated_kit import FakeTime, ask, by_key, check_grammar, events, fake

PLAIN = {"accept-encoding": "identity"}


@pytest.fixture
async def upstream() -> AsyncIterator[SimulatedUpstream]:
    """A server with two key accounts and a subscription."""
    accounts = [SimulatedAccount("a"), SimulatedAccount("b"), SimulatedAccount("sub", kind="oauth")]
    async with SimulatedUpstream(accounts) as server:
        yield server


@pytest.fixture
async def client(upstream: SimulatedUpstream) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the key of account `a`."""
    headers = by_key(upstream.accounts["a"].api_key, **PLAIN)
    async with httpx.AsyncClient(base_url=upstream.url, headers=headers, timeout=10) as session:
        yield session


async def test_a_message_has_the_documented_form(client: httpx.AsyncClient) -> None:
    """A plain message answer has exactly the documented members, ids and a repeated text."""
    answer = await client.post("/v1/messages?beta=true", json=ask("what a day"))
    body = answer.json()
    members = "model id type role content stop_reason stop_sequence usage"
    assert set(body) == set(members.split())
    assert body["id"].startswith("msg_01")
    assert body["stop_reason"] == "end_turn"
    assert body["content"][0]["text"].startswith("Hello from the fake upstream. You said: what a day")
    assert "👩‍👩‍👧‍👦" in body["content"][0]["text"]
    assert body["usage"]["input_tokens"] == len("what a day") // 4
    assert answer.headers["request-id"].startswith("req_01")


async def test_every_answer_has_the_edges_fields(client: httpx.AsyncClient) -> None:
    """The header fields of the service and its edge are there, `set-cookie` as two lines."""
    answer = await client.post("/v1/messages", json=ask())
    assert len(answer.headers.get_list("set-cookie")) == 2
    for name in ("cf-ray", "via", "traceresponse", "strict-transport-security", "anthropic-workspace-id"):
        assert name in answer.headers
    assert answer.headers["server"] == "cloudflare"
    assert answer.headers["content-length"] == str(len(answer.content))


async def test_a_stream_is_the_same_message_by_the_grammar(client: httpx.AsyncClient) -> None:
    """A stream parses by the grammar, in chunks, and says the same as the answer that is not streamed."""
    streamed = await client.post("/v1/messages", json=ask("same", stream=True))
    plain = (await client.post("/v1/messages", json=ask("same"))).json()
    message = check_grammar(events(streamed.content))
    assert streamed.headers["transfer-encoding"] == "chunked"
    assert streamed.headers["cache-control"] == "no-cache"
    assert message["content"] == plain["content"]
    assert message["usage"]["output_tokens"] == plain["usage"]["output_tokens"]


async def test_thinking_search_and_tools_stream(client: httpx.AsyncClient) -> None:
    """Thinking, redacted thinking, a server tool, citations and parallel tool calls follow the grammar."""
    tools = [{"name": "look", "input_schema": {"type": "object", "properties": {"q": {"type": "string"}}}}]
    action = {"thinking": True, "redacted": True, "server_tool": True, "text": "found it", "tool": "look"}
    request = fake({**action, "inputs": [{"q": "é"}, {"q": "2"}]}, stream=True, tools=tools)
    message = check_grammar(events((await client.post("/v1/messages", json=request)).content))
    kinds = [block["type"] for block in message["content"]]
    assert kinds == [
        "thinking",
        "redacted_thinking",
        "server_tool_use",
        "web_search_tool_result",
        "text",
        "tool_use",
        "tool_use",
    ]
    assert message["content"][0]["signature"].startswith("EqQB")
    assert message["content"][4]["citations"]
    assert [block["input"] for block in message["content"][5:]] == [{"q": "é"}, {"q": "2"}]
    assert message["stop_reason"] == "tool_use"
    assert message["usage"]["server_tool_use"] == {"web_search_requests": 1}


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "look"}])
async def test_a_forced_tool_is_called(client: httpx.AsyncClient, choice: dict[str, str]) -> None:
    """`tool_choice` that leaves no choice yields a call whose input fits the schema."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}, "kind": {"enum": ["x", "y"]}}}
    tools = [{"name": "look", "input_schema": schema}]
    body = (await client.post("/v1/messages", json=ask(tools=tools, tool_choice=choice))).json()
    assert body["content"][0]["input"] == {"n": 1, "kind": "x"}
    assert body["stop_reason"] == "tool_use"


async def test_a_json_schema_is_answered_with_fitting_json(client: httpx.AsyncClient) -> None:
    """`output_config.format` yields text that is JSON of that schema."""
    schema = {"type": "object", "properties": {"title": {"type": "string"}, "tags": {"type": "array"}}}
    request = ask(output_config={"format": {"type": "json_schema", "schema": schema}})
    text = (await client.post("/v1/messages", json=request)).json()["content"][0]["text"]
    assert json.loads(text) == {"title": "sample", "tags": [None]}


async def test_max_tokens_ends_the_answer(client: httpx.AsyncClient) -> None:
    """An answer longer than `max_tokens` is cut there and says so."""
    body = (await client.post("/v1/messages", json=ask("a" * 100, max_tokens=5))).json()
    assert body["stop_reason"] == "max_tokens"
    assert body["usage"]["output_tokens"] == 5
    assert len(body["content"][0]["text"]) == 20


async def test_a_refusal_has_details(client: httpx.AsyncClient) -> None:
    """The stop reason `refusal` carries stop details in both forms."""
    plain = (await client.post("/v1/messages", json=fake({"stop_reason": "refusal"}))).json()
    stream = await client.post("/v1/messages", json=fake({"stop_reason": "refusal"}, stream=True))
    assert plain["stop_details"]["type"] == "refusal"
    assert check_grammar(events(stream.content))["stop_details"]["type"] == "refusal"


async def test_frames_are_padded(upstream: SimulatedUpstream, client: httpx.AsyncClient) -> None:
    """Frames have 0 to 8 blanks before their last brace, and none when padding is off."""
    padded = (await client.post("/v1/messages", json=ask("x" * 160, stream=True))).content
    upstream.settings.padding = False
    bare = (await client.post("/v1/messages", json=ask("x" * 160, stream=True))).content
    assert b"  }\n\n" in padded
    assert b" }\n\n" not in bare


VALIDATION: list[tuple[Callable[[dict[str, Any]], Any], int, str]] = [
    (lambda r: r.pop("model"), 400, "model: Field required"),
    (lambda r: r.pop("max_tokens"), 400, "max_tokens: Field required"),
    (lambda r: r.pop("messages"), 400, "messages: Field required"),
    (lambda r: r.update(messages=[]), 400, "at least one message is required"),
    (lambda r: r.update(messages="x"), 400, "valid list"),
    (lambda r: r.update(messages=[{"role": "robot", "content": "x"}]), 400, "Unexpected role"),
    (lambda r: r.update(messages=[{"role": "user", "content": ""}]), 400, "non-empty content"),
    (
        lambda r: r.update(messages=[{"role": "user", "content": [{"type": "text", "text": ""}]}]),
        400,
        "non-empty",
    ),
    (lambda r: r.update(messages=[{"role": "user", "content": [{}]}]), 400, "type: Field required"),
    (lambda r: r.update(messages=[{"role": "user"}]), 400, "content: Field required"),
    (lambda r: r.update(max_tokens=0), 400, "greater than or equal to 1"),
    (lambda r: r.update(max_tokens="many"), 400, "valid integer"),
    (lambda r: r.update(model=7), 400, "valid string"),
    (lambda r: r.update(stream="yes"), 400, "valid boolean"),
    (lambda r: r.update(model="claude-nonexistent-1"), 404, "model: claude-nonexistent-1"),
    (
        lambda r: r["messages"].append({"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1"}]}),
        400,
        "`tool_use` ids were found without `tool_result` blocks immediately after: toolu_1",
    ),
    (
        lambda r: r.update(messages=[{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_9"}]}]),
        400,
        "unexpected `tool_use_id` found in `tool_result` blocks: toolu_9",
    ),
]


@pytest.mark.parametrize(("spoil", "status", "words"), VALIDATION)
async def test_validation(
    client: httpx.AsyncClient, spoil: Callable[[dict[str, Any]], Any], status: int, words: str
) -> None:
    """A request that breaks one rule is refused in the service's words and shape."""
    request = ask()
    spoil(request)
    answer = await client.post("/v1/messages", json=request)
    body = answer.json()
    assert answer.status_code == status
    assert body["type"] == "error"
    assert words in body["error"]["message"]
    assert body["request_id"] == answer.headers["request-id"]
    assert answer.headers["x-should-retry"] == "false"


async def test_the_version_decides_about_sampling(client: httpx.AsyncClient) -> None:
    """`temperature` is fine under the old version and refused under the new one."""
    old = await client.post("/v1/messages", json=ask(temperature=0.5))
    new = await client.post("/v1/messages", json=ask(temperature=0.5), headers={"anthropic-version": "2026-10-21"})
    assert (old.status_code, new.status_code) == (200, 400)
    assert "temperature" in new.json()["error"]["message"]


async def test_counting_agrees_with_messages(client: httpx.AsyncClient) -> None:
    """count_tokens tells what the message's usage tells, and obeys no directive."""
    request = fake("500", system="be brief", tools=[{"name": "t", "input_schema": {"type": "object"}}])
    counted = await client.post("/v1/messages/count_tokens", json=request)
    said = request["messages"][0]["content"]
    harmless = {**request, "messages": [{"role": "user", "content": "x" * len(said)}]}
    spoken = await client.post("/v1/messages", json=harmless)
    assert counted.status_code == 200
    assert spoken.status_code == 200
    told = spoken.json()["usage"]["input_tokens"]
    assert counted.json()["input_tokens"] == told


async def test_the_prompt_cache_is_written_read_and_ends() -> None:
    """A prefix is written at its breakpoint, read by the next turn, belongs to its account and expires."""
    clock = FakeTime()
    async with SimulatedUpstream([SimulatedAccount("a"), SimulatedAccount("b")], now=clock) as server:
        system: list[dict[str, Any]] = [
            {"type": "text", "text": "x-anthropic-billing-header: changes every time"},
            {"type": "text", "text": "p" * 4000, "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        ]
        first = [{"type": "text", "text": "q" * 400, "cache_control": {"type": "ephemeral"}}]
        request = ask(system=system, messages=[{"role": "user", "content": first}])

        async def usage(name: str, body: dict[str, Any]) -> dict[str, Any]:
            headers = by_key(server.accounts[name].api_key)
            async with httpx.AsyncClient(base_url=server.url, headers=headers) as session:
                return dict((await session.post("/v1/messages", json=body)).json()["usage"])

        written = await usage("a", request)
        assert written["cache_creation"] == {
            "ephemeral_5m_input_tokens": 100,
            "ephemeral_1h_input_tokens": 1000,
        }
        later = [
            {"role": "user", "content": "q" * 400},
            {"role": "assistant", "content": "ok"},
            {
                "role": "user",
                "content": [{"type": "text", "text": "z" * 80, "cache_control": {"type": "ephemeral"}}],
            },
        ]
        follow_up = ask(system=[{**system[0], "text": "x-anthropic-billing-header: 2"}, system[1]], messages=later)
        read = await usage("a", follow_up)
        assert read["cache_read_input_tokens"] == 1100
        assert (await usage("b", follow_up))["cache_read_input_tokens"] == 0
        clock.now += 301
        assert (await usage("a", request))["cache_read_input_tokens"] == 1000
        clock.now += 3601
        assert (await usage("a", request))["cache_read_input_tokens"] == 0


async def test_models_come_in_pages(client: httpx.AsyncClient) -> None:
    """The model list pages by `limit` and `after_id`; an unknown model is a 404."""
    first = (await client.get("/v1/models?limit=2")).json()
    second = (await client.get("/v1/models", params={"limit": 1000, "after_id": first["last_id"]})).json()
    assert first["has_more"]
    assert not second["has_more"]
    assert first["last_id"] not in [model["id"] for model in second["data"]]
    assert (await client.get(f"/v1/models/{first['first_id']}")).json() == first["data"][0]
    assert (await client.get("/v1/models/claude-nope")).status_code == 404


async def test_batches_belong_to_their_account(upstream: SimulatedUpstream, client: httpx.AsyncClient) -> None:
    """A batch ends by itself, gives its results at its own address, and is a 404 for another account."""
    upstream.settings.batch_seconds = 0.0
    requests = [{"custom_id": "1", "params": ask("one")}, {"custom_id": "2", "params": {"model": "m"}}]
    made = (await client.post("/v1/messages/batches", json={"requests": requests})).json()
    shown = (await client.get(f"/v1/messages/batches/{made['id']}")).json()
    assert shown["processing_status"] == "ended"
    assert shown["request_counts"]["succeeded"] == shown["request_counts"]["errored"] == 1
    lines = (await client.get(shown["results_url"])).text.splitlines()
    assert [json.loads(line)["custom_id"] for line in lines] == ["1", "2"]
    other = by_key(upstream.accounts["b"].api_key)
    foreign = await client.get(f"/v1/messages/batches/{made['id']}", headers=other)
    assert foreign.status_code == 404
    upstream.settings.results_url = "api"
    elsewhere = (await client.get(f"/v1/messages/batches/{made['id']}")).json()["results_url"]
    assert elsewhere.startswith("https://api.anthropic.com/v1/messages/batches/msgbatch_01")
    assert (await client.delete(f"/v1/messages/batches/{made['id']}")).json()["type"] == "message_batch_deleted"


async def test_a_batch_can_be_canceled(upstream: SimulatedUpstream, client: httpx.AsyncClient) -> None:
    """A canceled batch ends at once and none of its requests was answered."""
    upstream.settings.batch_seconds = 3600
    requests = {"requests": [{"custom_id": "1", "params": ask()}]}
    made = (await client.post("/v1/messages/batches", json=requests)).json()
    assert made["processing_status"] == "in_progress"
    assert made["results_url"] is None
    early = await client.get(f"/v1/messages/batches/{made['id']}/results")
    canceled = (await client.post(f"/v1/messages/batches/{made['id']}/cancel")).json()
    assert early.status_code == 400
    assert canceled["request_counts"]["canceled"] == 1


async def test_files_are_kept_per_account(upstream: SimulatedUpstream, client: httpx.AsyncClient) -> None:
    """An uploaded file comes back byte for byte, to its account only, until it is deleted."""
    content = bytes(range(256)) * 10
    made = (await client.post("/v1/files", files={"file": ("d.bin", content, "application/x-thing")})).json()
    assert made["size_bytes"] == len(content)
    assert made["filename"] == "d.bin"
    assert (await client.get(f"/v1/files/{made['id']}/content")).content == content
    other = by_key(upstream.accounts["b"].api_key)
    assert (await client.get(f"/v1/files/{made['id']}", headers=other)).status_code == 404
    assert [one["id"] for one in (await client.get("/v1/files")).json()["data"]] == [made["id"]]
    await client.delete(f"/v1/files/{made['id']}")
    assert (await client.get(f"/v1/files/{made['id']}")).status_code == 404


async def test_chat_completions(client: httpx.AsyncClient) -> None:
    """The OpenAI-compatible endpoint answers whole and as a stream that ends with [DONE]."""
    request = {
        "model": "claude-x",
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "hey"}],
    }
    whole = (await client.post("/v1/chat/completions", json=request)).json()
    options = {"stream": True, "stream_options": {"include_usage": True}}
    stream = (await client.post("/v1/chat/completions", json={**request, **options})).text
    parts = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]
    text = "".join(part["choices"][0]["delta"].get("content", "") for part in parts if part["choices"])
    assert text == whole["choices"][0]["message"]["content"]
    assert parts[-1]["usage"] == whole["usage"]
    assert stream.endswith("data: [DONE]\n\n")


async def test_probes_and_unknown_paths(client: httpx.AsyncClient, upstream: SimulatedUpstream) -> None:
    """Hello answers anybody, `HEAD /` and unknown paths are 404 and a wrong method 405."""
    async with httpx.AsyncClient(base_url=upstream.url) as stranger:
        assert (await stranger.head("/api/hello")).status_code == 200
        assert (await stranger.get("/v1/oauth/hello")).status_code == 200
        head = await stranger.head("/")
    assert head.status_code == 404
    assert head.content == b""
    unknown = await client.get("/v1/agents")
    assert unknown.json()["error"] == {"type": "not_found_error", "message": "Not Found"}
    assert (await client.put("/v1/messages")).status_code == 405


async def test_echo_reports_exactly_what_arrived(client: httpx.AsyncClient) -> None:
    """Echo tells target, fields with spelling and order, and the body's hash."""
    body = b'{"a" : 1,\r\n "a":\t2}\n'
    headers = [("X-Odd-Name", "1"), ("x-odd-name", "2")]
    told = (await client.post("/v1/echo?x=%2F&x=+&empty=", content=body, headers=headers)).json()
    assert told["target"] == "/v1/echo?x=%2F&x=+&empty="
    assert [pair for pair in told["headers"] if pair[0].lower() == "x-odd-name"] == [
        ["X-Odd-Name", "1"],
        ["x-odd-name", "2"],
    ]
    assert told["body_sha256"] == hashlib.sha256(body).hexdigest()
    assert told["account"] == "a"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
async def test_codings_follow_what_is_accepted(
    upstream: SimulatedUpstream, client: httpx.AsyncClient, coding: Any
) -> None:
    """The chosen coding is used for JSON and streams of those who accept it, and for nobody else."""
    upstream.settings.coding = coding
    for stream in (False, True):
        coded = await client.post("/v1/messages", json=ask(stream=stream), headers={"accept-encoding": coding})
        assert coded.headers["content-encoding"] == coding
        assert coded.headers["vary"] == "Accept-Encoding"
        assert "Hello" in coded.text
        for other in ("identity", f"{coding};q=0"):
            bare = await client.post("/v1/messages", json=ask(stream=stream), headers={"accept-encoding": other})
            assert "content-encoding" not in bare.headers


async def test_compressed_requests(client: httpx.AsyncClient) -> None:
    """A gzip body is read; a broken one is a 400 and another coding a 415, with the names clients know."""
    body = gzip.compress(json.dumps(ask()).encode())
    good = await client.post("/v1/messages", content=body, headers={"content-encoding": "gzip"})
    bad = await client.post("/v1/messages", content=body[:-9], headers={"content-encoding": "gzip"})
    other = await client.post("/v1/messages", content=body, headers={"content-encoding": "br"})
    assert good.status_code == 200
    assert bad.status_code == 400
    assert bad.json()["error"]["details"]["error_code"] == "request_body_encoding_invalid"
    assert other.status_code == 415
    assert other.json()["error"]["details"]["error_code"] == "request_body_encoding_unsupported"


async def test_the_log_tells_what_happened(upstream: SimulatedUpstream, client: httpx.AsyncClient) -> None:
    """An entry has account, credential tail, model, hashes, times and usage; the body itself is gone."""
    answer = await client.post("/v1/messages", json=ask("log me"))
    entry = upstream.log[-1]
    assert (entry.account, entry.model, entry.status, entry.stream) == ("a", "claude-sonnet-5-5", 200, False)
    assert entry.credential == upstream.accounts["a"].api_key[-6:]
    assert entry.body_sha256 == hashlib.sha256(answer.request.content).hexdigest()
    assert entry.response_sha256 == hashlib.sha256(answer.content).hexdigest()
    assert entry.body == b""
    assert entry.complete
    assert entry.aborted is None
    assert entry.usage is not None
    assert entry.usage.output == answer.json()["usage"]["output_tokens"]
    assert dict(entry.response_headers)["request-id"] == entry.request_id
    assert entry.started_at <= entry.write_times[0] <= (entry.ended_at or 0)


async def test_the_books_add_up(upstream: SimulatedUpstream, client: httpx.AsyncClient) -> None:
    """Totals per account and model are the sums of what the answers told, streamed or not."""
    told = 0
    for stream in (False, True, False):
        answer = await client.post("/v1/messages", json=ask(stream=stream))
        usage = check_grammar(events(answer.content))["usage"] if stream else answer.json()["usage"]
        told += usage["output_tokens"]
    totals = upstream.books.accounts["a"]
    assert (totals.requests, totals.succeeded, totals.output) == (3, 3, told)
    assert upstream.books.models["a"]["claude-sonnet-5-5"].output == told
    assert upstream.in_flight == 0


async def test_a_tool_loop_follows_its_script(client: httpx.AsyncClient) -> None:
    """A script in the first message decides each turn of a tool loop, although later messages carry none."""
    tools = [{"name": "look", "input_schema": {"type": "object"}}]
    script = {"script": [{"tool": "look", "input": {"n": 1}}, {"tool": "look", "input": {"n": 2}}, {"text": "done"}]}
    request = fake(script, tools=tools)
    inputs = []
    for _ in range(2):
        body = (await client.post("/v1/messages", json=request)).json()
        call = body["content"][0]
        inputs.append(call["input"])
        result = {"type": "tool_result", "tool_use_id": call["id"], "content": "ok"}
        request["messages"] += [
            {"role": "assistant", "content": body["content"]},
            {"role": "user", "content": [result]},
        ]
    last = (await client.post("/v1/messages", json=request)).json()
    assert inputs == [{"n": 1}, {"n": 2}]
    assert last["content"][0]["text"] == "done"


def _sdk(upstream: SimulatedUpstream) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(
        api_key=upstream.accounts["a"].api_key, base_url=upstream.url, max_retries=0, timeout=10
    )


async def test_the_real_sdk_works(upstream: SimulatedUpstream) -> None:
    """The newest SDK creates, streams, counts, lists models and runs a batch."""
    async with _sdk(upstream) as sdk:
        user: Any = [{"role": "user", "content": "hello"}]
        created = await sdk.messages.create(model="claude-opus-5-5", max_tokens=50, messages=user)
        assert created.content[0].type == "text"
        async with sdk.messages.stream(model="claude-opus-5-5", max_tokens=500, messages=user) as stream:
            text = "".join([piece async for piece in stream.text_stream])
            final = await stream.get_final_message()
        assert final.usage.output_tokens > 1
        assert text.startswith("Hello from the fake upstream.")
        counted = await sdk.messages.count_tokens(model="claude-opus-5-5", messages=user)
        assert counted.input_tokens == created.usage.input_tokens
        models = [model.id async for model in sdk.models.list(limit=2)]
        assert len(models) == 7
        params: Any = {"model": "claude-opus-5-5", "max_tokens": 50, "messages": user}
        upstream.settings.batch_seconds = 0.0
        batch = await sdk.messages.batches.create(requests=[{"custom_id": "x", "params": params}])
        results = [one async for one in await sdk.messages.batches.results(batch.id)]
        assert results[0].result.type == "succeeded"


async def test_the_sync_sdk_gets_typed_errors(upstream: SimulatedUpstream) -> None:
    """The synchronous SDK maps the error answers to its own exception classes."""

    def call(words: str) -> None:
        with anthropic.Anthropic(
            api_key=upstream.accounts["a"].api_key, base_url=upstream.url, max_retries=0, timeout=10
        ) as sdk:
            sdk.messages.create(model="claude-opus-5-5", max_tokens=50, messages=[{"role": "user", "content": words}])

    with pytest.raises(anthropic.RateLimitError):
        await asyncio.to_thread(call, "[[fake 429]]")
    with pytest.raises(anthropic.InternalServerError):
        await asyncio.to_thread(call, "[[fake 529]]")
    with pytest.raises(anthropic.BadRequestError, match="credit balance"):
        await asyncio.to_thread(call, "[[fake 400-credit]]")
