"""What happens is on the page by itself."""

import pytest
from playwright.async_api import expect

from browser_kit import Watched
from harness import MODEL, Server, Upstream, ask, messages
from sample_history import WORK

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("connection")]

ROWS = "main [data-index]"


async def test_a_request_appears_without_a_reload(own_server: Server, own_tab: Watched, upstream: Upstream) -> None:
    """It is at the top of the list within moments; one that the filter leaves out is not."""
    own_server.home.add_account("one", upstream.account(WORK).api_key, upstream.url)
    own_server.wait_until_accounts(1)
    ask(own_server.port)
    own_server.home.rows_when(1)
    await own_tab.go(f"/requests?model={MODEL}")
    await expect(own_tab.page.locator(ROWS)).to_have_count(1)
    documents = sum(each.startswith("GET /requests") for each in own_tab.asked)
    ask(own_server.port, messages("again"))
    await expect(own_tab.page.locator(ROWS)).to_have_count(2)
    ask(own_server.port, messages(model="claude-haiku-5-5"))
    ask(own_server.port, messages("and again"))
    await expect(own_tab.page.locator(ROWS)).to_have_count(3)
    assert sum(each.startswith("GET /requests") for each in own_tab.asked) == documents
    assert sum(each.startswith("GET /api/requests?") for each in own_tab.asked) <= 2


async def test_the_overview_counts_on(own_server: Server, own_tab: Watched, upstream: Upstream) -> None:
    """Numbers renew themselves, without anything on the page going away meanwhile."""
    own_server.home.add_account("one", upstream.account(WORK).api_key, upstream.url)
    own_server.wait_until_accounts(1)
    ask(own_server.port)
    own_server.home.rows_when(1)
    await own_tab.go("/?range=1h")
    requests = own_tab.page.locator("dl > div").filter(has_text="Requests").locator("dd").first
    await expect(requests).to_have_text("1")
    await own_tab.page.evaluate(
        """() => { window.gone = 0; new MutationObserver((all) => all.forEach((one) => one.removedNodes.forEach(
          (node) => { if (node.matches?.('.panel, main > *')) window.gone++ }
        ))).observe(document.querySelector('main'), { childList: true, subtree: true }) }"""
    )
    ask(own_server.port)
    await expect(requests).to_have_text("2", timeout=15_000)
    assert await own_tab.page.evaluate("window.gone") == 0


async def test_a_tab_that_is_not_seen_asks_nothing(own_server: Server, own_tab: Watched, upstream: Upstream) -> None:
    """Hidden, a tab closes its stream and sends nothing; seen again, it catches up at once."""
    await own_tab.go("/accounts")
    await expect(own_tab.page.get_by_role("navigation").get_by_role("status")).to_have_text("Live")
    await own_tab.page.clock.install()
    await own_tab.page.evaluate(HIDE, True)
    asked = len(own_tab.asked)
    await own_tab.page.clock.run_for(120_000)
    assert own_tab.asked[asked:] == []
    own_server.home.add_account("one", upstream.account(WORK).api_key, upstream.url)
    await own_tab.page.evaluate(HIDE, False)
    await own_tab.page.clock.run_for(1_000)
    await expect(own_tab.page.get_by_role("article", name="one")).to_be_visible()


async def test_a_tab_hidden_before_anything_happened_misses_nothing(
    own_server: Server, own_tab: Watched, upstream: Upstream
) -> None:
    """What ends while the tab is not seen is in its list when it is seen again, also where it had heard nothing yet."""
    own_server.home.add_account("one", upstream.account(WORK).api_key, upstream.url)
    own_server.wait_until_accounts(1)
    ask(own_server.port)
    own_server.home.rows_when(1)
    await own_tab.go("/requests")
    await expect(own_tab.page.locator(ROWS)).to_have_count(1)
    await expect(own_tab.page.get_by_role("navigation").get_by_role("status")).to_have_text("Live")
    await own_tab.page.evaluate(HIDE, True)
    ask(own_server.port)
    own_server.home.rows_when(2)
    await own_tab.page.evaluate(HIDE, False)
    await expect(own_tab.page.locator(ROWS)).to_have_count(2)


HIDE = """(hidden) => {
  Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => hidden ? 'hidden' : 'visible' });
  Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
  document.dispatchEvent(new Event('visibilitychange', { bubbles: true }));
}"""
"""A headless browser shows every tab; the page is told otherwise."""
