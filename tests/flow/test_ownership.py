"""Objects and their owners, through the exchange loop: learnt from answers, and asked for at their owner only."""

import itertools
import json
import logging
from typing import Any

import msgspec
import pytest

from ccflare.records import Account
from flow.scripted import Answer, Client, World, error, stream

FILE = "file_011CNha8iCJcU1wXNR6q4V8w"
BATCH = "msgbatch_01HkcTjaV5uDC8jWR4ZsDV8d"
CONTAINER = "container_011CPR5CNjB747bTd36fQLFk"
LIMITED = [(b"anthropic-ratelimit-unified-status", b"rejected"), (b"retry-after", b"120")]

_sessions = itertools.count()


def shown(object_id: str, **more: Any) -> Answer:
    return Answer(body=json.dumps({"id": object_id, **more}).encode())


def asking(body: Any = None, *, method: bytes = b"POST", target: str = "/v1/messages") -> Client:
    """Return a request of a session of its own, so that no session decides where it goes."""
    data = b"" if body is None else json.dumps({"model": "claude-x", **body}).encode()
    session = (b"x-claude-code-session-id", b"session-%d" % next(_sessions))
    return Client(data, method=method, target=target.encode(), headers=[session])


def keys(world: World) -> list[str]:
    """Return who was asked, in order."""
    return [sent.key.removeprefix("key-") for sent in world.transport.sent]


def change(world: World, name: str, **fields: Any) -> None:
    """Change an account as another process does."""
    accounts = [standing.account for standing in world.pool.states(world.now_ms)]
    world.pool.load(
        [msgspec.structs.replace(each, **fields) if each.name == name else each for each in accounts], world.now_ms
    )


async def made_by_b(object_id: str = FILE, target: str = "/v1/files") -> World:
    """Return a world in which `b` has made an object, although `a` comes first."""
    world = World("abc")
    world.script(a=[error(529), Answer()], b=[shown(object_id), Answer()], c=[Answer()])
    change(world, "a", paused=True)
    await world.ask(asking({}, target=target))
    change(world, "a", paused=False)
    world.transport.sent.clear()
    return world


@pytest.mark.parametrize(
    ("object_id", "target", "naming"),
    [
        (FILE, "/v1/files", asking(method=b"GET", target=f"/v1/files/{FILE}/content")),
        (FILE, "/v1/files", asking(method=b"GET", target=f"/v1/files?after_id={FILE}")),
        (FILE, "/v1/files", asking({"messages": [{"content": [{"source": {"type": "file", "file_id": FILE}}]}]})),
        (BATCH, "/v1/messages/batches", asking(method=b"GET", target=f"/v1/messages/batches/{BATCH}/results")),
        (BATCH, "/v1/messages/batches", asking({}, target=f"/v1/messages/batches/{BATCH}/cancel?beta=true")),
        ("agent_011CZkYpogX7uDKUy", "/v1/agents", asking({"agent": "agent_011CZkYpogX7uDKUy"}, target="/v1/sessions")),
    ],
)
async def test_what_names_an_object_goes_to_its_owner(object_id: str, target: str, naming: Client) -> None:
    """In path, query or body; requests that name nothing go on by the usual order."""
    world = await made_by_b(object_id, target)
    world.script(a=[Answer()])
    assert (await world.ask(naming)).status == 200
    await world.ask(asking(method=b"GET", target="/v1/files"))
    assert keys(world) == ["b", "a"]
    world.assert_quiet()


async def test_a_message_shows_the_container_and_the_files_it_made() -> None:
    """Streamed and whole: the next request with the container goes to the same account, whatever its session."""
    output: dict[str, Any] = {"content": [{"type": "code_execution_output", "file_id": FILE}]}
    block = {"type": "content_block_start", "content_block": {"type": "code_execution_tool_result", "content": output}}
    end = {"type": "message_delta", "delta": {"container": {"id": CONTAINER}}, "usage": {"output_tokens": 1}}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"model": "claude-x"}},
        block,
        end,
        {"type": "message_stop"},
    ]
    streamed = stream(*(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in events))
    whole = Answer(body=json.dumps({"type": "message", "content": [output], "container": {"id": CONTAINER}}).encode())
    for answer in (streamed, whole):
        world = World("ab")
        world.script(a=[error(429, "rate_limit_error"), Answer()], b=[answer, Answer()])
        await world.ask(asking({"messages": []}))
        world.clock.passed += 3600
        world.transport.sent.clear()
        await world.ask(asking({"container": CONTAINER, "messages": [{"role": "user", "content": "new"}]}))
        await world.ask(asking(method=b"GET", target=f"/v1/files/{FILE}"))
        assert keys(world) == ["b", "b"]


async def test_the_answer_reaches_the_client_byte_for_byte() -> None:
    """Looking at an answer changes nothing of it, results' addresses included."""
    world = World("a")
    body = b'{ "id":"%b" ,"results_url":"https://api.anthropic.com/v1/messages/batches/x/results"}' % BATCH.encode()
    world.script(a=[Answer(body=body)])
    client = await world.ask(asking(method=b"GET", target="/v1/messages/batches/x"))
    assert bytes(client.answer) == body
    assert list(world.pool.owners.kinds) == ["msgbatch"]


async def test_a_limited_owner_is_waited_for() -> None:
    """A 429 with the owner's own recovery, also for a client with a key of its own; nobody else is asked."""
    world = await made_by_b()
    world.script(b=[error(429, "rate_limit_error", headers=LIMITED)])
    naming = f"/v1/files/{FILE}"
    first = await world.ask(asking(method=b"GET", target=naming))
    own_key = Client(method=b"GET", target=naming.encode(), headers=[(b"x-api-key", b"sk-ant-api03-own")])
    second = await world.ask(own_key)
    assert keys(world) == ["b"]
    for client in (first, second):
        assert client.status == 429
        assert client.header(b"retry-after") == b"120"
        assert client.json["error"]["type"] == "rate_limit_error"
        assert "owns what this request names" in client.json["error"]["message"]


@pytest.mark.parametrize("why", [{"paused": True}, {"expired_reason": "x"}, {"auth_failed_reason": "x"}])
async def test_an_owner_that_cannot_be_used_is_named_as_the_reason(why: dict[str, Any]) -> None:
    """No other account is asked, where the object would be a 404 that clients believe, nor is upstream without one."""
    world = await made_by_b()
    change(world, "b", **why)
    client = await world.ask(asking(method=b"GET", target=f"/v1/files/{FILE}"))
    assert keys(world) == []
    assert client.status == 503
    assert client.header(b"x-should-retry") == b"false"
    assert "owns what this request names" in client.json["error"]["message"]
    assert world.rows[-1].status_code == 503
    assert not world.rows[-1].success


async def test_a_failing_owner_is_tried_again_but_not_replaced() -> None:
    """The usual retries, then upstream's own answer."""
    world = await made_by_b()
    world.script(b=[error(529)])
    client = await world.ask(asking(method=b"GET", target=f"/v1/files/{FILE}"))
    assert set(keys(world)) == {"b"}
    assert len(world.transport.sent) == 3
    assert client.status == 529


async def test_a_removed_owner_is_forgotten() -> None:
    """Then any account may try."""
    world = await made_by_b()
    world.pool.load([Account(id="a", name="a", created_at_ms=0), Account(id="c", name="c", created_at_ms=0)], 0)
    world.script(a=[Answer()], c=[Answer()])
    assert (await world.ask(asking(method=b"GET", target=f"/v1/files/{FILE}"))).status == 200
    assert keys(world) == ["a"]


async def test_a_deleted_object_is_forgotten() -> None:
    """Only when upstream has deleted it."""
    world = await made_by_b()
    delete = f"/v1/files/{FILE}"
    world.script(b=[error(404, "not_found_error"), shown(FILE, type="file_deleted")])
    await world.ask(asking(method=b"DELETE", target=delete))
    assert list(world.pool.owners.kinds) == ["file"]
    await world.ask(asking(method=b"DELETE", target=delete))
    assert keys(world) == ["b", "b"]
    assert not world.pool.owners.kinds


async def test_refused_and_anonymous_answers_teach_nothing() -> None:
    """An error that mentions an id is no sign of ownership, and without an account there is no owner."""
    world = World("a")
    world.script(a=[Answer(404, json.dumps({"error": {"id": FILE}}).encode())], nobody=[shown(FILE)])
    await world.ask(asking(method=b"GET", target=f"/v1/files/{FILE}"))
    change(world, "a", paused=True)
    assert (await world.ask(asking(method=b"GET", target=f"/v1/files/{FILE}"))).status == 200
    assert not world.pool.owners.kinds


async def test_objects_of_two_accounts_go_to_the_first_named(caplog: pytest.LogCaptureFixture) -> None:
    """What the path names counts before what the body names, and it is said in the log."""
    world = World("ab")
    world.pool.owners.note("a", [FILE], world.now_ms)
    world.pool.owners.note("b", [BATCH], world.now_ms)
    with caplog.at_level(logging.DEBUG, logger="ccflare.Proxy"):
        await world.ask(asking({"file_id": FILE}, target=f"/v1/messages/batches/{BATCH}"))
    assert keys(world) == ["b"]
    assert "names objects of 2 accounts" in caplog.text


async def test_the_decision_is_explained(caplog: pytest.LogCaptureFixture) -> None:
    """The log of choices says that the account owns what was named."""
    world = await made_by_b()
    with caplog.at_level(logging.DEBUG, logger="ccflare.SessionStrategy"):
        await world.ask(asking(method=b"GET", target=f"/v1/files/{FILE}"))
    assert "b, it owns what the request names" in caplog.text
