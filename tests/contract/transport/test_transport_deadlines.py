"""Each wait has an end, each end its own name; a reader that is slow is not the upstream's fault."""

import asyncio
import time

import pytest

from ccflare.errors import TransportError
from ccflare.transport import Deadlines, Transport
from ccflare.wire import Origin
from transport_peers import (
    CHUNKED,
    HELLO,
    OK,
    Collected,
    Conversation,
    Script,
    answering,
    ask,
    body_of,
    closing,
    collect,
    once,
    peer,
    silence,
)

LONG = 5.0
SHORT = 0.15


async def hints(talk: Conversation) -> None:
    """Send interim answers for ever."""
    await talk.request()
    for _ in range(50):
        await talk.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await asyncio.sleep(0.05)


async def half_a_head(talk: Conversation) -> None:
    """Send a head and never its end."""
    await talk.request()
    for _ in range(50):
        await talk.send(b"HTTP/1.1 200 OK\r\n" if _ == 0 else b"X: y\r\n")
        await asyncio.sleep(0.05)


async def pings(talk: Conversation) -> None:
    """Send an event every now and then for ever."""
    await talk.request()
    await talk.send(CHUNKED)
    while True:
        await talk.send(b"2\r\n:\n\r\n")
        await asyncio.sleep(0.05)


async def stall(talk: Conversation) -> None:
    """Send the beginning of a body."""
    await talk.request()
    await talk.send(CHUNKED + b"2\r\nhi\r\n")
    await talk.gone()


@pytest.mark.parametrize("script", [silence, hints, half_a_head])
async def test_the_head_has_its_deadline(script: Script) -> None:
    """Without a final head in time `open` ends with first_byte_timeout; interim answers do not count."""
    async with peer(script) as server, closing(Transport()) as transport:
        begun = time.monotonic()
        with pytest.raises(TransportError) as caught:
            await ask(transport, server.origin, first_byte_s=SHORT, exchange_s=LONG)
        assert caught.value.kind == "first_byte_timeout"
        assert SHORT - 0.01 <= time.monotonic() - begun < LONG
        assert transport.connections_open == 0


async def test_a_body_that_cannot_be_sent_counts_for_the_first_byte() -> None:
    """A server that does not read a large body runs into the first byte deadline."""

    async def deaf(talk: Conversation) -> None:
        await asyncio.sleep(LONG)

    async with peer(deaf) as server, closing(Transport()) as transport:
        with pytest.raises(TransportError) as caught:
            await ask(transport, server.origin, bytes(32 * 1024 * 1024), first_byte_s=SHORT, exchange_s=LONG)
        assert caught.value.kind == "first_byte_timeout"


@pytest.mark.parametrize("relayed", [False, True])
async def test_a_stalled_body_ends_by_the_idle_deadline(relayed: bool) -> None:
    """Silence in the middle of an answer is idle_timeout, and the bytes before it are delivered."""
    transport = Transport(deadlines=Deadlines(idle_s=SHORT))
    async with peer(stall) as server, closing(transport):
        begun = time.monotonic()
        response = await ask(transport, server.origin, first_byte_s=LONG)
        sink = Collected()
        with pytest.raises(TransportError) as caught:
            await collect(response, sink, relayed=relayed)
        assert (caught.value.kind, sink.data) == ("idle_timeout", b"hi")
        assert SHORT - 0.01 <= time.monotonic() - begun < LONG / 2
        assert transport.connections_open == 0


async def test_new_deadlines_count_on_kept_connections() -> None:
    """Deadlines that are replaced apply to the next exchange, also on a connection made before."""

    async def script(talk: Conversation) -> None:
        await talk.request()
        await talk.send(HELLO)
        await stall(talk)

    async with peer(script) as server, closing(Transport()) as transport:
        assert await body_of(await ask(transport, server.origin)) == b"hello"
        transport.deadlines = Deadlines(idle_s=SHORT)
        response = await ask(transport, server.origin)
        with pytest.raises(TransportError) as caught:
            await response.relay(Collected())
        assert (caught.value.kind, server.accepted) == ("idle_timeout", 1)


async def test_bytes_put_the_idle_deadline_off() -> None:
    """Pings keep an answer alive beyond the idle deadline; then the exchange deadline ends it."""
    transport = Transport(deadlines=Deadlines(idle_s=3 * SHORT))
    async with peer(pings) as server, closing(transport):
        begun = time.monotonic()
        response = await ask(transport, server.origin, exchange_s=6 * SHORT)
        with pytest.raises(TransportError) as caught:
            await response.relay(Collected())
        assert caught.value.kind == "exchange_timeout"
        assert time.monotonic() - begun >= 6 * SHORT - 0.01


@pytest.mark.parametrize("script", [silence, stall])
async def test_the_whole_exchange_has_its_deadline(script: Script) -> None:
    """An exchange ends with exchange_timeout, before or after its head."""
    async with peer(script) as server, closing(Transport()) as transport:
        with pytest.raises(TransportError) as caught:
            await body_of(await ask(transport, server.origin, first_byte_s=LONG, exchange_s=SHORT))
        assert caught.value.kind == "exchange_timeout"


class Slow(Collected):
    """A sink that is full after every write."""

    def write(self, data: bytes) -> bool:
        super().write(data)
        return False


async def test_the_idle_deadline_waits_for_a_slow_reader() -> None:
    """While the sink has paused the upstream no idle time passes; after `resume` it runs again."""
    transport = Transport(deadlines=Deadlines(idle_s=SHORT))
    async with peer(stall) as server, closing(transport):
        response = await ask(transport, server.origin)
        relaying = asyncio.ensure_future(response.relay(Slow()))
        await asyncio.sleep(3 * SHORT)
        assert not relaying.done()
        response.resume()
        resumed = time.monotonic()
        with pytest.raises(TransportError) as caught:
            await relaying
        assert SHORT - 0.01 <= time.monotonic() - resumed < LONG / 2
        assert caught.value.kind == "idle_timeout"


async def test_an_earlier_exchange_leaves_no_deadline_behind() -> None:
    """Each exchange on a connection has its own deadlines, longer or shorter than the one before."""

    async def script(talk: Conversation) -> None:
        await talk.request()
        await talk.send(HELLO)
        await talk.request()
        await asyncio.sleep(2 * SHORT)
        await talk.send(HELLO)
        await talk.request()
        await talk.gone()

    async with peer(script) as server, closing(Transport()) as transport:
        await body_of(await ask(transport, server.origin, first_byte_s=SHORT, exchange_s=SHORT))
        assert await body_of(await ask(transport, server.origin, first_byte_s=LONG)) == b"hello"
        begun = time.monotonic()
        with pytest.raises(TransportError) as caught:
            await ask(transport, server.origin, first_byte_s=SHORT)
        assert (caught.value.kind, server.accepted) == ("first_byte_timeout", 1)
        assert time.monotonic() - begun < LONG


async def test_connecting_has_its_deadline() -> None:
    """A silent TLS server runs into connect_timeout, or into an earlier first byte deadline."""

    async def mute(talk: Conversation) -> None:
        await talk.gone()

    async with peer(mute) as server, closing(Transport(deadlines=Deadlines(connect_s=SHORT))) as transport:
        origin = Origin("https", "127.0.0.1", server.origin.port)
        for first_byte_s, exchange_s, kind in (
            (LONG, LONG, "connect_timeout"),
            (SHORT / 2, LONG, "first_byte_timeout"),
            (LONG, SHORT / 2, "exchange_timeout"),
        ):
            with pytest.raises(TransportError) as caught:
                await ask(transport, origin, first_byte_s=first_byte_s, exchange_s=exchange_s)
            assert caught.value.kind == kind
        assert transport.connections_open == 0


async def test_far_deadlines_are_no_trouble() -> None:
    """Infinite deadlines work: nothing is armed that a timer cannot hold."""
    async with peer(answering(HELLO)) as server, closing(Transport()) as transport:
        response = await ask(transport, server.origin, first_byte_s=float("inf"), exchange_s=float("inf"))
        assert await body_of(response) == b"hello"


async def test_a_deadline_in_the_past_ends_at_once() -> None:
    """No time left means no exchange, on a new connection and on a kept one."""
    async with peer(answering(HELLO)) as server, closing(Transport()) as transport:
        for _ in range(2):
            with pytest.raises(TransportError) as caught:
                await ask(transport, server.origin, first_byte_s=-1.0)
            assert caught.value.kind == "first_byte_timeout"
            assert await body_of(await ask(transport, server.origin)) == b"hello"


async def test_timeouts_do_not_hit_finished_answers() -> None:
    """An answer that was complete in time can be read after its deadlines."""
    async with (
        peer(once(OK + b"Content-Length: 5\r\n\r\nhello")) as server,
        closing(Transport()) as transport,
    ):
        response = await ask(transport, server.origin, first_byte_s=SHORT, exchange_s=SHORT)
        await asyncio.sleep(2 * SHORT)
        assert await body_of(response) == b"hello"
