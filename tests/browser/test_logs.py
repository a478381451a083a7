"""The page of the server's log: what was written, and what is written now."""

import pytest
from playwright.async_api import expect

from browser_kit import Watched
from harness import Server, ask

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("settings")]


async def test_lines_appear_as_they_are_written_until_paused(own_server: Server, own_tab: Watched) -> None:
    """A line is there without a reload; paused, none is added; going on, what was written meanwhile is there."""
    await own_tab.go("/logs")
    lines = own_tab.page.get_by_role("region", name="Log lines").get_by_role("listitem")
    await expect(lines.filter(has_text="listens on port")).to_have_count(1)
    ask(own_server.port)
    completed = lines.filter(has_text="No active accounts available")
    await expect(completed).to_have_count(1)

    await own_tab.page.get_by_role("button", name="Pause").click()
    await expect(own_tab.page.get_by_text("Paused", exact=True)).to_be_visible()
    ask(own_server.port)
    own_server.home.rows_when(2)
    await expect(completed).to_have_count(1)
    await own_tab.page.get_by_role("button", name="Go on").click()
    await expect(completed).to_have_count(2)
    ask(own_server.port)
    await expect(completed).to_have_count(3)
    await expect(lines.filter(has_text="missed")).to_have_count(0)


async def test_filters_are_in_the_address(tab: Watched) -> None:
    """Level and text are asked of the server, and the address brings them back."""
    await tab.go("/logs")
    lines = tab.page.get_by_role("region", name="Log lines").get_by_role("listitem")
    await expect(lines.filter(has_text="INFO").first).to_be_visible()
    await tab.page.get_by_role("combobox", name="Level").click()
    await tab.page.get_by_role("option", name="Warnings and errors").click()
    await expect(lines.filter(has_text="INFO")).to_have_count(0)
    await expect(lines.filter(has_text="WARN").first).to_be_visible()
    await tab.page.keyboard.press("Escape")
    await tab.page.get_by_role("searchbox", name="Text").fill("no line says this")
    await expect(tab.page.get_by_text("No line matches")).to_be_visible()
    assert await tab.address() == "/logs?level=WARN&text=no+line+says+this"
    await tab.go("/logs?text=listens")
    await expect(lines).to_have_count(1)
