"""Makes the pictures of the README from the sample data: `make pictures`. What they show is the real server's."""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from playwright.async_api import Browser, async_playwright

from browser_kit import chromium, launch, opened
from harness import ROOT, Home, Server, Upstream, eventually, running
from sample_history import simulated, write_history
from sample_traffic import talk

FOLDER = ROOT / "docs" / "pictures"
LARGEST_BYTES = 200_000
PACE_S = 0.06
"""Between the events of a stream, so that times look as they do."""


def main() -> int:
    """Make all of them; returns the exit status."""
    path = chromium()
    if path is None:
        print("There is no Chromium: apt-get install chromium", file=sys.stderr)  # noqa: T201  # a command's talk
        return 1
    upstream = Upstream()
    upstream.do(lambda: upstream.server.world.add(simulated()))
    upstream.server.settings.pace = PACE_S
    try:
        with tempfile.TemporaryDirectory(prefix="ccflare-pictures-") as directory:
            home = Home(Path(directory))
            write_history(home, upstream, int(time.time() * 1000))
            with running(home) as server:
                before = len(home.rows())
                talk(server.port, upstream)
                eventually(lambda: len(home.rows()) >= before + 6, what="the sample traffic is written")
                asyncio.run(_make(server, path))
    finally:
        upstream.close()
    return 0


async def _make(server: Server, path: str) -> None:
    request = server.home.rows()[-1]["id"]
    FOLDER.mkdir(exist_ok=True)
    async with async_playwright() as playwright:
        browser = await launch(playwright, path)
        await _take(browser, server, "/", "overview")
        await _take(browser, server, f"/requests/{request}", "conversation")
        await _take(browser, server, "/analytics?range=7d", "analytics")
        await browser.close()


async def _take(browser: Browser, server: Server, address: str, name: str) -> None:
    """Take a picture of a page when everything on it is drawn."""
    async with opened(browser, server.url) as tab:
        await tab.go(address)
        await tab.page.evaluate("document.fonts.ready.then(() => null)")
        file = FOLDER / f"{name}.png"
        await tab.page.screenshot(path=file)
        size = file.stat().st_size
        assert size < LARGEST_BYTES, f"{name}: {size} bytes"


if __name__ == "__main__":
    raise SystemExit(main())
