"""The way through an outgoing proxy, against a small proxy that forwards and tunnels."""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable

import pytest
import trustme

from ccflare.errors import TransportError
from ccflare.transport import Proxy, ProxyRules, Transport
from ccflare.wire import Origin
from transport_peers import (
    HELLO,
    Asked,
    Conversation,
    Script,
    answering,
    ask,
    body_of,
    closing,
    eventually,
    peer,
)

CA = trustme.CA()
BASIC = b"Basic " + base64.b64encode(b"user:p@ss w\xc3\xb6rd")
CREDENTIALS = "user:p%40ss%20w%C3%B6rd@"


def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CA.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


def client_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    CA.configure_trust(context)
    return context


async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    target.close()


def proxying(asked: list[Asked], *, credentials: bytes | None = None) -> Script:
    """Forward one kind of request or tunnel the other; refuse without the credentials."""

    async def script(talk: Conversation) -> None:
        while True:
            request = await talk.request()
            asked.append(request)
            if credentials and b"Proxy-Authorization: " + credentials not in request.fields:
                await talk.send(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                continue
            method, target, _ = request.line.split(b" ")
            if method != b"CONNECT":
                await talk.send(HELLO)
                continue
            host, _, port = target.decode().rpartition(":")
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            try:
                await talk.send(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
                await asyncio.gather(pump(talk.reader, writer), pump(reader, talk.writer))
            finally:
                writer.close()

    return script


def rules(proxy: Origin, credentials: str = "") -> ProxyRules:
    url = f"{proxy.scheme}://{credentials}{proxy.host}:{proxy.port}"
    return ProxyRules(http=Proxy.parse(url, "HTTP_PROXY"), https=Proxy.parse(url, "HTTPS_PROXY"))


@contextlib.asynccontextmanager
async def through(
    script: Script, *, credentials: str = "", tls: Callable[[], ssl.SSLContext] | None = None
) -> AsyncIterator[Transport]:
    """Give a transport whose proxy follows a script."""
    async with (
        peer(script, tls=tls() if tls else None) as proxy,
        closing(Transport(proxies=rules(proxy.origin, credentials), tls=client_tls, reach="all")) as transport,
    ):
        yield transport


@pytest.mark.parametrize("tls", [None, server_tls])
@pytest.mark.parametrize("credentials", ["", CREDENTIALS])
async def test_http_goes_in_absolute_form(tls: Callable[[], ssl.SSLContext] | None, credentials: str) -> None:
    """A plain origin stands in the request line, credentials come along, connections are kept."""
    asked: list[Asked] = []
    script = proxying(asked, credentials=BASIC if credentials else None)
    async with through(script, credentials=credentials, tls=tls) as transport:
        for _ in range(2):
            response = await ask(transport, Origin("http", "api.example", 8080), b"x", target=b"/v1/a?b")
            assert (response.status, await body_of(response)) == (200, b"hello")
        assert transport.connections_idle == 1
    assert asked[1].line == b"POST http://api.example:8080/v1/a?b HTTP/1.1"
    assert asked[1].fields[0] == b"Host: api.example:8080"
    assert (b"Proxy-Authorization: " + BASIC in asked[1].fields) is bool(credentials)


@pytest.mark.parametrize("tls", [None, server_tls])
@pytest.mark.parametrize("credentials", ["", CREDENTIALS])
async def test_https_goes_through_a_tunnel(tls: Callable[[], ssl.SSLContext] | None, credentials: str) -> None:
    """A TLS origin is reached by CONNECT, also through a TLS proxy, and sees no proxy field."""
    at_proxy: list[Asked] = []
    at_origin: list[Asked] = []

    async def origin_script(talk: Conversation) -> None:
        while True:
            at_origin.append(await talk.request())
            await talk.send(HELLO)

    script = proxying(at_proxy, credentials=BASIC if credentials else None)
    async with (
        peer(origin_script, tls=server_tls()) as origin,
        through(script, credentials=credentials, tls=tls) as transport,
    ):
        for _ in range(2):
            assert await body_of(await ask(transport, origin.origin, b"x" * 100_000)) == b"hello"
    assert [entry.line for entry in at_proxy] == [b"CONNECT 127.0.0.1:%d HTTP/1.1" % origin.origin.port]
    assert at_origin[0].line == b"POST /v1/messages HTTP/1.1"
    assert not [entry for entry in at_origin[0].fields if entry.lower().startswith(b"proxy")]


async def test_exempt_hosts_go_direct() -> None:
    """NO_PROXY keeps the proxy out of the way."""
    async with peer(answering(HELLO)) as origin:
        environ = {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
        async with closing(Transport(proxies=ProxyRules.from_environment(environ))) as transport:
            assert await body_of(await ask(transport, origin.origin)) == b"hello"


def saying(data: bytes) -> Script:
    async def script(talk: Conversation) -> None:
        await talk.request()
        await talk.send(data)
        await talk.gone()

    return script


async def leaving(talk: Conversation) -> None:
    """Close after the request."""
    await talk.request()


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (proxying([], credentials=b"Basic other"), "407"),
        (saying(b"HTTP/1.1 403 Forbidden\r\n\r\n"), "403"),
        (saying(b"HTTP/1.0 502 Bad Gateway\r\nX: y\r\n\r\n<html>"), "502"),
        (saying(b"nonsense\r\n\r\n"), "not HTTP"),
        (saying(b"HTTP/1.1 200 OK\r\n\r\nmore"), "bytes of its own"),
        (saying(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20_000), "too large"),
        (leaving, "closed"),
    ],
)
async def test_a_refused_tunnel_is_a_clear_error(script: Script, says: str) -> None:
    """What a proxy answers to CONNECT is told without the credentials, and its connection is closed."""
    async with through(script, credentials="user:verysecret@") as transport:
        with pytest.raises(TransportError) as caught:
            await ask(transport, Origin("https", "api.example", 443))
        assert caught.value.kind == "connect_error"
        assert says in str(caught.value)
        assert "secret" not in str(caught.value)
        assert base64.b64encode(b"user:verysecret").decode() not in str(caught.value)
        assert transport.connections_open == 0


async def test_cancelling_during_connect_closes_at_once() -> None:
    """Whoever stops waiting for a tunnel leaves no connection at the proxy."""
    waiting, gone = asyncio.Event(), asyncio.Event()

    async def script(talk: Conversation) -> None:
        await talk.request()
        waiting.set()
        await talk.gone()
        gone.set()

    async with through(script) as transport:
        opening = asyncio.ensure_future(ask(transport, Origin("https", "api.example", 443)))
        await asyncio.wait_for(waiting.wait(), 5.0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await asyncio.wait_for(gone.wait(), 1.0)


async def test_an_unreachable_proxy_is_named() -> None:
    """The error says that it is the proxy that cannot be reached."""
    proxies = ProxyRules.from_environment({"https_proxy": "http://user:secret@127.0.0.1:9"})
    async with closing(Transport(proxies=proxies)) as transport:
        with pytest.raises(TransportError) as caught:
            await ask(transport, Origin("https", "api.example", 443))
        assert "proxy 127.0.0.1:9" in str(caught.value)
        assert "secret" not in str(caught.value)


async def test_the_origins_certificate_is_checked_through_a_tunnel() -> None:
    """A tunnel changes nothing about trust."""
    asked: list[Asked] = []
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(other)
    async with peer(answering(HELLO), tls=other) as origin, through(proxying(asked)) as transport:
        with pytest.raises(TransportError) as caught:
            await ask(transport, origin.origin)
        assert "certificate" in str(caught.value)
        await eventually(lambda: transport.connections_open == 0)
