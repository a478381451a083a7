"""What is said through the proxy is captured as it was, and capturing changes nothing of it."""

import pytest

from ccflare.errors import TransportError
from ccflare.journal.searched import SearchedBodies
from ccflare.payload import MAX_BODY_BYTES, Payload, Tape, redacted
from flow.scripted import MESSAGE, Answer, Client, World, error, stream

BODY = b'{"model":"claude-x","messages":[{"role":"user","content":"hi"}]}'
KEY = b"sk-ant-api03-of-the-client"


def payload_of(world: World) -> Payload:
    """Return what the only exchange has left."""
    [captured] = world.captured
    assert captured is not None
    return redacted(captured, lambda _coding, data: data, SearchedBodies())


async def test_an_exchange_is_captured_as_both_sides_saw_it() -> None:
    """The client's own headers and body, the delivered status, headers and body; no credential of either side."""
    world = World("a")
    headers = [(b"X-Api-Key", KEY), (b"anthropic-version", b"2023-06-01")]
    client = await world.ask(Client(BODY, headers=headers, target=b"/v1/messages?beta=true"))
    [row] = world.rows
    made = payload_of(world)
    assert (made.id, made.timestamp_ms, made.session) == (row.id, row.timestamp_ms, row.session)
    assert (made.target, made.status) == ("/v1/messages?beta=true", 200)
    assert made.request_headers == (("X-Api-Key", "***"), ("anthropic-version", "2023-06-01"))
    assert (made.request.data, made.response.data) == (BODY, MESSAGE)
    assert (made.request.truncated, made.response.truncated) == (False, False)
    assert made.response_headers == tuple((name.decode(), value.decode()) for name, value in client.answer_headers)


async def test_a_held_answer_is_captured_as_the_client_got_it() -> None:
    """Delivered when nothing better came: upstream's fields and ours, and its credentials masked in what is kept."""
    world = World("ab")
    cookie = [(b"Set-Cookie", b"id=1"), (b"x-one", b"1"), (b"connection", b"x-one"), (b"content-length", b"99")]
    world.script(a=[error(500, headers=cookie)], b=[error(500, headers=cookie)])
    client = await world.ask()
    names = [name for name, _ in client.answer_headers]
    assert names == [b"content-type", b"Set-Cookie", b"x-ccflare-attempts", b"server-timing"]
    assert client.header(b"set-cookie") == b"id=1"
    kept = [
        (name.decode(), "***" if name == b"Set-Cookie" else value.decode()) for name, value in client.answer_headers
    ]
    assert payload_of(world).response_headers == tuple(kept)


async def test_what_is_switched_off_is_not_captured() -> None:
    """The setting counts for the next request."""
    world = World("a", store_payloads=False)
    client = await world.ask()
    assert (client.status, world.captured) == (200, [None])


@pytest.mark.parametrize("too_long", [False, True])
async def test_long_bodies_pass_whole_and_are_kept_cut(too_long: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Kept or streamed, the request reaches upstream and the answer the client whole; of each 1 MiB is kept."""
    question, answer = b"q" * (2 * MAX_BODY_BYTES), b"a" * (3 * MAX_BODY_BYTES)
    world = World("a")
    world.script(a=[Answer(body=answer)])
    client = await world.ask(Client(question, too_long=too_long))
    made = payload_of(world)
    assert (world.transport.sent[0].body, bytes(client.answer)) == (question, answer)
    assert (made.request.data, made.request.length) == (question[:MAX_BODY_BYTES], len(question))
    assert (made.response.data, made.response.length) == (answer[:MAX_BODY_BYTES], len(answer))
    assert caplog.text.count("Buffer truncated at 1MB") == 2


async def test_a_stream_is_captured_with_its_first_event() -> None:
    """What was held back to be judged is kept as well as what came later."""
    events = [b"event: message_start\ndata: {}\n\n", b"event: ping\ndata: {}\n\n", b"event: message_stop\ndata: {}\n\n"]
    world = World("a")
    world.script(a=[stream(*events)])
    await world.ask()
    assert payload_of(world).response.data == b"".join(events)


async def test_a_cut_answer_is_captured_as_far_as_it_came() -> None:
    """The broken exchange has what the client saw."""
    world = World("a")
    world.script(a=[Answer(body=b"the beginning", cut=TransportError("broken", "gone"))])
    client = await world.ask()
    assert payload_of(world).response.data == bytes(client.answer) == b"the beginning"


@pytest.mark.parametrize("status", [503, 529])
async def test_a_refused_answer_that_is_delivered_in_the_end_is_captured(status: int) -> None:
    """The last answer of upstream, after other accounts were tried."""
    world = World("ab", retry_attempts=1)
    world.script(a=[error(500)], b=[error(status)])
    client = await world.ask()
    made = payload_of(world)
    assert (client.status, made.status) == (status, status)
    assert made.response.data == bytes(client.answer)


async def test_our_own_answers_are_captured() -> None:
    """What ccflare says itself, with its headers."""
    world = World("a", max_exchanges=1)
    async with world.busy():
        client = await world.ask()
        made = payload_of(world)
    assert (made.status, made.response.data) == (503, bytes(client.answer))
    assert dict(made.response_headers)["x-ccflare-answer"] == "1"


async def test_the_accounts_key_does_not_come_back_in_an_answer() -> None:
    """An upstream that repeats the key it was sent leaves it in no payload, whichever account it was."""
    world = World(["account-a-0123456789", "account-b-0123456789"])  # type: ignore[arg-type]  # names of any length
    answer = b'{"a":"key-account-a-0123456789","b":"key-account-b-0123456789"}'
    world.transport.script = {
        "key-account-a-0123456789": [error(429, "rate_limit_error")],
        "key-account-b-0123456789": [Answer(body=answer)],
    }
    await world.ask()
    made = payload_of(world)
    assert b"0123456789" not in made.response.data
    assert len(made.response.data) == len(answer)


async def test_a_capture_that_fails_touches_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client has its answer, the row is written, the payload is missing, and the log says so."""

    def fail(_tape: Tape, _data: bytes) -> None:
        raise MemoryError

    monkeypatch.setattr(Tape, "_extend", fail)
    world = World("a")
    client = await world.ask()
    assert (client.status, bytes(client.answer), client.ended) == (200, MESSAGE, "clean")
    assert (world.rows[0].success, world.captured) == (True, [None])
    assert "Failed to capture streaming response" in caplog.text


async def test_running_captures_have_a_bound_that_is_given_back() -> None:
    """Whatever ends, nothing of the shared bound stays taken."""
    world = World("ab")
    world.script(a=[error(500)], b=[Answer(), stream(b"x", cut=TransportError("broken", "gone"))])
    for _ in range(4):
        await world.ask()
    assert world.proxy._captures.held == 0
