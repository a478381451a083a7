"""What a person does with accounts on the page, against a real server and a real sign-in."""

import pytest
from playwright.async_api import Locator, expect

from browser_kit import Watched, add_by_key, violations
from harness import Server, Upstream, ask, eventually
from sample_history import PLAN, WORK
from sign_in_kit import allow

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("accounts")]


def card(tab: Watched, name: str) -> Locator:
    """Return the card of an account."""
    return tab.page.get_by_role("article", name=name, exact=True)


async def choose(tab: Watched, name: str, action: str) -> Locator:
    """Open a dialog from an account's menu."""
    await card(tab, name).get_by_role("button", name=f"More for {name}").click()
    await tab.page.get_by_role("menuitem", name=action).click()
    return tab.page.get_by_role("dialog")


async def test_a_key_is_added_and_serves_the_next_request(
    own_server: Server, own_tab: Watched, upstream: Upstream
) -> None:
    """The key is sent once, is nowhere in the page afterwards, and the account serves."""
    key = upstream.account(WORK).api_key
    await own_tab.go("/accounts")
    await add_by_key(own_tab, "office", key, upstream.url)
    await expect(own_tab.page.get_by_text("office is added and serves the next request.")).to_be_visible()
    await expect(card(own_tab, "office")).to_contain_text("Active")
    assert key not in await own_tab.page.content()

    assert ask(own_server.port).status == 200

    assert upstream.settled_log()[-1].account == WORK
    await expect(
        card(own_tab, "office").get_by_text("just now").or_(card(own_tab, "office").get_by_text("ago"))
    ).to_be_visible()
    await add_by_key(own_tab, "office", key, upstream.url)
    with own_tab.allowing("409"):
        await expect(own_tab.page.get_by_role("dialog").get_by_role("alert")).to_contain_text("office")


async def test_signing_in_by_oauth(own_server: Server, own_tab: Watched, upstream: Upstream) -> None:
    """The provider's page opens by a link; a truncated code is refused at once; the whole one serves."""
    await own_tab.go("/accounts")
    await own_tab.page.get_by_role("button", name="Add account").first.click()
    dialog = own_tab.page.get_by_role("dialog")
    await dialog.get_by_text("By sign-in (OAuth)").click()
    await dialog.get_by_role("textbox", name="Name").fill("me")
    await dialog.get_by_role("button", name="Begin").click()
    link = dialog.get_by_role("link", name="Open the provider's page")
    address = await link.get_attribute("href")
    assert address is not None
    assert await link.get_attribute("rel") == "noreferrer"
    assert await violations(own_tab.page) == []
    code = allow(address)

    await dialog.get_by_label("Paste the complete code here").fill(code.split("#")[0])
    await dialog.get_by_role("button", name="Sign in", exact=True).click()
    with own_tab.allowing("400"):
        await expect(dialog.get_by_role("alert")).to_contain_text("code#state")
    await dialog.get_by_label("Paste the complete code here").fill(code)
    await dialog.get_by_role("button", name="Sign in", exact=True).click()

    await expect(own_tab.page.get_by_text("me is signed in and serves the next request.")).to_be_visible()
    await expect(card(own_tab, "me")).to_contain_text("Sign-in")
    assert ask(own_server.port).status == 200
    assert upstream.settled_log()[-1].account == "plan"
    again = await choose(own_tab, "me", "Sign in again")
    await again.get_by_role("button", name="Begin").click()
    await expect(again.get_by_role("link", name="Open the provider's page")).to_be_visible()


async def test_an_account_is_paused_renamed_moved_and_removed(
    own_server: Server, own_tab: Watched, upstream: Upstream
) -> None:
    """Each action says what it did, holds at once for routing, and the page shows what the server has."""
    home = own_server.home
    home.add_account("one", upstream.account(WORK).api_key, upstream.url)
    await own_tab.go("/accounts")
    await card(own_tab, "one").get_by_role("button", name="Pause one").click()
    await expect(card(own_tab, "one")).to_contain_text("Paused")
    assert own_server.health()["accounts"]["paused"] == 1
    await card(own_tab, "one").get_by_role("button", name="Resume one").click()
    await expect(card(own_tab, "one")).to_contain_text("Active")

    dialog = await choose(own_tab, "one", "Rename")
    await expect(dialog.get_by_role("textbox", name="Name")).to_be_focused()
    await dialog.get_by_role("textbox", name="Name").fill("a/b")
    await dialog.get_by_role("button", name="Rename").click()
    with own_tab.allowing("400"):
        await expect(dialog.get_by_text("an account name has 1 to 100")).to_be_visible()
    await dialog.get_by_role("textbox", name="Name").fill("other")
    await dialog.get_by_role("button", name="Rename").click()
    await expect(card(own_tab, "other")).to_be_visible()

    dialog = await choose(own_tab, "other", "Change priority")
    await dialog.get_by_label("Priority").fill("5")
    await dialog.get_by_role("button", name="Change").click()
    await expect(own_tab.page.get_by_text("other has priority 5.")).to_be_visible()
    assert home.accounts()["other"]["priority"] == 5

    dialog = await choose(own_tab, "other", "Remove")
    remove = dialog.get_by_role("button", name="Remove", exact=True)
    await expect(remove).to_be_disabled()
    await dialog.get_by_label("Type other to confirm").fill("othe")
    await expect(remove).to_be_disabled()
    await dialog.get_by_label("Type other to confirm").fill("other")
    await remove.click()
    await expect(own_tab.page.get_by_text("other is removed.")).to_be_visible()
    assert home.accounts() == {}
    eventually(lambda: own_server.health()["accounts"]["total"] == 0, what="the server knows")


async def test_a_limited_account_is_tried_again_at_once(
    own_server: Server, own_tab: Watched, upstream: Upstream
) -> None:
    """Whoever knows better than the last answer does not wait for its end: the next request goes there."""
    own_server.home.add_account("one", upstream.account(WORK).api_key, upstream.url)
    own_server.wait_until_accounts(1)
    upstream.rule("429-long", times=1)
    assert ask(own_server.port).status == 429
    await own_tab.go("/accounts")
    await expect(card(own_tab, "one")).to_contain_text("Rate limited")

    await card(own_tab, "one").get_by_role("button", name="More for one").click()
    await own_tab.page.get_by_role("menuitem", name="Try again now").click()

    await expect(card(own_tab, "one")).to_contain_text("Active")
    assert ask(own_server.port).status == 200


async def test_what_the_command_line_changes_appears(own_server: Server, own_tab: Watched, upstream: Upstream) -> None:
    """A change by another program is on the page by itself."""
    await own_tab.go("/accounts")
    own_server.home.add_account("late", upstream.account(WORK).api_key, upstream.url)
    await expect(card(own_tab, "late")).to_contain_text("Active")


async def test_windows_and_their_ends_are_told(tab: Watched) -> None:
    """A subscription shows what is used, when it begins anew, and when it runs out at the pace of the last hour."""
    await tab.go("/accounts")
    plan = card(tab, PLAN)
    await expect(plan.get_by_role("meter", name="5 hours, used")).to_have_attribute("aria-valuetext", "71 %")
    await expect(plan).to_contain_text("resets in 1 h 5")
    await expect(plan).to_contain_text("runs out")
    await expect(card(tab, "team")).to_contain_text("Rate limited")
    await expect(card(tab, "team")).to_contain_text("back in 4")
    await expect(card(tab, "spare")).to_contain_text("kept for the end of the month, for 3 d")
