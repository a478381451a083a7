"""Where connections go: the address that was checked, or nowhere."""

import socket
from collections.abc import Sequence

import pytest

from ccflare.addresses import Reach, read_url
from ccflare.errors import TransportError
from ccflare.transport import ProxyRules, Transport
from ccflare.transport.proxies import Proxy
from ccflare.transport.resolver import Address
from ccflare.wire import Origin
from transport_peers import HELLO, answering, ask, body_of, closing, peer


class Names:
    """A resolver that gives each of its answers in turn, and the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        found = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [
            (socket.AF_INET6, (address, port, 0, 0)) if ":" in address else (socket.AF_INET, (address, port))
            for address in found
        ]


async def refusal(transport: Transport, origin: Origin) -> str:
    with pytest.raises(TransportError) as caught:
        await ask(transport, origin)
    assert caught.value.kind == "refused_address"
    return str(caught.value)


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1", "10.0.0.1", "169.254.169.254", "64:ff9b::7f00:1"])
@pytest.mark.parametrize("reach", ["none", "loopback"])
async def test_a_name_does_not_lead_inside(address: str, reach: Reach) -> None:
    """Nothing is connected where a name leads to this machine, a private network or a metadata service."""
    async with peer(answering(HELLO)) as server, closing(Transport(lookup=Names([address]), reach=reach)) as transport:
        said = await refusal(transport, Origin("https", "api.example", server.origin.port))
        assert "will not connect to upstream api.example" in said
        assert transport.connections_open == 0


async def test_who_writes_an_address_is_told_where_it_leads() -> None:
    """A name that leads inside is refused when it is written; one that leads nowhere for now is not."""

    async def unknown(host: str, port: int) -> Sequence[Address]:
        raise OSError("no such name")

    place = read_url("https://api.example")
    for lookup, refused in (
        (Names(["10.0.0.1"]), True), (Names(["127.0.0.1", "::1"]), True), (Names(["10.0.0.1", "8.8.8.8"]), False),
        (Names(["8.8.8.8"]), False), (unknown, False),
    ):  # fmt: skip
        async with closing(Transport(lookup=lookup)) as transport:
            assert (await transport.refusal(place, "loopback") is not None) == refused
    async with closing(Transport(lookup=unknown)) as transport:
        assert await transport.refusal(read_url("https://10.0.0.1"), "loopback")


async def test_a_name_that_is_rebound_is_not_followed() -> None:
    """The address that is connected is the one that was checked, each time anew."""
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    async with peer(answering(HELLO)) as server:
        origin = Origin("http", "localhost", server.origin.port)
        async with closing(Transport(lookup=names)) as transport:
            assert await body_of(await ask(transport, origin)) == b"hello"
            transport._egress._resolver._entries.clear()  # a minute later
            transport._kept = lambda *_: None  # type: ignore[method-assign]  # and the connection was not kept
            assert "private network" in await refusal(transport, origin)


@pytest.mark.parametrize(("listens", "refused"), [("127.0.0.1", True), ("0.0.0.0", True), ("127.0.0.9", False)])
async def test_no_connection_leads_back(listens: str, refused: bool) -> None:
    """What this server listens at is nobody's upstream; another server on the same port of another address may be."""
    async with peer(answering(HELLO)) as server, closing(Transport()) as transport:
        transport.stay_away_from(frozenset({(listens, server.origin.port)}))
        if refused:
            assert "this server itself" in await refusal(transport, server.origin)
        else:
            assert await body_of(await ask(transport, server.origin)) == b"hello"
        assert not refused or transport.connections_open == 0


async def test_of_several_addresses_those_that_are_allowed_are_used() -> None:
    """One bad address among good ones is left out."""
    names = Names(["169.254.169.254", "127.0.0.1", "10.0.0.1"])
    async with peer(answering(HELLO)) as server, closing(Transport(lookup=names)) as transport:
        assert await body_of(await ask(transport, Origin("http", "localhost", server.origin.port))) == b"hello"


async def test_what_is_public_is_https() -> None:
    """A key does not travel in plain text: http is refused before a connection is made."""
    async with closing(Transport(lookup=Names(["8.8.8.8"]), reach="all")) as transport:
        assert "plain text" in await refusal(transport, Origin("http", "api.example", 80))
        assert "plain text" in await refusal(transport, Origin("http", "8.8.8.8", 80))


async def test_a_changed_setting_counts_for_the_next_request() -> None:
    """When less is allowed, idle connections to what is not allowed any more are closed."""
    async with peer(answering(HELLO)) as server, closing(Transport()) as transport:
        assert await body_of(await ask(transport, server.origin)) == b"hello"
        assert transport.connections_idle == 1
        transport.reach = "none"
        assert transport.connections_open == 0
        assert "this machine itself" in await refusal(transport, server.origin)


async def test_through_a_proxy_what_is_written_is_checked() -> None:
    """The proxy may be anywhere and looks names up; an address that is written out is checked here all the same."""
    async with peer(answering(HELLO)) as proxy:
        rules = ProxyRules(https=Proxy.parse(f"http://127.0.0.1:{proxy.origin.port}", "HTTPS_PROXY"))
        async with closing(Transport(proxies=rules, reach="none")) as transport:
            for host in ("169.254.169.254", "10.0.0.1", "localhost", "::ffff:127.0.0.1"):
                await refusal(transport, Origin("https", host, 443))
            with pytest.raises(TransportError) as caught:
                await ask(transport, Origin("https", "api.example", 443))
            assert caught.value.kind == "connect_error"  # the proxy was asked, and its answer was no tunnel
