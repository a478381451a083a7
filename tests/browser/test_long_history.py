"""A history of 100,000 requests is as quick to read as one of a hundred."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest
from playwright.async_api import Browser, expect

from browser_kit import opened
from harness import Home, Server, running
from sample_history import write_rows

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("requests")]

COUNT = 100_000
PAGES = 8
ROWS = "main [data-index]"
SEEN = """() => [...document.querySelectorAll('main [data-index]')].map(
  (one) => [Number(one.dataset.index), one.firstChild.getAttribute('href')])"""


def kept(server: Server, order: str, count: int) -> list[tuple[str, int]]:
    """Return id and arrival of the first requests in an order."""
    with closing(sqlite3.connect(f"file:{server.home.database}?mode=ro", uri=True)) as db:
        return db.execute(f"SELECT id, timestamp FROM requests ORDER BY timestamp {order} LIMIT {count}").fetchall()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a long history."""
    home = Home(tmp_path_factory.mktemp("long"))
    write_rows(home.database, COUNT, int(time.time() * 1000))
    with running(home) as server:
        yield server


async def test_pages_come_as_one_scrolls_and_few_rows_are_in_the_document(browser: Browser, server: Server) -> None:
    """Each page begins behind the last one, no row is missing or double, and the document stays small."""
    async with opened(browser, server.url) as tab:
        await tab.go("/requests")
        await expect(tab.page.locator(ROWS).first).to_be_visible()
        scroller = tab.page.get_by_role("list", name="Requests").locator("..")
        found: dict[int, str] = {}
        while len(found) < PAGES * 100:
            seen = dict(await tab.page.evaluate(SEEN))
            assert len(seen) < 80
            assert all(found.get(index, href) == href for index, href in seen.items())
            found |= seen
            await scroller.evaluate("(one) => one.scrollBy(0, one.clientHeight * 0.8)")
            await tab.page.evaluate("() => new Promise(requestAnimationFrame)")
        rows = kept(server, "DESC", PAGES * 100)
        assert [found[index] for index in range(PAGES * 100)] == [f"/requests/{each}" for each, _ in rows]
        pages = [each for each in tab.asked if each.startswith("GET /api/requests?")]
        assert len(pages) == len(set(pages))
        assert sum("cursor=" in each for each in pages) >= PAGES - 1


async def test_a_link_leads_to_any_time_at_once(browser: Browser, server: Server) -> None:
    """The oldest requests are one question away, however many there are."""
    async with opened(browser, server.url) as tab:
        fiftieth = datetime.fromtimestamp(kept(server, "ASC", 50)[-1][1] / 1000, UTC)
        await tab.go(f"/requests?to={fiftieth.isoformat(timespec='milliseconds').replace('+00:00', 'Z')}")
        await expect(tab.page.get_by_text("49 requests, all there are")).to_be_visible()
        assert len([each for each in tab.asked if each.startswith("GET /api/requests?")]) == 1
