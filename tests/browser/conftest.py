"""What browser tests share: one Chromium and one server with the sample history for all of them in a process.

Their event loop is the session's: the browser lives in it. Tests that change accounts, settings or the server itself
have a home of their own (`own_server`).
"""

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from browser_kit import Watched, chromium, launch, opened
from harness import Home, Server, Upstream, eventually, running
from sample_history import simulated, write_history
from sample_traffic import talk
from sign_in_kit import sign_in_settings

BUILT = Path(__file__).resolve().parents[2] / "src" / "ccflare" / "dashboard" / "index.html"


@pytest.fixture(scope="session", autouse=True)
def _what_is_needed() -> None:
    if chromium() is None:
        pytest.skip("there is no Chromium")
    if not BUILT.is_file():
        pytest.skip("the dashboard has not been built: make dashboard")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """The system's Chromium."""
    async with async_playwright() as playwright:
        browser = await launch(playwright, chromium() or "")
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    """An upstream with the accounts of the sample."""
    upstream = Upstream()
    upstream.do(lambda: upstream.server.world.add(simulated()))
    upstream.server.settings.pace = 0.002
    yield upstream
    upstream.close()


@pytest.fixture(scope="session")
def shared_server(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the sample history and the sample traffic. Tests only look at it."""
    home = Home(tmp_path_factory.mktemp("shared"), sign_in_settings(upstream))
    write_history(home, upstream, int(time.time() * 1000))
    with running(home) as server:
        before = len(home.rows())
        talk(server.port, upstream)
        eventually(lambda: len(home.rows()) >= before + 6, what="the sample traffic is written")
        yield server


@pytest.fixture
def own_home(upstream: Upstream, tmp_path: Path) -> Home:
    """An empty installation whose provider is the upstream."""
    upstream.forget()
    return Home(tmp_path, sign_in_settings(upstream) | {"CCFLARE_PRIVATE_UPSTREAMS": "all"})


@pytest.fixture
def own_server(own_home: Home) -> Iterator[Server]:
    """A server that a test may change as it likes."""
    with running(own_home) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def tab(browser: Browser, shared_server: Server) -> AsyncIterator[Watched]:
    """A tab of a wide window on the shared server."""
    async with opened(browser, shared_server.url) as tab:
        yield tab


@pytest_asyncio.fixture(loop_scope="session")
async def own_tab(browser: Browser, own_server: Server) -> AsyncIterator[Watched]:
    """A tab of a wide window on the test's own server."""
    async with opened(browser, own_server.url) as tab:
        yield tab
