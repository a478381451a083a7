"""TLS: who is trusted, what an end of the stream proves, and that nothing hangs."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from ccflare.errors import TransportError
from ccflare.transport import Transport
from ccflare.transport.resolver import Address
from ccflare.wire import Origin
from transport_peers import (
    HELLO,
    OK,
    Collected,
    Conversation,
    answering,
    ask,
    body_of,
    closing,
    eventually,
    peer,
)

MIB = 1024 * 1024
CA = trustme.CA()


def server_tls(*names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    CA.issue_cert(*names).configure_cert(context)
    return context


def trusting(ca: trustme.CA = CA) -> Callable[[], ssl.SSLContext]:
    def make() -> ssl.SSLContext:
        context = ssl.create_default_context()
        ca.configure_trust(context)
        return context

    return make


async def test_a_trusted_server_is_talked_to() -> None:
    """Requests and answers of any size pass through TLS on one kept connection."""

    async def script(talk: Conversation) -> None:
        while True:
            body = (await talk.request()).body
            await talk.send(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    async with (
        peer(script, tls=server_tls("127.0.0.1")) as server,
        closing(Transport(tls=trusting())) as transport,
    ):
        for size in (0, 5, 100_000, 3 * MIB):
            assert await body_of(await ask(transport, server.origin, b"x" * size)) == b"x" * size
        assert server.accepted == 1


async def test_ssl_cert_file_is_the_system_trust(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a context of its own the transport trusts what SSL_CERT_FILE names, and speaks HTTP/1.1 by
    ALPN."""
    CA.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    spoken: list[object] = []

    async def script(talk: Conversation) -> None:
        spoken.append(talk.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await answering(HELLO)(talk)

    async with peer(script, tls=server_tls("127.0.0.1")) as server:
        async with closing(Transport()) as transport:
            with pytest.raises(TransportError):
                await ask(transport, server.origin)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        async with closing(Transport()) as transport:
            assert await body_of(await ask(transport, server.origin)) == b"hello"
    assert spoken == ["http/1.1"]


@pytest.mark.parametrize(("names", "ca"), [(("other.example",), CA), (("127.0.0.1",), trustme.CA())])
async def test_a_wrong_certificate_is_refused(names: tuple[str, ...], ca: trustme.CA) -> None:
    """A certificate for another host or from an unknown authority is connect_error."""
    async with (
        peer(answering(HELLO), tls=server_tls(*names)) as server,
        closing(Transport(tls=trusting(ca))) as transport,
    ):
        with pytest.raises(TransportError) as caught:
            await ask(transport, server.origin)
        assert caught.value.kind == "connect_error"
        assert "certificate" in str(caught.value)


async def test_a_server_without_tls_is_an_error() -> None:
    """Plain HTTP where TLS was expected, or a connection that closes, is connect_error."""

    async def plain(talk: Conversation) -> None:
        await talk.reader.read(10)
        await talk.send(HELLO)

    async def close(talk: Conversation) -> None:
        await talk.reader.read(10)

    for script in (plain, close):
        async with peer(script) as server, closing(Transport(tls=trusting())) as transport:
            with pytest.raises(TransportError) as caught:
                await ask(transport, Origin("https", "127.0.0.1", server.origin.port))
            assert caught.value.kind == "connect_error"


@pytest.mark.parametrize("proper", [True, False])
async def test_only_close_notify_ends_a_body_without_length(proper: bool) -> None:
    """Under TLS a close-delimited body is whole only when the peer said goodbye."""

    context = server_tls("127.0.0.1")

    def serve(listener: socket.socket) -> None:
        accepted, _ = listener.accept()
        with context.wrap_socket(accepted, server_side=True) as talk:
            received = b""
            while b"\r\n\r\n" not in received:
                received += talk.recv(65536)
            talk.sendall(OK + b"\r\nhello")
            if proper:
                with contextlib.suppress(OSError):  # it also waits for a goodbye, which we do not say
                    talk.unwrap()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.get_running_loop().run_in_executor(None, serve, listener)
        async with closing(Transport(tls=trusting())) as transport:
            response = await ask(transport, Origin("https", "127.0.0.1", listener.getsockname()[1]))
            assert await response.read() == b"hello"
            if proper:
                assert await response.read() == b""
            else:
                with pytest.raises(TransportError):
                    await response.read()
            assert transport.connections_open == 0
        await serving


async def test_a_slow_sink_slows_a_tls_upstream() -> None:
    """Back-pressure reaches through TLS."""
    sent = 0

    async def script(talk: Conversation) -> None:
        nonlocal sent
        await talk.request()
        await talk.send(OK + b"Content-Length: %d\r\n\r\n" % (64 * MIB))
        for _ in range(64):
            await talk.send(bytes(MIB))
            sent += MIB

    class Full(Collected):
        def write(self, data: bytes) -> bool:
            super().write(data)
            return False

    async with (
        peer(script, tls=server_tls("127.0.0.1")) as server,
        closing(Transport(tls=trusting())) as transport,
    ):
        response = await ask(transport, server.origin)
        relaying = asyncio.ensure_future(response.relay(sink := Full()))
        await eventually(lambda: len(sink.pieces) > 0)
        await asyncio.sleep(0.2)
        assert len(sink.data) <= 1 * MIB
        assert sent < 32 * MIB
        relaying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await relaying


@pytest.mark.parametrize("speaks", [False, True])
async def test_cancelling_a_handshake_closes_at_once(speaks: bool) -> None:
    """Whoever stops waiting for a connection that is being made leaves no socket behind."""
    gone = asyncio.Event()

    async def script(talk: Conversation) -> None:
        if speaks:
            await talk.send(b"\x16\x03\x03\x00\x7a")  # the beginning of a record
        await talk.gone()
        gone.set()

    async with peer(script) as server, closing(Transport(tls=trusting())) as transport:
        opening = asyncio.ensure_future(ask(transport, Origin("https", "127.0.0.1", server.origin.port)))
        await eventually(lambda: server.accepted == 1)
        await asyncio.sleep(0.05)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await asyncio.wait_for(gone.wait(), 1.0)


async def test_an_early_answer_under_tls() -> None:
    """A server that refuses an upload and stays to read on is heard through TLS."""

    async def script(talk: Conversation) -> None:
        await talk.reader.readuntil(b"\r\n\r\n")
        await talk.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno\n")
        await talk.gone()

    async with (
        peer(script, tls=server_tls("127.0.0.1")) as server,
        closing(Transport(tls=trusting())) as transport,
    ):
        response = await ask(transport, server.origin, bytes(50 * MIB))
        assert (response.status, response.body_sent, await body_of(response)) == (413, False, b"no\n")


async def test_a_body_goes_on_beside_its_answer_under_tls() -> None:
    """What an answer begins before its body has arrived does not keep the body from arriving."""

    async def script(talk: Conversation) -> None:
        await talk.reader.readuntil(b"\r\n\r\n")
        await talk.send(OK + b"Content-Length: 6\r\n\r\none")
        await talk.reader.readexactly(5 * MIB)
        await talk.send(b"two")
        await talk.gone()

    async with (
        peer(script, tls=server_tls("127.0.0.1")) as server,
        closing(Transport(tls=trusting())) as transport,
    ):
        response = await ask(transport, server.origin, bytes(5 * MIB))
        assert (await body_of(response), response.body_sent) == (b"onetwo", True)


async def test_the_context_is_made_once_and_when_needed() -> None:
    """Plain requests make no context, and any number of first TLS requests at once make one."""
    made: list[ssl.SSLContext] = []

    def make() -> ssl.SSLContext:
        made.append(trusting()())
        return made[-1]

    async with (
        peer(answering(HELLO)) as plain,
        peer(answering(HELLO), tls=server_tls("127.0.0.1")) as server,
        closing(Transport(tls=make)) as transport,
    ):
        await body_of(await ask(transport, plain.origin))
        assert made == []
        await asyncio.gather(*[ask(transport, server.origin) for _ in range(5)])
        assert len(made) == 1


async def test_a_host_that_tls_cannot_name_is_an_error() -> None:
    """A host that is no server name is connect_error."""

    async def lookup(host: str, port: int) -> list[Address]:
        return [(socket.AF_INET, ("127.0.0.1", port))]

    async with (
        peer(answering(HELLO)) as server,
        closing(Transport(tls=trusting(), lookup=lookup, reach="all")) as transport,
    ):
        with pytest.raises(TransportError) as caught:
            await ask(transport, Origin("https", ".example", server.origin.port))
        assert caught.value.kind == "connect_error"


async def test_a_context_that_cannot_be_made_is_an_error() -> None:
    """A trust store that cannot be read is connect_error, not a crash."""

    def broken() -> ssl.SSLContext:
        raise OSError("no trust store")

    async with peer(answering(HELLO)) as server, closing(Transport(tls=broken)) as transport:
        with pytest.raises(TransportError) as caught:
            await ask(transport, Origin("https", "127.0.0.1", server.origin.port))
        assert caught.value.kind == "connect_error"
