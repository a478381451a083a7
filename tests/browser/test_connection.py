"""A server that goes away and comes back, and a tab that nobody looks at."""

import pytest
from playwright.async_api import Browser, expect

from browser_kit import Watched, opened
from harness import Home, Server, running

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("connection")]

REFUSED = ("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_EMPTY_RESPONSE")


async def test_a_lost_connection_is_seen_and_mends_itself(browser: Browser, own_home: Home) -> None:
    """The sign says so while the server is away; numbers stay; started again, the page is live without a reload."""
    with running(own_home) as first:
        async with opened(browser, first.url) as tab:
            sign = tab.page.get_by_role("navigation").get_by_role("status")
            await tab.go("/accounts")
            await expect(sign).to_have_text("Live")
            first.stop()
            with tab.allowing(*REFUSED):
                await expect(sign).to_have_text("Connection lost")
                await expect(tab.page.get_by_role("heading", name="Accounts")).to_be_visible()
                with running(own_home, "--port", str(first.port)):
                    await expect(sign).to_have_text("Live", timeout=20_000)
                    asked = len(tab.asked)
                    await tab.page.keyboard.press("g")
                    await tab.page.keyboard.press("r")
                    await expect(tab.page.get_by_text("No requests yet")).to_be_visible()
                    assert len(tab.asked) > asked


async def test_without_a_server_actions_say_so(own_server: Server, own_tab: Watched) -> None:
    """What cannot be done is told in words that help, and what was typed stays."""
    await own_tab.go("/accounts")
    await own_tab.page.get_by_role("button", name="Add account").first.click()
    dialog = own_tab.page.get_by_role("dialog")
    await dialog.get_by_role("textbox", name="Name").fill("late")
    await dialog.get_by_role("textbox", name="API key").fill("sk-ant-nothing")
    own_server.stop()
    with own_tab.allowing(*REFUSED):
        await dialog.get_by_role("button", name="Add account").click()
        await expect(dialog.get_by_role("alert")).to_have_text("The server does not answer. Is ccflare running?")
        await expect(dialog.get_by_role("textbox", name="Name")).to_have_value("late")
