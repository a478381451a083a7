"""Failed attempts are answered later and later, each address on its own, and never for long."""

import asyncio

import pytest

from ccflare.slowdown import FORGOTTEN_S, LONGEST_S, MOST_ADDRESSES, MOST_WAITING, Slowdown


class Waits:
    """A clock that notes what is waited for, and may hold everybody."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waited: list[float] = []
        self.go = asyncio.Event()
        self.go.set()
        self.slowdown = Slowdown(lambda: self.now, self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        await self.go.wait()

    async def fail(self, times: int, address: str = "192.0.2.1") -> list[float]:
        self.waited.clear()
        for _ in range(times):
            await self.slowdown.failed(address, "why")
        return list(self.waited)


async def test_mistakes_are_free_and_persistence_is_not() -> None:
    """The first three are answered at once, then the waits double up to a bound."""
    waits = Waits()
    assert await waits.fail(3) == []
    assert await waits.fail(8) == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
    assert await waits.fail(5000) == [LONGEST_S] * 5000


async def test_addresses_do_not_pay_for_each_other_and_are_forgotten() -> None:
    """Another address begins anew, as does the same one after a while; of version 6 a /64 is one address."""
    waits = Waits()
    await waits.fail(10)
    assert await waits.fail(3, "192.0.2.2") == []
    waits.now += FORGOTTEN_S + 1
    assert await waits.fail(3) == []
    await waits.fail(3, "2001:db8::1")
    assert await waits.fail(1, "2001:db8::2") == [0.1]
    assert await waits.fail(1, "2001:db8:0:1::1") == []


async def test_memory_is_bounded() -> None:
    """However many addresses fail, few are remembered, the latest ones."""
    waits = Waits()
    for number in range(MOST_ADDRESSES + 100):
        await waits.slowdown.failed(f"10.0.{number // 256}.{number % 256}", "why")
    assert len(waits.slowdown._failures) == MOST_ADDRESSES


async def test_few_wait_at_once() -> None:
    """Beyond the bound the answer comes at once: what is held would cost us more than the other side."""
    waits = Waits()
    await waits.fail(4)
    waits.go.clear()
    held = [asyncio.create_task(waits.slowdown.failed("192.0.2.1", "why")) for _ in range(MOST_WAITING + 10)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert sum(task.done() for task in held) == 10
    waits.go.set()
    await asyncio.gather(*held)


async def test_a_flood_is_a_few_lines_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    await Waits().fail(1000)
    assert len(caplog.records) == 10
    assert "Refused a request of 192.0.2.1: why (512 in the last minutes)" in caplog.text
