"""An empty installation leads to a working account."""

import pytest
from playwright.async_api import expect

from browser_kit import PATHS, Watched, add_by_key, violations
from harness import Server, Upstream, ask
from sample_history import WORK

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("accounts")]


async def test_three_steps_to_the_first_answer(own_server: Server, own_tab: Watched, upstream: Upstream) -> None:
    """The line to copy names this server; the account that is added there serves; the first request appears."""
    await own_tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await own_tab.go("/")
    await expect(own_tab.page.get_by_role("heading", name="Three steps to the first answer")).to_be_visible()
    assert await violations(own_tab.page) == []
    await own_tab.page.get_by_role("button", name="Copy the line").click()
    copied = await own_tab.page.evaluate("navigator.clipboard.readText()")
    assert copied == f"export ANTHROPIC_BASE_URL={own_server.url}"

    await add_by_key(own_tab, "first", upstream.account(WORK).api_key, upstream.url)
    await expect(own_tab.page.get_by_text("first is added and serves the next request.")).to_be_visible()
    assert ask(own_server.port).status == 200

    await expect(own_tab.page.get_by_text("Requests can be served")).to_be_visible()
    await own_tab.page.keyboard.press("g")
    await own_tab.page.keyboard.press("r")
    await expect(own_tab.page.locator("[data-index='0']")).to_contain_text("200")


async def test_empty_pages_say_what_to_do(own_tab: Watched) -> None:
    """No page of an empty installation is blank, and none has an error."""
    for path in PATHS:
        await own_tab.go(path)
        assert await violations(own_tab.page) == [], path
    await own_tab.go("/requests")
    await expect(own_tab.page.get_by_text("No requests yet")).to_be_visible()
