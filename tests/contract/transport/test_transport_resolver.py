"""Names are looked up once, refreshed behind the requests' back, and kept when that fails."""

import asyncio
import socket
from collections.abc import Sequence

import pytest

from ccflare.errors import TransportError
from ccflare.transport import resolver
from ccflare.transport.resolver import Address, Resolver
from transport_peers import eventually


class Names:
    """A resolver that counts, and answers or fails as told."""

    def __init__(self) -> None:
        self.asked = 0
        self.go = asyncio.Event()
        self.go.set()
        self.found: list[Address] = [(socket.AF_INET, ("192.0.2.1", 80))]
        self.failure: Exception | None = None

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        self.asked += 1
        await self.go.wait()
        if self.failure:
            raise self.failure
        return self.found


async def test_a_name_is_looked_up_once() -> None:
    """Concurrent and later requests share one look-up."""
    names = Names()
    cache = Resolver(names)
    await asyncio.gather(*[cache.resolve("a.example", 80) for _ in range(5)])
    assert await cache.resolve("a.example", 80) == names.found
    assert names.asked == 1
    await cache.aclose()


async def test_an_old_entry_serves_while_it_is_refreshed() -> None:
    """A doubted entry is used at once; the look-up behind it decides what the next request gets."""
    names = Names()
    cache = Resolver(names)
    old = await cache.resolve("a.example", 80)
    cache.doubt("a.example", 80)
    names.go.clear()
    names.found = [(socket.AF_INET, ("192.0.2.2", 80))]
    assert [await cache.resolve("a.example", 80) for _ in range(3)] == [old] * 3
    names.go.set()
    await eventually(lambda: not cache._lookups)
    assert await cache.resolve("a.example", 80) == names.found
    assert names.asked == 2
    await cache.aclose()


async def test_an_entry_grows_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time an entry is looked up again without anybody asking for it."""
    monkeypatch.setattr(resolver, "TTL_S", 0.0)
    names = Names()
    cache = Resolver(names)
    for _ in range(3):
        await cache.resolve("a.example", 80)
        await eventually(lambda: not cache._lookups)
    assert names.asked == 3
    await cache.aclose()


async def test_an_old_address_is_better_than_none() -> None:
    """When the refresh fails the old addresses stay, and the name server is left alone for a while."""
    names = Names()
    cache = Resolver(names)
    old = await cache.resolve("a.example", 80)
    names.failure = socket.gaierror(socket.EAI_AGAIN, "try again")
    cache.doubt("a.example", 80)
    for _ in range(3):
        assert await cache.resolve("a.example", 80) == old
        await eventually(lambda: not cache._lookups)
    assert names.asked == 2
    await cache.aclose()


@pytest.mark.parametrize("failure", [socket.gaierror(socket.EAI_NONAME, "unknown"), UnicodeError("label too long")])
async def test_an_unknown_name_is_connect_error(failure: Exception) -> None:
    """A name that was never known is an error, for all who wait, and is asked for again next time."""
    names = Names()
    names.failure = failure
    cache = Resolver(names)
    for result in await asyncio.gather(*[cache.resolve("a.example", 80) for _ in range(2)], return_exceptions=True):
        assert isinstance(result, TransportError)
        assert result.kind == "connect_error"
        assert "a.example" in str(result)
    names.failure = None
    assert await cache.resolve("a.example", 80) == names.found
    await cache.aclose()


async def test_a_name_without_addresses_is_connect_error() -> None:
    """An empty answer of the resolver is not taken for success."""
    names = Names()
    names.found = []
    with pytest.raises(TransportError):
        await Resolver(names).resolve("a.example", 80)


async def test_one_who_leaves_does_not_take_the_look_up_along() -> None:
    """Cancelling one waiting request leaves the look-up to the others."""
    names = Names()
    names.go.clear()
    cache = Resolver(names)
    first, second = (asyncio.ensure_future(cache.resolve("a.example", 80)) for _ in range(2))
    await eventually(lambda: names.asked == 1)
    first.cancel()
    names.go.set()
    assert await second == names.found
    assert first.cancelled()
    await cache.aclose()


async def test_addresses_are_not_looked_up() -> None:
    """Literal addresses need no resolver."""
    names = Names()
    cache = Resolver(names)
    assert await cache.resolve("192.0.2.7", 8) == [(socket.AF_INET, ("192.0.2.7", 8))]
    assert await cache.resolve("::1", 8) == [(socket.AF_INET6, ("::1", 8, 0, 0))]
    assert names.asked == 0


async def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest name goes when there are too many."""
    monkeypatch.setattr(resolver, "CAPACITY", 2)
    names = Names()
    cache = Resolver(names)
    for host in ("a", "b", "c", "a"):
        await cache.resolve(host, 80)
    assert names.asked == 4
    assert len(cache._entries) == 2
    await cache.aclose()
