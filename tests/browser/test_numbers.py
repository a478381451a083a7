"""What the overview and the analytics show is what the server says, and what a person chooses is in the address."""

import json
import urllib.request
from itertools import pairwise
from typing import Any

import pytest
from playwright.async_api import Locator, expect

from browser_kit import Watched
from harness import Server
from sample_history import OPUS, PLAN, SPARE, TEAM

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("numbers")]


def analytics(server: Server, query: str) -> Any:
    """Ask the server what the page asks it."""
    with urllib.request.urlopen(f"{server.url}/api/analytics?{query}", timeout=10) as answer:
        return json.load(answer)


def tile(tab: Watched, name: str) -> Locator:
    """Return a tile of the overview."""
    return tab.page.locator("dl > div").filter(has=tab.page.get_by_role("term").filter(has_text=name))


async def test_the_overview_fits_one_screen_and_answers_three_questions(tab: Watched, shared_server: Server) -> None:
    """Health with its reasons, cost, and which account runs out when, without scrolling at 1440x900."""
    await tab.go("/?range=30d")
    health = tab.page.get_by_role("region", name="Health")
    await expect(health).to_contain_text("by 2 of 4 accounts")
    await expect(health).to_contain_text(f"{PLAN} runs out of its 5 hours")
    await expect(health).to_contain_text(f"{TEAM} is limited until")
    await expect(health).to_contain_text(f"{SPARE} is paused")
    said = analytics(shared_server, "range=30d")["overview"]
    await expect(tile(tab, "Cost")).to_contain_text(f"${said['cost_usd']:.2f}")
    await expect(tile(tab, "Requests")).to_contain_text(f"{said['failed_requests']} failed")
    accounts = tab.page.get_by_role("region", name="Accounts")
    await expect(accounts.get_by_role("meter", name="5 hours, used").first).to_be_in_viewport()
    await expect(accounts).to_contain_text("runs out")
    fits = await tab.page.evaluate("document.documentElement.scrollHeight <= innerHeight")
    assert fits


async def test_a_range_is_in_the_address(tab: Watched) -> None:
    """What is chosen is asked of the server, and comes back with the address."""
    await tab.go("/")
    await tab.page.get_by_text("7 d", exact=True).click()
    await expect(tab.page.get_by_text("The last 7 days, against the 7 days before")).to_be_visible()
    assert await tab.address() == "/?range=7d"
    assert any(each.startswith("GET /api/analytics?range=7d") for each in tab.asked)


async def test_the_latest_failures_lead_to_their_requests(tab: Watched) -> None:
    """A failure is a link to all that is known of it."""
    await tab.go("/")
    await (
        tab.page.get_by_role("region", name="Latest failures").get_by_role("listitem").first.get_by_role("link").click()
    )
    await expect(tab.page.get_by_role("heading", level=1)).to_contain_text("400")
    await expect(tab.page.get_by_role("main")).to_contain_text("prompt is too long")


async def test_analytics_are_filtered_by_the_server(tab: Watched, shared_server: Server) -> None:
    """Model, metric and running sums are in the address; the table has what the server says of the model."""
    await tab.go("/analytics?range=7d")
    await tab.page.get_by_role("combobox", name="Model or family").fill(OPUS)
    await tab.page.get_by_role("combobox", name="What is shown").click()
    await tab.page.get_by_role("option", name="Response time").click()
    await expect(tab.page.get_by_role("figure", name="Response time over time")).to_be_visible()
    await tab.page.wait_for_url("**/analytics?range=7d*model=claude-opus-5-5*")
    said = analytics(shared_server, f"range=7d&model={OPUS}")["models"]
    rows = tab.page.get_by_role("region", name="Models, table").get_by_role("row")
    await expect(rows).to_have_count(1 + len(said))
    await expect(rows.last).to_contain_text(str(said[0]["requests"]))
    await tab.go("/analytics?range=7d&metric=cost&mode=cumulative")
    await expect(tab.page.get_by_role("switch", name="Running sums")).to_be_checked()
    await expect(tab.page.get_by_role("figure", name="Cost over time")).to_be_visible()


async def test_a_legend_takes_a_series_away(tab: Watched) -> None:
    """A series is switched off and on by a button that says which it is; the tooltip names values with their time."""
    await tab.go("/analytics?range=7d")
    chart = tab.page.get_by_role("figure", name="Requests by outcome over time")
    toggle = chart.get_by_role("button", name="succeeded")
    columns = chart.locator("rect[fill]")
    await expect(columns.first).to_be_attached()
    before = await columns.count()
    await toggle.press("Enter")
    await expect(toggle).to_have_attribute("aria-pressed", "false")
    assert await columns.count() < before
    await toggle.press("Enter")
    await chart.locator("svg").first.hover(position={"x": 400, "y": 120})
    await expect(chart.locator("dd").first).to_be_attached()


async def test_an_axis_has_round_steps_and_local_time(tab: Watched) -> None:
    """Shares go from 0 % to 100 %; every step of a chart is as long as the next."""
    await tab.go("/analytics")
    cache = tab.page.get_by_role("figure", name="Share of the input that was read from a cache")
    ticks = cache.locator(".recharts-yAxis-tick-labels .recharts-cartesian-axis-tick-value")
    await expect(ticks).to_have_text(["0 %", "25 %", "50 %", "75 %", "100 %"])
    hours = await cache.locator(".recharts-xAxis-tick-labels .recharts-cartesian-axis-tick-value").all_text_contents()
    steps = {(int(b[:2]) - int(a[:2])) % 24 for a, b in pairwise(hours)}
    assert len(steps) == 1, hours


async def test_a_week_has_its_days_on_the_axis(tab: Watched) -> None:
    """Each midnight of seven days is named, also one just before the end of the axis."""
    await tab.go("/analytics?range=7d")
    chart = tab.page.get_by_role("figure", name="Requests by outcome over time")
    days = chart.locator(".recharts-xAxis-tick-labels .recharts-cartesian-axis-tick-value")
    await expect(days.nth(6)).to_be_attached()
