"""How the dashboard is served: what a browser may keep, which coding it gets, and what is never taken for a page."""

import contextlib
import gzip
import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

import api_kit
from ccflare.api.__main__ import described
from ccflare.api.dashboard import BUILT, FOR_EVER, PAGES, SECURITY, dashboard

SOURCES = Path(__file__).resolve().parent.parent.parent / "dashboard"
INDEX = b"<!doctype html><title>ccflare</title>"
SCRIPT = b"export const answer = 42;\n" * 200


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """Return a directory as the build leaves it."""
    (tmp_path / "assets").mkdir()
    for name, content in {"index.html": INDEX, "theme.js": b"//", "assets/app-x1.js": SCRIPT}.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
        (tmp_path / f"{name}.br").write_bytes(b"as brotli: " + content)
    (tmp_path / "assets" / "text-x2.woff2").write_bytes(b"wOF2")
    (tmp_path / "built-from.txt").write_text("digest")
    return tmp_path


@contextlib.asynccontextmanager
async def browsing(built: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the directory; nothing is asked for in a coding unless a test does."""
    transport = httpx.ASGITransport(app=Starlette(routes=dashboard(built)))
    headers = {"accept-encoding": "identity"}
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
        yield client


async def test_every_page_of_the_dashboard_is_its_index_and_is_never_kept(built: Path) -> None:
    async with browsing(built) as browser:
        for path in (*(page.replace("{id}", "0198-x") for page in PAGES), "/requests?status=error"):
            answer = await browser.get(path)
            assert (answer.status_code, answer.content) == (200, INDEX), path
            assert answer.headers["cache-control"] == "no-cache"
            assert answer.headers["content-type"] == "text/html; charset=utf-8"


async def test_what_has_a_hash_in_its_name_is_kept_for_ever_and_nothing_else_is(built: Path) -> None:
    async with browsing(built) as browser:
        assert (await browser.get("/assets/app-x1.js")).headers["cache-control"] == FOR_EVER
        assert (await browser.get("/assets/text-x2.woff2")).headers["cache-control"] == FOR_EVER
        assert (await browser.get("/theme.js")).headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip", "gzip"),
        ("GZIP;q=0.5", "gzip"),
        ("br;q=0, gzip;q=1.0", "gzip"),
        ("br;q=0.0, gzip; q=0", None),
        ("*", None),
        ("", None),
    ],
)
async def test_a_browser_gets_the_best_coding_that_it_takes(built: Path, accepted: str, coding: str | None) -> None:
    async with (
        browsing(built) as browser,
        browser.stream("GET", "/assets/app-x1.js", headers={"accept-encoding": accepted}) as answer,
    ):
        raw = b"".join([piece async for piece in answer.aiter_raw()])
    assert answer.headers.get("content-encoding") == coding
    assert answer.headers["vary"] == "accept-encoding"
    assert {"br": b"as brotli: " + SCRIPT, "gzip": gzip.compress(SCRIPT), None: SCRIPT}[coding][10:] == raw[10:]


async def test_no_file_is_found_by_what_a_request_says(built: Path) -> None:
    """Neither outside the directory, nor the compressed forms and the build's own notes inside it."""
    (built.parent / "secret.js").write_text("secret")
    paths = (
        "/assets/../../secret.js",
        "/assets/%2e%2e/%2e%2e/secret.js",
        "/assets/app-x1.js.gz",
        "/assets/",
        "/built-from.txt",
        "/index.html",
        "/assets/app-x9.js",
        "/favicon.ico",
        "/unknown",
        "/requests/a/b",
    )
    async with browsing(built) as browser:
        for path in paths:
            assert (await browser.get(path)).status_code == 404, path


async def test_every_answer_says_that_nothing_foreign_is_run_loaded_framed_or_told(built: Path) -> None:
    async with browsing(built) as browser:
        for path in ("/", "/requests/x", "/assets/app-x1.js", "/theme.js"):
            headers = (await browser.get(path)).headers
            policy = headers["content-security-policy"]
            assert policy == SECURITY["content-security-policy"]
            assert "unsafe" not in policy
            assert "//" not in policy
            for directive in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"):
                assert directive in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"


async def test_a_server_without_a_dashboard_says_so_and_how_to_get_one(tmp_path: Path) -> None:
    async with browsing(tmp_path / "nothing") as browser:
        answer = await browser.get("/")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert "has not been built" in answer.text
        assert (await browser.get("/requests")).status_code == 404


async def test_programs_never_get_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths that no page owns stay JSON, and the probe of older clients costs nothing."""
    async with api_kit.running(tmp_path, monkeypatch) as api:
        for path in ("/api/unknown", "/v1x", "/assets/none.js", "/robots.txt", "/.well-known/anything", "/overview"):
            answer = await api.get(path)
            assert (answer.status_code, answer.json()) == (404, {"error": "Not Found"}), path
        probe = await api.send("HEAD", "/")
        assert (probe.status_code, probe.content) == (200, b"")
        assert (await api.get("/")).headers["content-security-policy"].startswith("default-src 'none'")


def test_the_pages_that_are_served_are_those_that_the_dashboard_has() -> None:
    routes = re.findall(r'<Route path="([^"]+)"', (SOURCES / "src" / "App.tsx").read_text())
    assert {re.sub(r":(\w+)", r"{\1}", route) for route in routes} == set(PAGES)


def test_the_types_of_the_dashboard_are_those_of_the_api() -> None:
    """`make types` makes them anew."""
    head = (SOURCES / "src" / "api" / "schema.d.ts").read_text().partition("\n")[0]
    assert hashlib.sha256(described()).hexdigest() in head, "run `make types`"


def test_the_lock_file_names_no_registry_and_has_a_hash_for_every_package() -> None:
    lock = (SOURCES / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert lock.count('"integrity"') == lock.count('"node_modules/')


@pytest.mark.skipif(not (BUILT / "index.html").is_file(), reason="the dashboard is not built here")
def test_the_first_load_stays_small() -> None:
    """Everything that the overview needs, compressed as gzip and with the typeface: at most 350 kB."""
    assets = BUILT / "assets"
    index = (BUILT / "index.html").read_text()
    needed = {*re.findall(r'/assets/([^"]+)"', index), *(each.name for each in assets.glob("Overview-*.[cj]s*"))}
    needed = {name for name in needed if name.endswith((".js", ".css"))}
    while more := {name for each in needed for name in _imported(assets / each)} - needed:
        needed |= more
    total = sum((assets / f"{name}.gz").stat().st_size for name in needed) + len(index)
    total += sum(each.stat().st_size for each in assets.glob("geist-latin-*.woff2"))
    assert 100_000 < total <= 350_000, f"{total} bytes: {sorted(needed)}"


@pytest.mark.skipif(not (BUILT / "index.html").is_file(), reason="the dashboard is not built here")
def test_every_component_has_its_style() -> None:
    """`styles/mantine.css` names the components that are used, and a new one is easily forgotten there."""

    def classes(kind: str) -> set[str]:
        files = (BUILT / "assets").glob(f"*.{kind}")
        return {found for file in files for found in re.findall(r"\bm_[0-9a-f]{6,8}\b", file.read_text())}

    assert len(classes("js")) > 50
    assert classes("js") - classes("css") == set()


def _imported(script: Path) -> list[str]:
    """Return the scripts without which this one does not run."""
    return re.findall(r'(?:from|import)"\./([\w.-]+\.js)"', script.read_text())
