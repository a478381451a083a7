"""Capturing keeps references and a bound; redaction leaves no credential and changes nothing else."""

import gzip
import zlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from ccflare.journal.searched import SearchedBodies
from ccflare.payload import MAX_BODY_BYTES, Captured, Content, Payload, Tape, field_lines, redacted, redacted_target
from ccflare.records import Exchange, Secret
from ccflare.wire import ByteBudget, Headers

OWN = "sk-ant-api03-the-accounts-own"
CLIENTS = "client-token-0123456789"


def exchange(**fields: Any) -> Exchange:
    made = Exchange(
        id="x", timestamp_ms=7, method="POST", path="/v1/messages", status_code=200, success=True, response_time_ms=1
    )
    return msgspec.structs.replace(made, **fields)


def captured(
    request: bytes = b"", response: bytes = b"", *, headers: Headers | None = None, target: bytes = b"/v1/messages"
) -> Captured:
    """Return a finished capture with one account's secret and one client's."""
    made = Captured(target, headers or [(b"authorization", b"Bearer " + CLIENTS.encode())], ByteBudget(1 << 30))
    made.request.add(request)
    made.secrets.append(Secret(OWN))
    made.answered(200, b"content-type: application/json\r\nset-cookie: id=1\r\n", (b"content-type", b"set-cookie"))
    made.response.add(response)
    made.close(exchange(session="s"))
    return made


def readable(made: Captured, searched: SearchedBodies | None = None) -> Payload:
    return redacted(made, lambda _coding, data: zlib.decompress(data, 31), searched or SearchedBodies())


# Capturing.


def test_a_body_is_kept_by_reference() -> None:
    """What is short enough is not copied while the exchange runs."""
    tape, body = Tape(ByteBudget(1 << 30)), bytearray(b"a" * MAX_BODY_BYTES)
    tape.add(body)
    assert tape.parts[0] is body
    assert not tape.cut


@pytest.mark.parametrize("step", [1000, 16 * 1024, 300_000, MAX_BODY_BYTES, 2 * MAX_BODY_BYTES])
def test_the_first_megabyte_is_kept_whatever_the_pieces(step: int) -> None:
    """The kept part is the body's beginning, and the length is the whole body's."""
    body = bytes(range(256)) * (2 * MAX_BODY_BYTES // 256)
    tape = Tape(ByteBudget(1 << 30))
    for at in range(0, len(body), step):
        tape.add(body[at : at + step])
    content = tape.content()
    assert content == Content(body[:MAX_BODY_BYTES], len(body))
    assert content.truncated


def test_a_body_of_exactly_one_megabyte_is_whole() -> None:
    """The bound itself is not beyond the bound."""
    tape = Tape(ByteBudget(1 << 30))
    tape.add(b"a" * (MAX_BODY_BYTES - 1))
    tape.add(b"b")
    assert not tape.content().truncated


def test_all_captures_share_a_bound_and_give_it_back() -> None:
    """When too much is captured at once a body is cut earlier; after the end the room is there again."""
    budget = ByteBudget(100_000)
    first, second = Tape(budget), Tape(budget)
    first.add(b"a" * 90_000)
    second.add(b"b" * 90_000)
    second.add(b"c" * 10)
    assert (first.content().truncated, second.content()) == (False, Content(b"", 90_010))
    first.release()
    second.release()
    assert budget.held == 0


def test_what_is_cut_is_said_once_for_each_body(caplog: pytest.LogCaptureFixture) -> None:
    """The line people search for names body, exchange and length."""
    captured(b"a" * (MAX_BODY_BYTES + 1), b"short")
    assert [record.name for record in caplog.records] == ["ccflare.Proxy"]
    assert "Buffer truncated at 1MB: the request of x has 1048577 bytes" in caplog.text


def test_a_capture_that_fails_says_so_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No exception leaves `add`; the payload is given up."""

    def fail(_tape: Tape, _data: bytes) -> None:
        raise MemoryError

    made = Captured(b"/v1/x", [], ByteBudget(1 << 30))
    monkeypatch.setattr(Tape, "_extend", fail)
    made.response.add(b"x")
    made.response.add(b"y")
    assert not made.close(exchange())
    assert caplog.text.count("Failed to capture streaming response") == 1


async def test_pieces_are_passed_on_as_they_come() -> None:
    """Listening changes no piece, and closes what it listens to."""
    closed = []

    async def pieces() -> AsyncIterator[bytes]:
        try:
            yield b"one"
            yield b"two"
        finally:
            closed.append(True)

    tape = Tape(ByteBudget(1 << 30))
    assert [piece async for piece in tape.listen(pieces())] == [b"one", b"two"]
    assert tape.content() == Content(b"onetwo", 6)
    stopped = tape.listen(pieces())
    assert await anext(stopped) == b"one"
    await stopped.aclose()  # type: ignore[attr-defined]  # it is a generator
    assert closed == [True, True]


def test_a_capture_shows_nothing() -> None:
    """Neither capture nor payload has contents in its repr."""
    made = captured(b"prompt", b"answer")
    for shown in (repr(made), repr(readable(made)), str(made.request.content())):
        assert not any(text in shown for text in ("prompt", "answer", CLIENTS, OWN, "Bearer"))


# Redaction.


def test_what_was_said_stays_as_it_was() -> None:
    """Bodies, harmless headers, status and target are the same; who and when is the exchange's."""
    headers = [(b"Anthropic-Version", b"2023-06-01"), (b"x-\xe9", b"\xff"), (b"x", b"1"), (b"x", b"2")]
    made = captured(b"\x00\xffquestion", b"answer", headers=headers, target=b"/v1/messages?beta=true")
    assert readable(made) == Payload(
        id="x",
        timestamp_ms=7,
        session="s",
        target="/v1/messages?beta=true",
        request_head=b"Anthropic-Version: 2023-06-01\nx-\xe9: \xff\nx: 1\nx: 2\n",
        request=Content(b"\x00\xffquestion", 10),
        status=200,
        response_head=b"content-type: application/json\nset-cookie: ***\n",
        response=Content(b"answer", 6),
    )


def test_fields_are_read_as_they_were_written() -> None:
    """Also empty ones, repeated ones and those with a colon in their value."""
    fields = (("x", ""), ("x", "a: b"), ("y-\xe9", "\xff"))
    made = Payload(id="x", timestamp_ms=1, target="/", request_head=field_lines(fields), response_head=b"")
    assert (made.request_headers, made.response_headers) == (fields, ())


def test_a_head_that_comes_again_is_redacted_once() -> None:
    """Its own length is written into it; with other credentials it is looked at anew, and only a few are remembered."""
    known: dict[object, Any] = {}

    def head(length: bytes, *secrets: str, extra: bytes = b"z") -> tuple[tuple[str, str], ...]:
        headers = [(b"x-api-key", b"k"), (b"Content-Length", length), (b"x-more", extra)]
        made = Captured(b"/v1/messages", headers, ByteBudget(1 << 30), known)
        made.secrets += map(Secret, secrets)
        made.close(exchange())
        return readable(made).request_headers

    assert head(b"5") == (("x-api-key", "***"), ("Content-Length", "5"), ("x-more", "z"))
    assert head(b"1234", extra=b"not looked at") == (("x-api-key", "***"), ("Content-Length", "1234"), ("x-more", "z"))
    long = "another-account-0123456789"
    assert head(b"5", long, extra=long.encode()) == (("x-api-key", "***"), ("Content-Length", "5"), ("x-more", "***"))
    for number in range(100):
        head(b"5", f"secret-{number}-0123456789")
    assert len(known) <= 8


@pytest.mark.parametrize(
    "name",
    ["Authorization", "X-Api-Key", "cookie", "proxy-authorization", "x-auth-key", "x-authtoken", "my-secret", "passwd"],
)
def test_credentials_in_headers(name: str) -> None:
    """A header with a credential's name keeps its name only."""
    made = readable(captured(headers=[(name.encode(), b"hunter2")]))
    assert made.request_headers == ((name, "***"),)


@pytest.mark.parametrize(
    ("value", "after"),
    [
        (b"sk-ant-api03-x", "sk-ant-***"),
        (b"Bearer abc", "Bearer ***"),
        (b"<" + OWN.encode() + b">", "<***>"),
        (b"echo " + CLIENTS.encode(), "echo ***"),
        (b"BEARER abc", "BEARER ***"),
        (b"http://u:hunter2@h/?key=1", "http://***@h/?key=1"),
        (b"<https://hunter2@h/a>; rel=next, <https://u:p@ss@h>", "<https://***@h/a>; rel=next, <https://***@h>"),
        (b"http://h/@me, me@h, a @ b", "http://h/@me, me@h, a @ b"),
        (b"https://h?mail=a@b, <https://h>,<mailto:a@b>", "https://h?mail=a@b, <https://h>,<mailto:a@b>"),
    ],
)
def test_credentials_in_other_headers(value: bytes, after: str) -> None:
    """What looks like a credential, or is one of this exchange, goes whatever the header is named."""
    headers = [(b"x-mine", value), (b"authorization", b"Bearer " + CLIENTS.encode())]
    assert readable(captured(headers=headers)).request_headers[0] == ("x-mine", after)


def test_a_password_in_an_answers_address() -> None:
    """The user part of a URL goes from upstream's headers too, whatever else is in the head."""
    made = captured()
    made.answered(302, b"location: http://u:hunter2@h/?x=1\r\nfrom: a@b\r\n", (b"location", b"from"))
    assert readable(made).response_headers == (("location", "http://***@h/?x=1"), ("from", "a@b"))


@pytest.mark.parametrize(
    ("target", "after"),
    [
        ("/v1/messages?beta=true&x", "/v1/messages?beta=true&x"),
        ("/v1/files?api_key=abc&limit=2", "/v1/files?api_key=***&limit=2"),
        ("/v1/files?key=abc;access_token=d%20e", "/v1/files?key=***;access_token=***"),
        ("/v1/files?x=sk-ant-abc", "/v1/files?x=***"),
        ("/v1/files?x=sk%2dant%2Dabc", "/v1/files?x=***"),
        ("/v1/files?x=Bearer+abc", "/v1/files?x=***"),
        ("/v1/sk-ant-abc/x", "/v1/sk-ant-***/x"),
        ("/v1/files?from=http%3A%2F%2Fu:hunter2@h/&to=http://h/", "/v1/files?from=***&to=http://h/"),
        ("/v1/files?after_id=file_1&key=", "/v1/files?after_id=file_1&key="),
    ],
)
def test_credentials_in_the_target(target: str, after: str) -> None:
    """Parameters named like credentials or with credentials in them are masked, the others are not touched."""
    assert redacted_target(target) == after


def test_credentials_of_the_exchange_in_bodies() -> None:
    """They are overwritten by as many bytes; a key that the client pasted itself is its own text."""
    echo = b'{"key":"' + OWN.encode() + b'","token":"' + CLIENTS.encode() + b'"}'
    made = readable(captured(b"use sk-ant-of-somebody", echo))
    assert made.request.data == b"use sk-ant-of-somebody"
    assert made.response == Content(
        b'{"key":"' + b"*" * len(OWN) + b'","token":"' + b"*" * len(CLIENTS) + b'"}', len(echo)
    )


def test_a_credential_inside_a_coded_body() -> None:
    """The body is not kept, only how long it was; one without a credential is kept as it was coded."""
    for text, stays in ((b"all is well", True), (b"your key: " + OWN.encode(), False)):
        coded = gzip.compress(text)
        made = captured()
        made.answered(200, b"Content-Encoding: gzip\r\n", (b"Content-Encoding",))
        made.response.parts, made.response.length = [coded], len(coded)
        assert readable(made).response == Content(coded if stays else b"", len(coded))


@pytest.mark.parametrize("own", [CLIENTS, "dummy"])
def test_a_client_key_inside_a_coded_body(own: str) -> None:
    """Also one that is not this exchange's, and where the exchange has no credential at all: nothing is kept."""
    coded = gzip.compress(b"another's key: ccf_" + b"k" * 43)
    made = captured(coded, headers=[(b"x-api-key", own.encode()), (b"content-encoding", b"gzip")])
    if own == "dummy":
        made.secrets.clear()
    assert readable(made).request == Content(b"", len(coded))


def test_a_body_in_a_coding_that_is_not_known() -> None:
    """Nobody can say what is in it: nothing but its length is kept."""
    made = captured(b"\x01\x02", headers=[(b"Content-Encoding", b"gzip, compress")])
    assert redacted(made, lambda _coding, _data: b"", SearchedBodies()).request == Content(b"", 2)


def test_a_placeholder_is_no_secret() -> None:
    """A client's `dummy` key does not change the word in its texts."""
    made = readable(captured(b"dummy text", headers=[(b"x-api-key", b"dummy")]))
    assert made.request.data == b"dummy text"


@pytest.mark.parametrize("shown", [8, 20, len(OWN) - 1])
def test_a_credential_where_a_body_was_cut(shown: int) -> None:
    """Its beginning at the end of what is kept is overwritten too."""
    body = b"a" * (MAX_BODY_BYTES - shown) + OWN.encode() + b"rest"
    made = readable(captured(b"", body))
    assert made.response == Content(b"a" * (MAX_BODY_BYTES - shown) + b"*" * shown, len(body))
