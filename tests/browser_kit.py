"""A real browser for tests: Debian's Chromium, and pages that notice everything they should not do.

The one rule: whatever a test is about, a page that writes to the console, that an exception ends, or that asks another
machine for something has failed it (`Watched.assert_sound`).
"""

import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import axe_playwright_python
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, Request, Response, expect

Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")
WIDTHS = {"wide": (1440, 900), "tablet": (820, 1180), "phone": (390, 844)}
PATHS = ("/", "/analytics", "/requests", "/accounts", "/keys", "/logs", "/settings")

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LONGEST_WAIT_MS = 8_000
"""For what should happen at once; a busy machine needs some of it."""
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
WORST = {"serious", "critical"}

expect.set_options(timeout=LONGEST_WAIT_MS)


def chromium() -> str | None:
    """Return where the system's Chromium is; None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


async def launch(playwright: Playwright, path: str) -> Browser:
    """Start the browser with a fresh profile. It may ask nobody for anything by itself."""
    return await playwright.chromium.launch(executable_path=path, args=list(FLAGS))


@dataclass
class Watched:
    """A page, and what was noticed of it."""

    page: Page
    url: str
    """Of the server."""
    foreign: list[str] = field(default_factory=list)
    """Requests to other machines, or to another port."""
    asked: list[str] = field(default_factory=list)
    """Every request: method and path with its query."""
    answers: list[Response] = field(default_factory=list)
    """Every answer."""
    said: list[str] = field(default_factory=list)
    """What was written to the console."""
    failed: list[str] = field(default_factory=list)
    """Exceptions that nobody caught."""
    allowed: list[str] = field(default_factory=list)
    """Patterns of what the console may say in this test: a browser tells of every request that fails."""

    def listen(self) -> None:
        """Begin to notice."""
        self.page.context.on("request", self._request)
        self.page.on("response", self._response)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.failed.append(str(error)))

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        self.asked.append(f"{request.method} {parts.path}{'?' if parts.query else ''}{parts.query}")
        if parts.scheme in {"data", "blob"}:
            return
        if parts.hostname not in LOOPBACK:
            self.foreign.append(request.url)

    def _response(self, answer: Response) -> None:
        self.answers.append(answer)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning", "assert"}:
            self.said.append(f"{message.type}: {message.text}")

    @contextmanager
    def allowing(self, *patterns: str) -> Iterator[None]:
        """Let the console say what these patterns match, in the block and until it is quiet again."""
        self.allowed.extend(patterns)
        yield

    async def go(self, path: str) -> None:
        """Open a page of the dashboard and wait until it shows what it has to show."""
        await self.page.goto(f"{self.url}{path}", wait_until="load")
        await self.settled()

    async def settled(self) -> None:
        """Wait until nothing is loading."""
        await expect(self.page.locator("main")).to_be_visible()
        await expect(self.page.get_by_text("Loading", exact=True)).to_have_count(0)
        await expect(self.page.locator("figure:not(:has(svg))")).to_have_count(0)

    async def address(self) -> str:
        """Return path and query as the browser shows them."""
        found: str = await self.page.evaluate("location.pathname + location.search")
        return found

    async def use_theme(self, theme: Theme) -> None:
        """Have pages that are opened from now on use a theme."""
        await self.page.emulate_media(color_scheme=theme, reduced_motion="reduce")

    def assert_sound(self) -> None:
        """Assert that nothing was asked of another machine and that nothing was complained about."""
        assert self.foreign == [], self.foreign
        assert self.failed == [], self.failed
        unexpected = [each for each in self.said if not any(re.search(one, each) for one in self.allowed)]
        assert unexpected == [], unexpected


@asynccontextmanager
async def opened(
    browser: Browser, url: str, *, width: str = "wide", theme: Theme = "light", **options: Any
) -> AsyncIterator[Watched]:
    """Open a tab with a profile of its own; in the end it must have behaved."""
    across, down = WIDTHS[width]
    context: BrowserContext = await browser.new_context(
        viewport={"width": across, "height": down}, color_scheme=theme, reduced_motion="reduce", **options
    )
    context.set_default_timeout(LONGEST_WAIT_MS)
    try:
        watched = Watched(await context.new_page(), url)
        watched.listen()
        yield watched
        watched.assert_sound()
    finally:
        await context.close()


async def violations(page: Page) -> list[str]:
    """Return what axe finds serious or critical in what the page shows now."""
    if not await page.evaluate("typeof window.axe === 'object'"):
        await page.evaluate(AXE)
    found = await page.evaluate("axe.run(document, { resultTypes: ['violations'], preload: false })")
    return [
        f"{one['impact']} {one['id']}: {node['target']} {node['html'][:160]} {_measured(node)}"
        for one in found["violations"]
        if one["impact"] in WORST
        for node in one["nodes"]
    ]


def _measured(node: dict[str, Any]) -> str:
    facts = [each.get("data") for each in node.get("any", []) if isinstance(each.get("data"), dict)]
    return " ".join(f"{one.get('fgColor')} on {one.get('bgColor')}: {one.get('contrastRatio')}" for one in facts)


async def overflow(page: Page) -> list[str]:
    """Return what is wider than the window, where the page can be scrolled sideways; it has some frames to settle."""
    found: list[str] = await page.evaluate(_WIDER)
    for _ in range(60):
        if not found:
            break
        await page.evaluate("() => new Promise(requestAnimationFrame)")
        found = await page.evaluate(_WIDER)
    return found


_WIDER = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  const wide = [...document.querySelectorAll('body *')].filter(
    (one) => one.getBoundingClientRect().right > width + 1 && !one.closest('.scroll-x'));
  return ['wider', ...wide.map((one) => `${one.tagName} ${one.className} ${one.textContent.slice(0, 40)}`)];
}"""


async def add_by_key(tab: Watched, name: str, key: str, url: str) -> None:
    """Add an account as a person does, on a page with the button for it."""
    await tab.page.get_by_role("button", name="Add account").first.click()
    dialog = tab.page.get_by_role("dialog", name="Add an account")
    await dialog.get_by_role("textbox", name="Name").fill(name)
    await dialog.get_by_role("textbox", name="API key").fill(key)
    await dialog.get_by_text("More", exact=True).click()
    await dialog.get_by_role("textbox", name="Address").fill(url)
    await dialog.get_by_role("button", name="Add account").click()
