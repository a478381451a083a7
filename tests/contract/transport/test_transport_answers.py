"""Exchanges against a server that sends exactly what the test says, on both event loops."""

import asyncio
import gzip

import pytest

from ccflare.errors import TransportError
from ccflare.transport import Transport
from ccflare.wire import Headers
from transport_peers import (
    CHUNKED,
    HELLO,
    OK,
    Asked,
    Collected,
    Conversation,
    Script,
    answering,
    ask,
    body_of,
    closing,
    collect,
    eventually,
    once,
    peer,
)

EVENTS = [b"event: ping\ndata: {}\n\n" * n for n in (1, 2, 5)]


async def test_a_request_arrives_as_it_was_made() -> None:
    """Line, fields and body reach the server byte for byte, and the answer comes back so."""
    asked: list[Asked] = []

    async def script(talk: Conversation) -> None:
        asked.append(await talk.request())
        await talk.send(b"HTTP/1.1 418 I'm a teapot\r\nX-One: 1\r\nx-one: 2\r\nContent-Length: 3\r\n\r\nno\n")

    async with peer(script) as server, closing(Transport()) as transport:
        headers: Headers = [(b"X-Odd-Case", b" a  b"), (b"anthropic-beta", b"x"), (b"x-odd-case", b"\xff")]
        response = await ask(transport, server.origin, b'{"a": 1 }\n', target=b"/v1/m%2Fx?a=&a=+", headers=headers)
        assert (response.status, response.reason, response.http_version) == (418, b"I'm a teapot", "1.1")
        assert response.headers == [(b"X-One", b"1"), (b"x-one", b"2"), (b"Content-Length", b"3")]
        assert (response.content_length, response.body_sent) == (3, True)
        assert [await response.read(), await response.read(), await response.read()] == [b"no\n", b"", b""]
    host = f"127.0.0.1:{server.origin.port}".encode()
    assert asked[0].line == b"POST /v1/m%2Fx?a=&a=+ HTTP/1.1"
    assert asked[0].body == b'{"a": 1 }\n'
    assert asked[0].fields == [
        b"Host: " + host,
        b"X-Odd-Case:  a  b",
        b"anthropic-beta: x",
        b"x-odd-case: \xff",
        b"Content-Length: 10",
    ]


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (HELLO, b"hello"),
        (CHUNKED + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"hello"),
        (CHUNKED + b"5\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n", b"hello"),
        (CHUNKED + b"".join(b"1\r\n%c\r\n" % byte for byte in b"hello") + b"0\r\n\r\n", b"hello"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 3 + HELLO, b"hello"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (OK + b"Content-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    ],
)
async def test_any_framing_gives_the_body_and_keeps_the_connection(answer: bytes, body: bytes) -> None:
    """Answers of every self-delimiting framing are read whole, one after the other on one connection."""
    async with peer(answering(answer)) as server, closing(Transport()) as transport:
        for _ in range(3):
            assert await body_of(await ask(transport, server.origin)) == body
            sink = Collected()
            await (await ask(transport, server.origin)).relay(sink)
            assert sink.data == body
        assert server.accepted == 1
        assert (transport.connections_open, transport.connections_idle, transport.connections_in_use) == (
            1,
            1,
            0,
        )


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"\r\nhello",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello",
    ],
)
async def test_an_answer_that_ends_the_connection_is_whole(answer: bytes) -> None:
    """Close-delimited answers and `Connection: close` end cleanly and use their connection up."""
    async with peer(once(answer)) as server, closing(Transport()) as transport:
        for _ in range(2):
            assert await body_of(await ask(transport, server.origin)) == b"hello"
            assert transport.connections_open == 0
        assert server.accepted == 2


async def test_the_answer_to_head_has_no_body() -> None:
    """HEAD ends with the head although a length is announced, and the connection serves the next request."""
    head = OK + b"Content-Length: 500\r\n\r\n"
    async with peer(answering(head, HELLO)) as server, closing(Transport()) as transport:
        response = await ask(transport, server.origin, method=b"HEAD")
        assert (response.content_length, await response.read()) == (500, b"")
        assert await body_of(await ask(transport, server.origin)) == b"hello"
        assert server.accepted == 1


async def test_content_codings_are_not_touched() -> None:
    """A compressed body comes as the server sent it, with its label, and nothing asks for compression."""
    packed = gzip.compress(b"x" * 1000)
    answer = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed
    asked: list[Asked] = []

    async def script(talk: Conversation) -> None:
        asked.append(await talk.request())
        await talk.send(answer)

    async with peer(script) as server, closing(Transport()) as transport:
        response = await ask(transport, server.origin)
        assert (b"Content-Encoding", b"gzip") in response.headers
        assert await body_of(response) == packed
    assert not [entry for entry in asked[0].fields if entry.lower().startswith((b"accept", b"user-agent"))]


async def test_bytes_are_delivered_as_they_arrive() -> None:
    """Each piece of a stream is with the sink before the next is sent; half events are not waited for."""
    sink = Collected()

    async def script(talk: Conversation) -> None:
        await talk.request()
        await talk.send(CHUNKED)
        sent = b""
        for piece in [b"event: pi", b"ng\n", *EVENTS]:
            await talk.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            sent += piece
            await eventually(lambda sent=sent: sink.data == sent)  # type: ignore[misc]  # bound now, not later
        await talk.send(b"0\r\n\r\n")

    async with peer(script) as server, closing(Transport()) as transport:
        await (await ask(transport, server.origin)).relay(sink)
        assert sink.data == b"event: ping\n" + b"".join(EVENTS)


async def test_relay_begins_with_what_was_not_read() -> None:
    """After a `read`, `relay` pushes the rest, what is buffered first."""

    async def script(talk: Conversation) -> None:
        await talk.request()
        await talk.send(OK + b"Content-Length: 9\r\n\r\none")
        await more.wait()
        await talk.send(b"two")
        await asyncio.sleep(0.05)
        await talk.send(b"six")

    more = asyncio.Event()
    async with peer(script) as server, closing(Transport()) as transport:
        response = await ask(transport, server.origin)
        assert await response.read() == b"one"
        more.set()
        sink = Collected()
        await response.relay(sink)
        assert sink.data == b"twosix"


CUTS: list[tuple[Script, str, bool]] = [
    (once(b""), "broken", False),
    (once(b"", reset=True), "broken", True),
    (once(b"HTTP/1.1 200 OK\r\nContent-Le"), "broken", False),
    (once(b"HTTP/1.1 200 OK\r\nContent-Le", reset=True), "broken", True),
    (once(b"HTTP/1.1 100 Continue\r\n\r\n"), "broken", False),
    (once(b"nonsense\r\n\r\n"), "protocol_error", False),
    (once(b"HTTP/3 200 OK\r\n\r\n"), "protocol_error", False),
    (once(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), "protocol_error", False),
    (once(OK + b"X: " + b"y" * 300_000 + b"\r\n\r\n"), "protocol_error", False),
    (once(OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "protocol_error", False),
]


@pytest.mark.parametrize(("script", "kind", "reset"), CUTS)
async def test_no_head_is_an_error_of_open(script: Script, kind: str, reset: bool) -> None:
    """What a server does instead of a whole head is told apart, and leaves no connection."""
    async with peer(script) as server, closing(Transport()) as transport:
        with pytest.raises(TransportError) as caught:
            await ask(transport, server.origin)
        assert (caught.value.kind, caught.value.reset) == (kind, reset)
        assert transport.connections_open == 0


BROKEN: list[tuple[Script, str, bool]] = [
    (once(OK + b"Content-Length: 9\r\n\r\nhello"), "broken", False),
    (once(OK + b"Content-Length: 9\r\n\r\nhello", reset=True), "broken", True),
    (once(CHUNKED + b"5\r\nhello\r\n"), "broken", False),
    (once(CHUNKED + b"9\r\nhello"), "broken", False),
    (once(CHUNKED + b"5\r\nhello\r\n0\r\n"), "broken", False),
    (once(CHUNKED + b"5\r\nhello\r\n", reset=True), "broken", True),
    (once(OK + b"\r\nhello", reset=True), "broken", True),
    (once(CHUNKED + b"5\r\nhello\r\nnonsense\r\n"), "protocol_error", False),
]


@pytest.mark.parametrize("relayed", [False, True])
@pytest.mark.parametrize(("script", "kind", "reset"), BROKEN)
async def test_a_cut_body_is_never_a_clean_end(script: Script, kind: str, reset: bool, relayed: bool) -> None:
    """A body that ends early is delivered as far as it came and then raises, every time it is asked."""
    async with peer(script) as server, closing(Transport()) as transport:
        response = await ask(transport, server.origin)
        sink = Collected()
        with pytest.raises(TransportError) as caught:
            await collect(response, sink, relayed=relayed)
        assert sink.data == b"hello"
        assert (caught.value.kind, caught.value.reset) == (kind, reset)
        with pytest.raises(TransportError):
            await response.read()
        assert transport.connections_open == 0


async def test_bytes_behind_an_answer_end_the_connection() -> None:
    """An answer followed by bytes nobody asked for is whole, and its connection is not used again."""
    async with peer(answering(HELLO + HELLO)) as server, closing(Transport()) as transport:
        assert await body_of(await ask(transport, server.origin)) == b"hello"
        assert transport.connections_open == 0
        assert await body_of(await ask(transport, server.origin)) == b"hello"
        assert server.accepted == 2


async def test_a_slow_drip_is_read() -> None:
    """One byte per packet, head included, is an ordinary answer."""

    async def script(talk: Conversation) -> None:
        await talk.request()
        for byte in CHUNKED + b"5\r\nhello\r\n0\r\n\r\n":
            await talk.send(bytes([byte]))
            await asyncio.sleep(0)

    async with peer(script) as server, closing(Transport()) as transport:
        assert await body_of(await ask(transport, server.origin)) == b"hello"


async def test_parallel_exchanges_do_not_mix() -> None:
    """150 exchanges at once each get their own answer and all connections come back."""

    async def script(talk: Conversation) -> None:
        while True:
            asked = await talk.request()
            await asyncio.sleep(0.01)
            await talk.send(OK + b"Content-Length: %d\r\n\r\n" % len(asked.body) + asked.body)

    async with peer(script) as server, closing(Transport()) as transport:

        async def one(number: int) -> None:
            for turn in range(3):
                body = b"%d/%d" % (number, turn)
                assert await body_of(await ask(transport, server.origin, body)) == body

        await asyncio.gather(*[one(number) for number in range(150)])
        assert transport.connections_in_use == 0
        assert server.accepted <= 151
        assert transport.connections_idle <= 128


async def test_a_transport_error_names_no_header_or_body() -> None:
    """Errors can be shown: they contain nothing of what was sent or received."""
    async with peer(once(b"HTTP/1.1 200 OK\r\nsecret\r\n\r\n")) as server, closing(Transport()) as transport:
        with pytest.raises(TransportError) as caught:
            await ask(transport, server.origin, b"secret", headers=[(b"x-api-key", b"secret")])
        assert "secret" not in str(caught.value)
