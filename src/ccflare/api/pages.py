"""The documentation that people read in a browser: our own files, and no request that leaves the machine."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}

_FILES = Path(__file__).parent / "docs"
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}


def pages() -> list[Route]:
    """Return the routes of the documentation."""
    return [
        _page("/api/docs", "page.html"),
        _page("/api/docs/page.css", "page.css"),
        _page("/api/docs/page.js", "page.js"),
    ]


def probes() -> list[Route]:
    """Return the routes by which clients find out whether anybody is there."""
    return [
        Route("/", _probe, methods=["HEAD"]),
        Route("/api/hello", _probe, methods=["GET", "HEAD"]),
    ]


async def _probe(_request: Request) -> Response:
    return Response(status_code=200)


def _page(path: str, name: str) -> Route:
    content = (_FILES / name).read_bytes()

    async def endpoint(_request: Request) -> Response:
        return Response(content, media_type=_KINDS[Path(name).suffix], headers=HEADERS)

    return Route(path, endpoint)
