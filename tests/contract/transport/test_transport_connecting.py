"""Finding a way to an upstream: address families, look-ups, what is left behind."""

import asyncio
import contextlib
import gc
import os
import socket
import time

import pytest

from ccflare.errors import TransportError
from ccflare.transport import Transport
from ccflare.transport.connection import Connection
from ccflare.transport.resolver import Address
from ccflare.wire import Origin
from transport_peers import (
    CHUNKED,
    HELLO,
    OK,
    answering,
    ask,
    body_of,
    closing,
    eventually,
    once,
    peer,
)

MIB = 1024 * 1024


async def test_nothing_listens() -> None:
    """A refused connection is connect_error at once, naming the address."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        async with closing(Transport()) as transport:
            with pytest.raises(TransportError) as caught:
                await ask(transport, Origin("http", "127.0.0.1", port))
            assert caught.value.kind == "connect_error"
            assert f"127.0.0.1:{port}" in str(caught.value)


@pytest.mark.parametrize("listening", ["127.0.0.1", "::1"])
async def test_either_address_family_is_found(listening: str) -> None:
    """A name with both families is reached at the one where somebody listens, whichever comes first."""
    async with peer(answering(HELLO), host=listening) as server:
        port = server.origin.port
        both: list[Address] = [(socket.AF_INET6, ("::1", port, 0, 0)), (socket.AF_INET, ("127.0.0.1", port))]
        for order in (both, both[::-1]):

            async def lookup(host: str, port: int, order: list[Address] = order) -> list[Address]:
                return order

            async with closing(Transport(lookup=lookup, reach="all")) as transport:
                assert await body_of(await ask(transport, Origin("http", "two.example", port))) == b"hello"


async def test_an_address_that_does_not_answer_delays_and_no_more() -> None:
    """When the preferred address is silent the next one is tried a quarter of a second later."""
    async with peer(answering(HELLO)) as server:
        with contextlib.ExitStack() as stack:
            full = stack.enter_context(socket.socket())
            full.bind(("127.0.0.2", 0))
            full.listen(0)
            silent = full.getsockname()
            for _ in range(3):  # the backlog is full: the system drops further SYNs
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(silent)

            async def lookup(host: str, port: int) -> list[Address]:
                return [(socket.AF_INET, silent), (socket.AF_INET, ("127.0.0.1", port))]

            async with closing(Transport(lookup=lookup, reach="all")) as transport:
                begun = time.monotonic()
                origin = Origin("http", "two.example", server.origin.port)
                assert await body_of(await ask(transport, origin)) == b"hello"
                assert 0.2 < time.monotonic() - begun < 2.0


async def test_addresses_that_failed_are_looked_up_again() -> None:
    """A name whose addresses cannot be reached is asked for again long before its entry is old."""
    async with peer(answering(HELLO)) as server:
        dead: Address = (socket.AF_INET, ("127.0.0.2", server.origin.port))
        alive: Address = (socket.AF_INET, ("127.0.0.1", server.origin.port))
        asked = 0

        async def lookup(host: str, port: int) -> list[Address]:
            nonlocal asked
            asked += 1
            return [dead] if asked == 1 else [alive]

        async with closing(Transport(lookup=lookup, reach="all")) as transport:
            origin = Origin("http", "moved.example", server.origin.port)
            for _ in range(2):  # the second one begins the look-up and does not wait for it
                with pytest.raises(TransportError):
                    await ask(transport, origin)
            assert await body_of(await ask(transport, origin)) == b"hello"


async def test_localhost_is_reached() -> None:
    """The system's own resolver is used when no other is given."""
    async with peer(answering(HELLO)) as server, closing(Transport()) as transport:
        assert await body_of(await ask(transport, Origin("http", "localhost", server.origin.port))) == b"hello"


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="descriptors are counted in /proc")
async def test_no_file_or_connection_is_left_behind() -> None:
    """After exchanges that ended in every way, closing leaves no descriptor, connection or task."""

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    async with peer(answering(HELLO)) as server, closing(Transport()) as transport:
        await body_of(await ask(transport, server.origin))  # now the loop has opened what it keeps for itself
    before = descriptors()
    async with closing(Transport()) as transport:
        for script in (answering(HELLO), once(OK), once(b""), once(CHUNKED + b"5\r\nhe", reset=True)):
            async with peer(script) as server:
                for body in (b"x", bytes(MIB)):
                    with contextlib.suppress(TransportError):
                        await body_of(await ask(transport, server.origin, body))
                waiting = asyncio.ensure_future(ask(transport, server.origin, bytes(8 * MIB)))
                await asyncio.sleep(0.01)
                waiting.cancel()
                with contextlib.suppress(asyncio.CancelledError, TransportError):
                    (await waiting).discard()
    del transport, server, waiting
    gc.collect()
    await eventually(lambda: descriptors() <= before)
    assert not [thing for thing in gc.get_objects() if type(thing) is Connection]
