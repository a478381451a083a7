"""What a request belongs to, and the order of candidates."""

import gzip
import json
from dataclasses import dataclass
from typing import Any

import pytest

from ccflare.abridged import abridged
from ccflare.strategy import Peek, headroom_bucket, named_session, order, peek, session_key
from ccflare.wire import Headers

UUID = "550e8400-e29b-41d4-a716-446655440000"
BILLING = {"type": "text", "text": "x-anthropic-billing-header: cc_version=1; cch=abc;"}


def request(**fields: Any) -> bytes:
    body = {"model": "claude-opus-4-1", "messages": [{"role": "user", "content": "hi"}], **fields}
    return json.dumps(body).encode()


def key(body: bytes | None, headers: Headers | None = None, client: str = "127.0.0.1") -> str:
    return session_key(peek(b"/v1/messages", named_session(headers or []), body), client)


def test_model_and_stream() -> None:
    """Model and stream are read with and without a session header."""
    body = request(stream=True)
    seen = peek(b"/v1/messages", named_session([(b"X-Claude-Code-Session-Id", UUID.encode())]), body)
    assert seen == Peek("claude-opus-4-1", True, UUID, None)
    seen = peek(b"/v1/messages", None, body)
    assert (seen.model, seen.stream, seen.session_id) == ("claude-opus-4-1", True, None)
    assert peek(b"/v1/messages", None, request()).stream is False


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        b"{",
        b"[]",
        b"null",
        b"\x00\xff",
        gzip.compress(b'{"model": "m"}', mtime=0),
        b'{"model": 7}',
        b'{"messages": {}}',
        b'{"stream": "yes"}',
        b'{"model": "\xff"}',
        b"[" * 100_000,
        b'{"metadata": ' + b"[" * 100_000,
    ],
)
def test_unreadable_bodies_are_the_clients(body: bytes | None) -> None:
    """A body that cannot be read gives an empty peek, and the client is the session."""
    assert peek(b"/v1/messages", None, body) == Peek()
    assert key(body) == key(None)
    assert key(body, client="10.0.0.1") != key(None)


def test_peek_holds_no_view_of_the_body() -> None:
    """The body can be given back while what was seen of it is still in use."""
    body = bytearray(request(system="s", tools=[{"name": "t"}]))
    seen = peek(b"/v1/messages", None, body)
    body.clear()
    assert seen.fingerprint is not None


def test_uploads_are_not_looked_into() -> None:
    """Batches and files are sent on without being decoded."""
    assert peek(b"/v1/messages/batches", None, request()) == Peek()
    assert peek(b"/v1/files", None, request()) == Peek()


def test_session_header_wins() -> None:
    """Claude Code's header decides before everything in the body, and on requests without one."""
    header = [(b"x-claude-code-session-id", UUID.encode())]
    metadata = {"user_id": json.dumps({"session_id": "other"})}
    assert key(request(metadata=metadata), header) == key(None, header) == key(b"\xff", header)
    assert key(None, header) != key(None, [(b"x-claude-code-session-id", b"another")])
    assert key(None, [(b"x-claude-code-session-id", b"")]) == key(None)


def test_session_in_metadata() -> None:
    """The id in the JSON of user_id, the suffix of the older form and the header name the same session."""
    expected = key(None, [(b"x-claude-code-session-id", UUID.encode())])
    as_json = json.dumps({"device_id": "d", "account_uuid": "", "session_id": UUID})
    assert key(request(metadata={"user_id": as_json})) == expected
    assert key(request(metadata={"user_id": f"user_0a1b_account__session_{UUID}"})) == expected


@pytest.mark.parametrize("user_id", ["an-apps-user", '{"session_id": 5}', "{broken", '{"session_id": ""}', "é"])
def test_whole_user_id(user_id: str) -> None:
    """A user id of another form is the session as a whole."""
    seen = peek(b"/v1/messages", None, request(metadata={"user_id": user_id}))
    assert seen.session_id == user_id


@pytest.mark.parametrize("metadata", [{}, {"user_id": ""}, {"user_id": None}, {"user_id": 5}, [], None, "x"])
def test_metadata_without_a_user(metadata: object) -> None:
    """Metadata that names nobody leaves the fingerprint to decide, and the model readable."""
    seen = peek(b"/v1/messages", None, request(metadata=metadata))
    assert seen.session_id is None
    assert seen.model == "claude-opus-4-1"
    assert session_key(seen, "c") == key(request())


def test_ids_are_scoped_by_client() -> None:
    """Nobody joins another client's session by choosing its id; the same prompt shares one."""
    header = [(b"x-claude-code-session-id", UUID.encode())]
    assert key(None, header, "a") != key(None, header, "b")
    assert key(request(), client="a") == key(request(), client="b")


def test_key_tells_nothing() -> None:
    """The key is a hash of fixed length."""
    for made in (key(None), key(request()), key(None, [(b"x-claude-code-session-id", b"secret")])):
        assert len(made) == 32
        assert set(made) <= set("0123456789abcdef")


def test_fingerprint_is_what_decides_the_cache() -> None:
    """Model, tools, system and first user message make it; later turns and other settings do not."""
    base = {"system": "be brief", "tools": [{"name": "t"}]}
    same = key(request(**base))
    turns = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "more"},
    ]
    assert key(request(**base, messages=turns, max_tokens=5, stream=True)) == same
    assert key(request(**base, model="claude-haiku-4-5")) != same
    assert key(request(**{**base, "system": "be long"})) != same
    assert key(request(**{**base, "tools": []})) != same
    assert key(request(**base, messages=[{"role": "user", "content": "bye"}])) != same


def test_fingerprint_ignores_the_billing_block() -> None:
    """A first system block that changes with every request does not change the session."""
    prompt = {"type": "text", "text": "You are ..."}
    other = {"type": "text", "text": "x-anthropic-billing-header: cch=zzz;"}
    without = key(request(system=[prompt]))
    assert key(request(system=[BILLING, prompt])) == key(request(system=[other, prompt])) == without
    assert key(request(system=[prompt, BILLING])) != without
    assert key(request(system=BILLING["text"])) == key(request(system=[BILLING])) == key(request(system=[]))


def test_fingerprint_survives_a_moving_breakpoint() -> None:
    """The first message is the same as a string, as a block, and with or without a cache breakpoint."""
    block = {"type": "text", "text": "hi"}
    marked = {**block, "cache_control": {"type": "ephemeral"}}
    keys = {key(request(messages=[{"role": "user", "content": content}])) for content in ("hi", [block], [marked])}
    assert len(keys) == 1


def test_fingerprint_looks_at_the_first_user_message() -> None:
    """System messages before it do not hide it; images and tool results in it count."""
    system = {"role": "system", "content": "x"}
    assert key(request(messages=[system, {"role": "user", "content": "hi"}])) == key(request())

    def image(data: str) -> bytes:
        return request(messages=[{"role": "user", "content": [{"type": "image", "source": {"data": data}}]}])

    assert key(image("a")) != key(image("b"))


def test_parts_cannot_be_mistaken_for_each_other() -> None:
    """What is in one part of the request is never read as the beginning of the next."""
    assert key(request(system=["a"], tools=[])) != key(request(system=[], tools=["a"]))


def test_body_without_messages_is_the_clients() -> None:
    """Where there is no prompt there is no cache to share."""
    assert key(b'{"requests": []}') == key(None)
    assert key(b'{"messages": [5, {"role": "assistant", "content": 1}]}') == key(None)


def test_hashing_is_bounded() -> None:
    """Only the beginning of each part counts."""
    long = "x" * 100_000
    assert key(request(system=long + "a")) == key(request(system=long + "b"))
    assert key(request(system=[long, "a"])) == key(request(system=[long, "b"]))


# Long bodies.

PICTURE = "iVBORw0KGgo/" * 100_000


def with_picture(**fields: Any) -> bytes:
    source = {"type": "base64", "media_type": "image/png", "data": PICTURE}
    return request(messages=[{"role": "user", "content": [{"type": "image", "source": source}]}], **fields)


def test_a_picture_is_not_read() -> None:
    """What is behind a long string is found without going through it."""
    body = with_picture(metadata={"user_id": f"user_1_session_{UUID}"}, stream=True)
    assert len(abridged(body)) < 2_000
    assert len(abridged(request(system="It ends with a new line.\n" * 1_000))) < 2_000
    assert len(abridged(request(system="Before a quote. " * 1_000 + 'It says "so".'))) < 2_000
    assert peek(b"/v1/messages", None, body) == Peek("claude-opus-4-1", True, UUID)
    assert peek(b"/v1/messages", "id", bytearray(body)) == Peek("claude-opus-4-1", True, "id")


def test_long_bodies_without_an_id_have_a_fingerprint_of_everything() -> None:
    """Two prompts that differ in the middle of a long string are two."""
    long = [f"{'a' * 20_000}{letter}{'a' * 20_000}" for letter in "bc"]
    first, second = (peek(b"/v1/messages", None, request(system=text)) for text in long)
    assert first.model == second.model == "claude-opus-4-1"
    assert first.session_id is second.session_id is None
    assert first.fingerprint != second.fingerprint


@pytest.mark.parametrize("name", ["m" * 20_000, "\U0001f600" * 4_000, "model with spaces " * 2_000])
def test_what_is_looked_for_may_be_long_itself(name: str) -> None:
    """A model, or an id, of any length is read to its end."""
    assert peek(b"/v1/messages", "id", with_picture(model=name)).model == name
    assert peek(b"/v1/messages", None, with_picture(metadata={"user_id": name})).session_id == name


def test_a_long_body_that_cannot_be_read() -> None:
    """It is the client's, as a short one is."""
    assert peek(b"/v1/messages", None, with_picture()[:-1]) == Peek()
    assert peek(b"/v1/messages", None, with_picture(stream="yes")) == Peek()


# Order.


@dataclass(frozen=True)
class Seat:
    """A candidate."""

    id: str
    priority: int = 0
    bucket: int = 0
    in_flight: int = 0
    idle_rank: int = 0


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (Seat("z", priority=0, bucket=2), Seat("a", priority=1)),
        (Seat("z", bucket=0, in_flight=9), Seat("a", bucket=1)),
        (Seat("z", in_flight=1, idle_rank=0), Seat("a", in_flight=2, idle_rank=-5)),
        (Seat("z", idle_rank=-200), Seat("a", idle_rank=-100)),
        (Seat("a"), Seat("b")),
    ],
)
def test_what_comes_first(better: Seat, worse: Seat) -> None:
    """Priority, then headroom, then fewest in flight, then the one used last, then the id."""
    assert order([worse, better]) == [better, worse]


def test_bound_account_comes_first() -> None:
    """The bound account is tried before better ones; one that is no candidate changes nothing."""
    seats = [Seat("a"), Seat("b"), Seat("c", priority=9)]
    assert [seat.id for seat in order(seats, "c")] == ["c", "a", "b"]
    assert [seat.id for seat in order(seats, "gone")] == ["a", "b", "c"]
    assert order([], "c") == []


@pytest.mark.parametrize(("headroom", "bucket"), [(None, 0), (1.0, 0), (0.2, 0), (0.19, 1), (0.05, 1), (0.0, 2)])
def test_headroom_buckets(headroom: float | None, bucket: int) -> None:
    """Accounts with plenty left, or of which nothing is known, are equal."""
    assert headroom_bucket(headroom) == bucket


def test_this_machine_is_one_client() -> None:
    """A session does not split when `localhost` means one loopback address now and another one then."""
    seen = Peek(session_id="s")
    keys = {session_key(seen, address) for address in ("127.0.0.1", "::1", "127.8.9.10", "::ffff:127.0.0.1")}
    assert len(keys) == 1
    assert session_key(seen, "192.0.2.1") not in keys
