"""The list of requests, its filters, and what is known of one request."""

import json
import subprocess

import pytest
from playwright.async_api import expect

from browser_kit import Watched, violations
from harness import CLIENT_KEY, Server
from sample_history import PLAN
from sample_traffic import ANSWER, QUESTION, THOUGHTS

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("requests")]

ROWS = "main [data-index]"


async def choose(tab: Watched, field: str, option: str) -> None:
    """Choose in a list of choices."""
    await tab.page.get_by_role("combobox", name=field).click()
    await tab.page.get_by_role("option", name=option, exact=True).click()


def in_a_shell(command: str) -> str:
    """Return what a command prints."""
    environment = {"PATH": "/usr/bin:/bin", "ANTHROPIC_API_KEY": "any"}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, timeout=20, check=True)
    return done.stdout.decode()


async def test_filters_are_in_the_address_and_are_the_servers(tab: Watched, shared_server: Server) -> None:
    """Each filter is asked of the server, all of them together, and the address alone brings the same list."""
    await tab.go("/requests")
    await choose(tab, "Status", "Any failure")
    await choose(tab, "Account", PLAN)
    await tab.page.get_by_role("combobox", name="Model or family").fill("claude-opus")
    await tab.page.wait_for_url("**/requests?status=error&account=plan&model=claude-opus")
    wanted = [
        row["id"] for row in shared_server.home.rows()
        if not row["success"] and row["account_used"] == PLAN and row["model"] == "claude-opus-5-5"
    ]  # fmt: skip
    assert wanted
    await expect(tab.page.get_by_text(f"{len(wanted)} requests, all there are")).to_be_visible()
    link = tab.page.locator(f"{ROWS} a").first
    await expect(link).to_have_attribute("href", f"/requests/{wanted[-1]}")
    assert any("/api/requests?status=error&account=plan&model=claude-opus" in each for each in tab.asked)

    await tab.page.reload()
    await expect(tab.page.get_by_text(f"{len(wanted)} requests, all there are")).to_be_visible()
    await tab.page.get_by_role("button", name="Clear the filters").click()
    await expect(tab.page.get_by_text("loaded; older ones as you scroll")).to_be_visible()
    assert await tab.address() in {"/requests", "/requests?"}


async def test_a_filter_that_nothing_matches_says_so(tab: Watched) -> None:
    """An empty list has a way back to all requests."""
    await tab.go("/requests?model=claude-9")
    await expect(tab.page.get_by_text("No request matches the filter")).to_be_visible()
    await tab.page.get_by_role("button", name="Show all requests").click()
    await expect(tab.page.locator(ROWS).first).to_be_visible()


@pytest.mark.parametrize("address", ["from=garbage", "to=x"])
async def test_a_period_that_nobody_can_read_says_so(tab: Watched, address: str) -> None:
    """The address may say anything: the page stays, tells what the server says, and the filter can be cleared."""
    with tab.allowing(r"400"):
        await tab.go(f"/requests?{address}")
        await expect(tab.page.get_by_text("expected an instant")).to_be_visible()
    await tab.page.get_by_role("button", name="Clear the filters").click()
    await expect(tab.page.get_by_text("loaded; older ones as you scroll")).to_be_visible()


async def test_a_period_in_milliseconds(tab: Watched, shared_server: Server) -> None:
    """As the API takes it."""
    first = shared_server.home.rows()[0]["timestamp"]
    await tab.go(f"/requests?to={first}")
    await expect(tab.page.get_by_text("No request matches the filter")).to_be_visible()


async def test_a_period_is_chosen(tab: Watched, shared_server: Server) -> None:
    """The period goes into the address as instants, and the list has what lies in it."""
    rows = shared_server.home.rows()
    await tab.go("/requests")
    await tab.page.get_by_role("button", name="Any time").click()
    middle = rows[len(rows) // 2]["timestamp"]
    local = await tab.page.evaluate(
        "(ms) => new Date(ms - new Date(ms).getTimezoneOffset() * 60000).toISOString().slice(0, 16)", middle
    )
    await tab.page.get_by_label("To, not included").fill(local)
    await tab.page.wait_for_url("**/requests?to=**")
    before = [row["id"] for row in rows if row["timestamp"] < middle // 60_000 * 60_000]
    await expect(tab.page.locator(f"{ROWS} a").first).to_have_attribute("href", f"/requests/{before[-1]}")


async def test_the_conversation_of_a_request(tab: Watched, shared_server: Server) -> None:
    """Opened by its link alone: who said what, tools with their results, thinking folded, an image as a placeholder."""
    request = shared_server.home.rows()[-1]["id"]
    await tab.go(f"/requests/{request}")
    said = tab.page.get_by_role("region", name="What was said")
    await expect(said).to_contain_text(QUESTION)
    await expect(said.get_by_text("image/png")).to_be_visible()
    await expect(said.get_by_text("read_file", exact=True)).to_be_visible()
    await expect(said).to_contain_text("2 passed in 0.31 s")
    await expect(said).to_contain_text(ANSWER.split("\n")[0])
    thinking = said.get_by_text("The tests pass; say what was done.")
    await expect(thinking).to_be_hidden()
    await said.get_by_text("Thinking", exact=True).click()
    await expect(thinking).to_be_visible()
    await expect(tab.page.locator("main img")).to_have_count(0)

    why = tab.page.get_by_role("region", name="Why this account")
    await expect(why.get_by_role("listitem").filter(has_text="529")).to_have_count(1)
    await expect(why.get_by_role("listitem").filter(has_text="200, delivered")).to_have_count(1)


async def test_raw_messages_have_masked_credentials(tab: Watched, shared_server: Server) -> None:
    """Headers and bodies are as they were on the wire, except for credentials."""
    request = shared_server.home.rows()[-1]["id"]
    await tab.go(f"/requests/{request}")
    await tab.page.get_by_role("tab", name="Request").click()
    headers = tab.page.get_by_role("tabpanel").get_by_role("row")
    await expect(headers.filter(has_text="Authorization")).to_contain_text("***")
    await expect(headers.filter(has_text="User-Agent")).to_contain_text("sample/1.0")
    await tab.page.get_by_role("tab", name="Response").click()
    await expect(tab.page.get_by_role("tabpanel")).to_contain_text("event: message_start")
    assert CLIENT_KEY not in await tab.page.content()


async def test_what_was_sent_is_read_beside_the_conversation(tab: Watched, shared_server: Server) -> None:
    """Both are there at once, one side of the raw messages at a time, until it is put away again."""
    await tab.go(f"/requests/{shared_server.home.rows()[-1]['id']}")
    raw, said = (tab.page.get_by_role("region", name=name) for name in ("Raw", "What was said"))
    button = tab.page.get_by_role("button", name="Raw beside it")
    await button.press("Enter")
    await expect(raw).to_contain_text("POST /v1/messages")
    await expect(said.get_by_text("Both tests pass.").first).to_be_visible()
    await raw.get_by_text("Response", exact=True).click()
    await expect(raw).to_contain_text("event: message_start")
    assert await violations(tab.page) == []
    await button.press("Enter")
    await expect(raw).to_have_count(0)


async def test_a_request_is_copied_as_json_and_as_a_command_that_works(tab: Watched, shared_server: Server) -> None:
    """The JSON is all that is known; the command, with a key of one's own in the variable, repeats the request."""
    await tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    rows = shared_server.home.rows()
    await tab.go(f"/requests/{rows[-1]['id']}")
    await tab.page.get_by_role("button", name="Copy as JSON").click()
    await expect(tab.page.get_by_role("button", name="Copied")).to_be_visible()
    copied = json.loads(await tab.page.evaluate("navigator.clipboard.readText()"))
    assert copied["request"]["id"] == rows[-1]["id"]
    assert copied["payload"]["request"]["body"]["content"]
    await expect(tab.page.get_by_role("button", name="Copied")).to_have_count(0)

    await tab.page.get_by_role("button", name="Copy as curl").click()
    command = await tab.page.evaluate("navigator.clipboard.readText()")
    assert "$ANTHROPIC_API_KEY" in command
    assert CLIENT_KEY not in command
    assert in_a_shell(f"{command} -sS -o /dev/null -w '%{{http_code}}'") == "200"
    assert shared_server.home.rows_when(len(rows) + 1)[-1]["request_bytes"] == rows[-1]["request_bytes"]


async def test_a_request_that_is_not_there(tab: Watched) -> None:
    """A link to what was deleted says so, and leads back."""
    with tab.allowing("404"):
        await tab.go("/requests/01990000-0000-7000-8000-000000000000")
        await expect(tab.page.get_by_role("alert")).to_be_visible()
        await tab.page.get_by_role("main").get_by_role("link", name="Requests").click()
        await expect(tab.page.locator(ROWS).first).to_be_visible()


async def test_thoughts_and_calls_of_an_answer_alone(tab: Watched, shared_server: Server) -> None:
    """An answer that is a tool call shows its thoughts and what the tool is given."""
    rows = shared_server.home.rows()
    first = next(row for row in rows if row["session"] == rows[-1]["session"])
    await tab.go(f"/requests/{first['id']}")
    said = tab.page.get_by_role("region", name="What was said")
    await said.get_by_text("Thinking", exact=True).click()
    await expect(said.get_by_text(THOUGHTS)).to_be_visible()
    await expect(said.get_by_text("orders/read.py")).to_be_visible()
