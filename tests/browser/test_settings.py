"""Settings with their origins, and what is done with the history by hand."""

import json

import pytest
from playwright.async_api import Locator, expect

from browser_kit import Watched
from harness import Server, ask, eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("settings")]


def row(tab: Watched, name: str) -> Locator:
    """Return the row of a setting."""
    return tab.page.locator(f"#{name}")


async def test_a_change_is_saved_and_says_where_it_comes_from(own_server: Server, own_tab: Watched) -> None:
    """What is typed counts when it is saved, lands in the file, and can go back to the default."""
    await own_tab.go("/settings")
    retries = row(own_tab, "retry_attempts")
    await retries.get_by_role("textbox").fill("7")
    await expect(retries).to_contain_text("from 0 to")
    await retries.get_by_role("button", name="Save").click()
    await expect(own_tab.page.get_by_text("retry_attempts is saved.")).to_be_visible()
    await expect(retries).to_contain_text("From the settings file")
    assert json.loads(own_server.home.settings_file.read_text())["retry_attempts"] == 7

    await retries.get_by_role("button", name="Back to 3").click()
    await expect(retries.get_by_role("textbox")).to_have_value("3")
    await expect(retries.get_by_role("button", name="Back to 3")).to_have_count(0)


async def test_a_value_that_cannot_be_is_refused_in_place(own_tab: Watched) -> None:
    """The message says what is allowed, and what was typed stays to be mended."""
    await own_tab.go("/settings")
    retries = row(own_tab, "retry_attempts")
    await retries.get_by_role("textbox").fill("100000")
    await retries.get_by_role("button", name="Save").click()
    with own_tab.allowing("400"):
        await expect(retries.get_by_text("retry_attempts", exact=False).last).to_be_visible()
        await expect(retries.get_by_role("textbox")).to_have_attribute("aria-invalid", "true")


async def test_what_the_environment_sets_is_shown_and_fixed(own_tab: Watched) -> None:
    """A setting that a variable or a flag decides cannot be typed over, and says which one decides."""
    await own_tab.go("/settings")
    await expect(row(own_tab, "retry_delay_ms")).to_contain_text("RETRY_DELAY_MS")
    await expect(row(own_tab, "retry_delay_ms").get_by_role("textbox")).to_have_count(0)
    await expect(row(own_tab, "port")).to_contain_text("--port")


async def test_settings_are_found_by_name_and_meaning(own_tab: Watched) -> None:
    """`/` goes to the field; what does not match goes away."""
    await own_tab.go("/settings")
    await own_tab.page.keyboard.press("/")
    await own_tab.page.keyboard.type("compressed")
    await expect(own_tab.page.locator("main li[id]")).to_have_count(1)
    await expect(row(own_tab, "payload_budget_bytes")).to_be_visible()
    await own_tab.page.keyboard.type("zzz")
    await expect(own_tab.page.get_by_text("No setting has")).to_be_visible()


async def test_a_switch_changes_what_the_server_does(own_server: Server, own_tab: Watched) -> None:
    """Without `store_payloads` what is said is not kept from the next request on."""
    await own_tab.go("/settings")
    await row(own_tab, "store_payloads").get_by_role("switch").press("Space")
    await expect(own_tab.page.get_by_text("store_payloads is saved.")).to_be_visible()
    await expect(row(own_tab, "store_payloads").get_by_role("switch")).not_to_be_checked()
    ask(own_server.port)
    request = own_server.home.rows_when(1)[-1]["id"]
    await own_tab.go(f"/requests/{request}")
    await expect(own_tab.page.get_by_text("What was said is not kept")).to_be_visible()


async def test_the_history_is_cleaned_and_cleared(own_server: Server, own_tab: Watched) -> None:
    """Cleaning up keeps what the settings keep; clearing asks for a word and empties the history."""
    ask(own_server.port)
    own_server.home.rows_when(1)
    await own_tab.go("/settings")
    await own_tab.page.get_by_role("button", name="Clean up").click()
    await expect(own_tab.page.get_by_text("There was nothing to delete.")).to_be_visible()
    await own_tab.page.get_by_role("button", name="Reset counters").click()
    await expect(own_tab.page.get_by_text("The counters of")).to_be_visible()
    await own_tab.page.get_by_role("button", name="Clear history").click()
    dialog = own_tab.page.get_by_role("dialog")
    clear = dialog.get_by_role("button", name="Clear history")
    await expect(clear).to_be_disabled()
    await dialog.get_by_label("Type clear to confirm").fill("clear")
    await clear.click()
    await expect(own_tab.page.get_by_text("The history is empty.")).to_be_visible()
    eventually(lambda: own_server.home.rows() == [], what="no rows")
