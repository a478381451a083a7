"""Every page in both themes and at the widths of a desk, a tablet and a phone."""

import pytest
from playwright.async_api import Browser, expect

from browser_kit import PATHS, THEMES, WIDTHS, Theme, opened, overflow, violations
from harness import Server
from sample_history import WORK

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("pages")]


def latest(server: Server) -> str:
    """Return the address of the latest request, whose conversation has blocks of every kind."""
    return f"/requests/{server.home.rows()[-1]['id']}"


@pytest.mark.parametrize("theme", THEMES)
async def test_pages_are_accessible_and_fit(browser: Browser, shared_server: Server, theme: Theme) -> None:
    """Axe finds nothing serious, nothing is wider than the window at any width, and the console stays empty."""
    async with opened(browser, shared_server.url, theme=theme) as tab:
        for path in (*PATHS, latest(shared_server)):
            await tab.go(path)
            await expect(tab.page.get_by_role("heading", level=1)).to_be_visible()
            assert await violations(tab.page) == [], path
            for across, down in WIDTHS.values():
                await tab.page.set_viewport_size({"width": across, "height": down})
                assert await overflow(tab.page) == [], (path, across)
            await tab.page.set_viewport_size({"width": WIDTHS["wide"][0], "height": WIDTHS["wide"][1]})


async def test_pages_are_accessible_on_a_phone(browser: Browser, shared_server: Server) -> None:
    """What is laid out otherwise for a narrow window is checked there too; the main things are in reach."""
    async with opened(browser, shared_server.url, width="phone", has_touch=True, is_mobile=True) as tab:
        for path in (*PATHS, latest(shared_server)):
            await tab.go(path)
            await expect(tab.page.get_by_role("heading", level=1)).to_be_visible()
            assert await violations(tab.page) == [], path
            assert await overflow(tab.page) == [], path
            await expect(tab.page.get_by_role("navigation").get_by_role("link", name="Settings")).to_be_in_viewport()


async def test_every_answer_has_the_strict_policy(browser: Browser, shared_server: Server) -> None:
    """Documents and what they load may run nothing but their own scripts; text never becomes markup."""
    async with opened(browser, shared_server.url) as tab:
        await tab.go("/")
        assert len(tab.answers) > 5
        pages = [answer for answer in tab.answers if "/api/" not in answer.url and "/health" not in answer.url]
        for answer in pages:
            policy = (await answer.all_headers())["content-security-policy"]
            assert "default-src 'none'" in policy, answer.url
            assert "unsafe" not in policy
        tab.allowed.append("Content Security Policy|TrustedHTML")
        markup = "document.body.insertAdjacentHTML('beforeend', '<b>x</b>')"
        assert await tab.page.evaluate(f"() => {{ try {{ {markup}; return false }} catch {{ return true }} }}")


@pytest.mark.parametrize("theme", THEMES)
async def test_a_chosen_theme_stays(browser: Browser, shared_server: Server, theme: Theme) -> None:
    """The choice counts more than the system's, from the first paint on, in the next visit too."""
    system: Theme = "dark" if theme == "light" else "light"
    async with opened(browser, shared_server.url, theme=system) as tab:
        root = tab.page.locator("html")
        await tab.go("/")
        await expect(root).to_have_attribute("data-mantine-color-scheme", system)
        await tab.page.get_by_role("button", name="Theme").click()
        await tab.page.get_by_role("menuitem", name=theme.capitalize()).click()
        await expect(root).to_have_attribute("data-mantine-color-scheme", theme)
        await tab.page.goto(f"{tab.url}/logs", wait_until="commit")
        await expect(root).to_have_attribute("data-mantine-color-scheme", theme)


@pytest.mark.parametrize("theme", THEMES)
async def test_dialogs_and_menus_are_accessible(browser: Browser, shared_server: Server, theme: Theme) -> None:
    """What opens above a page has names and contrast too."""
    async with opened(browser, shared_server.url, theme=theme) as tab:
        await tab.go("/accounts")
        await tab.page.keyboard.press("?")
        await expect(tab.page.get_by_role("dialog", name="Keyboard")).to_be_visible()
        assert await violations(tab.page) == []
        await tab.page.keyboard.press("Escape")
        await tab.page.get_by_role("button", name="Add account").click()
        await expect(tab.page.get_by_role("dialog")).to_be_visible()
        assert await violations(tab.page) == []
        await tab.page.keyboard.press("Escape")
        await tab.page.get_by_role("button", name=f"More for {WORK}").click()
        await expect(tab.page.get_by_role("menu")).to_be_visible()
        assert await violations(tab.page) == []
        await tab.page.get_by_role("menuitem", name="Remove").click()
        await expect(tab.page.get_by_role("dialog")).to_be_visible()
        assert await violations(tab.page) == []
