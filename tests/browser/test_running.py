"""A request is on the page while it runs, and turns into what is known of it when it has ended."""

import pytest
from playwright.async_api import expect

import rawhttp
from browser_kit import Watched, violations
from harness import MODEL, Server, Upstream, client_headers, eventually, messages
from sample_history import WORK

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("connection")]


async def test_a_running_request_is_seen_everywhere_until_it_ends(
    own_server: Server, own_tab: Watched, upstream: Upstream
) -> None:
    """On the overview, above the list, and on a page of its own, which becomes that of the ended request."""
    own_server.home.add_account("one", upstream.account(WORK).api_key, upstream.url)
    own_server.wait_until_accounts(1)
    upstream.rule("stall", times=1)
    await own_tab.go("/requests")
    with rawhttp.Connection(own_server.port) as client:
        body = messages("Tell me a long story", stream=True)
        client.send(rawhttp.request_bytes("POST", "/v1/messages", client_headers(), body))
        running = own_tab.page.get_by_role("region", name="Running requests")
        await expect(running.get_by_role("listitem")).to_have_count(1)
        await expect(running).to_contain_text(MODEL)
        await expect(running).to_contain_text("one")
        assert await violations(own_tab.page) == []

        await running.get_by_role("link").click()
        await expect(own_tab.page.get_by_text("Running, since")).to_be_visible()
        await expect(own_tab.page.get_by_role("region", name="Why this account")).to_contain_text("one")
        assert await violations(own_tab.page) == []
        await own_tab.page.keyboard.press("g")
        await own_tab.page.keyboard.press("o")
        await expect(running).to_contain_text("1 running")
        await running.get_by_role("link").first.click()
        await expect(own_tab.page.get_by_text("Running, since")).to_be_visible()
    eventually(lambda: own_server.home.rows() != [], what="the request has ended")
    await expect(own_tab.page.get_by_role("heading", level=1)).to_contain_text("499")
    await expect(own_tab.page.get_by_role("region", name="What was said")).to_contain_text("Tell me a long story")
