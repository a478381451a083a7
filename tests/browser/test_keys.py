"""Client keys in the dashboard: the first one closes it, it is shown once, and who is let in depends on it."""

import re

import pytest
from playwright.async_api import expect

import rawhttp
from browser_kit import WIDTHS, Watched, overflow, violations
from harness import Server, Upstream, ask, eventually, messages
from sample_history import WORK

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("accounts")]

ENDED = r"status of 401"
"""What the browser itself says of requests that were under way when a session ended."""


async def create(tab: Watched, name: str) -> str:
    """Make a key as a person does; return it from where it is shown."""
    await tab.page.get_by_role("button", name="Create key").click()
    dialog = tab.page.get_by_role("dialog")
    await dialog.get_by_role("textbox", name="Name").fill(name)
    await dialog.get_by_role("button", name="Create key").click()
    field = dialog.get_by_role("textbox", name="The key")
    await expect(field).to_be_visible()
    assert await violations(tab.page) == []
    key = await field.input_value()
    await dialog.get_by_role("button", name="I have it").click()
    await expect(dialog).to_have_count(0)
    return key


async def _sign_in(tab: Watched, laptop: str, mine: str) -> None:
    """A program's key is refused with the reason; an admin's lets in."""
    field = tab.page.get_by_placeholder("ccf_…")
    await expect(field).to_be_visible()
    assert await violations(tab.page) == []
    await field.fill(laptop)
    await tab.page.get_by_role("button", name="Sign in").click()
    await expect(tab.page.get_by_text("this needs a client key of role admin")).to_be_visible()
    tab.allowed.append(r"status of 403")
    await field.fill(mine)
    await tab.page.get_by_role("button", name="Sign in").click()


async def _look_at_keys(tab: Watched, server: Server, upstream: Upstream, laptop: str) -> None:
    """The list fits a phone; a key leads to its requests by its name, and to the one that runs."""
    await tab.page.set_viewport_size({"width": WIDTHS["phone"][0], "height": WIDTHS["phone"][1]})
    await tab.go("/keys")
    await expect(tab.page.get_by_role("link", name="laptop")).to_be_visible()
    assert await overflow(tab.page) == []
    await tab.page.set_viewport_size({"width": WIDTHS["wide"][0], "height": WIDTHS["wide"][1]})
    await tab.page.get_by_role("link", name="laptop").click()
    await expect(tab.page).to_have_url(re.compile(r"/requests\?client_key=[0-9a-f-]{36}$"))
    await expect(tab.page.get_by_role("combobox", name="Client key")).to_have_value("laptop")

    upstream.rule("stall", times=1)
    with rawhttp.Connection(server.port) as client:
        client.send(rawhttp.request_bytes("POST", "/v1/messages", brought(laptop), messages(stream=True)))
        running = tab.page.get_by_role("region", name="Running requests")
        await expect(running.get_by_role("listitem")).to_contain_text("laptop")
        await tab.page.set_viewport_size({"width": WIDTHS["tablet"][0], "height": WIDTHS["tablet"][1]})
        await expect(running.get_by_text(", for laptop")).to_be_visible()
        await running.get_by_role("link").click()
        await expect(tab.page.get_by_text("laptop, 127.0.0.1")).to_be_visible()


def brought(key: str) -> list[rawhttp.Pair]:
    return [("x-api-key", key), ("anthropic-version", "2023-06-01"), ("content-type", "application/json")]


def status(server: Server, key: str) -> int:
    return ask(server.port, headers=brought(key)).status


async def test_from_the_first_key_to_the_last(own_server: Server, own_tab: Watched, upstream: Upstream) -> None:
    """The maker stays in; strangers do not; requests are told apart by key; revoking ends it, the dashboard too."""
    tab, page = own_tab, own_tab.page
    own_server.home.add_account(WORK, upstream.account(WORK).api_key, upstream.url)
    await tab.go("/keys")
    await expect(page.get_by_text("No key is needed so far")).to_be_visible()
    with tab.allowing(ENDED):
        mine = await create(tab, "me")
        laptop = await create(tab, "laptop")
        assert await violations(page) == []
        await tab.go("/")
        await expect(page.get_by_text("It needs a client key in ANTHROPIC_API_KEY")).to_be_visible()
        await expect(page.get_by_text('x-api-key: $ANTHROPIC_API_KEY"')).to_be_visible()
        eventually(lambda: status(own_server, laptop) == 200, what="the account is known")
        assert [status(own_server, key) for key in (mine, "anything")] == [200, 401]

        await tab.go("/requests?client_key=laptop")
        await expect(page.locator("[data-index='0']")).to_contain_text("laptop")
        await tab.go("/analytics")
        row = page.get_by_role("region", name="Client keys", exact=True).get_by_role("row", name="laptop")
        await expect(row).to_contain_text("laptop")
        await _look_at_keys(tab, own_server, upstream, laptop)
        await tab.go("/analytics")

        await page.get_by_role("button", name="Sign out").click()
        await _sign_in(tab, laptop, mine)
        await expect(page.get_by_role("heading", name="Analytics")).to_be_visible()

        await tab.go("/keys")
        await page.get_by_role("button", name="Revoke me").click()
        await page.get_by_role("textbox", name="Type me to confirm").fill("me")
        await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
        await expect(page.get_by_placeholder("ccf_…")).to_be_visible()
        assert [status(own_server, key) for key in (mine, laptop)] == [401, 200]
