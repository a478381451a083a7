"""Everything can be reached and done without a mouse."""

import asyncio

import pytest
from playwright.async_api import expect

from browser_kit import Watched

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("pages")]

FOCUS_SHOWS = """() => {
  const one = document.activeElement, style = getComputedStyle(one);
  return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0 ? '' : one.outerHTML.slice(0, 200);
}"""
WITHIN = "(selector) => document.activeElement.closest(selector) !== null"


async def test_g_and_a_letter_move_between_pages(tab: Watched) -> None:
    """Each page has its letter; the list of keys names them all."""
    await tab.go("/")
    for letter, path in (("n", "/analytics"), ("r", "/requests"), ("a", "/accounts"), ("k", "/keys"), ("l", "/logs"),
                         ("s", "/settings"), ("o", "/")):  # fmt: skip
        await asyncio.gather(tab.page.keyboard.press("g"), tab.page.keyboard.press(letter))
        await expect(tab.page).to_have_url(f"{tab.url}{path}")
    await tab.page.keyboard.press("?")
    dialog = tab.page.get_by_role("dialog", name="Keyboard")
    for name in ("Overview", "Analytics", "Requests", "Accounts", "Keys", "Logs", "Settings"):
        await expect(dialog.get_by_text(name, exact=True)).to_be_visible()
    await tab.page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)


async def test_a_slash_goes_to_the_filter(tab: Watched) -> None:
    """On every page that has one; a slash that is typed there is text."""
    for path in ("/analytics", "/requests", "/logs", "/settings"):
        await tab.go(path)
        await tab.page.keyboard.press("/")
        field = tab.page.locator("[data-filter]")
        await expect(field).to_be_focused()
        await tab.page.keyboard.type("a/g")
        await expect(field).to_have_value("a/g")


async def test_the_focus_is_seen_and_goes_through_the_whole_page(tab: Watched) -> None:
    """The first stop skips to the content; every further one is marked; the order is that of the page."""
    await tab.go("/accounts")
    await tab.page.keyboard.press("Tab")
    skip = tab.page.get_by_role("link", name="Skip to the content")
    await expect(skip).to_be_focused()
    await expect(skip).to_be_in_viewport()
    seen = []
    for _ in range(18):
        await tab.page.keyboard.press("Tab")
        assert await tab.page.evaluate(FOCUS_SHOWS) == ""
        seen.append(await tab.page.evaluate("document.activeElement.closest('nav') ? 'nav' : 'main'"))
    assert seen == sorted(seen, reverse=True)
    assert set(seen) == {"nav", "main"}


async def test_dialogs_keep_the_focus_and_give_it_back(tab: Watched) -> None:
    """Tab stays inside, Escape closes, and the focus returns to what opened it."""
    await tab.go("/accounts")
    opener = tab.page.get_by_role("button", name="Add account")
    await opener.focus()
    await tab.page.keyboard.press("Enter")
    dialog = tab.page.get_by_role("dialog", name="Add an account")
    await expect(dialog.get_by_label("Name")).to_be_focused()
    for _ in range(12):
        await tab.page.keyboard.press("Tab")
        assert await tab.page.evaluate(WITHIN, "[role=dialog]")
    await tab.page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    await expect(opener).to_be_focused()


async def test_the_list_of_requests_is_walked_with_arrows(tab: Watched) -> None:
    """Down and up move by a row, beyond what is in the document too; Enter opens; going back finds the place."""
    await tab.go("/requests")
    await tab.page.locator("[data-index='0'] a").focus()
    for _ in range(60):
        await tab.page.keyboard.press("ArrowDown")
    await expect(tab.page.locator("[data-index='60'] a")).to_be_focused()
    await tab.page.keyboard.press("Enter")
    await expect(tab.page.get_by_role("heading", level=1)).to_contain_text("/v1/messages")
    await tab.page.go_back()
    await expect(tab.page.locator("[data-index='60']")).to_be_in_viewport()
