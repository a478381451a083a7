"""The dashboard: files that the build made, served as they are.

The index is never kept by a browser, and what has a hash in its name is kept for ever. Nothing is compressed here: the
build did that. The rule: no file is found by what a request says, only by the names that are there at the start.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ccflare.api.pages import HEADERS

PAGES = ("/", "/analytics", "/requests", "/requests/{id}", "/accounts", "/keys", "/logs", "/settings")
"""Addresses that the dashboard itself makes sense of; `dashboard/src/frame/pages.ts` has them too."""

BUILT = Path(__file__).parent.parent / "dashboard"

SECURITY = HEADERS | {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
}
FOR_EVER = "public, max-age=31536000, immutable"

ABSENT = """\
ccflare is running. Its dashboard has not been built here.

From a source tree:   make run
Numbers without it:   ccflare --stats, ccflare --list, GET /api/docs
"""

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
    ".md": "text/plain; charset=utf-8",
}
_CODINGS = {"br": ".br", "gzip": ".gz"}
"""By preference."""
_REFUSED = re.compile(r"q=0(\.0*)?")


@dataclass(frozen=True, slots=True)
class _File:
    """A file of the build, and its compressed forms by their content coding."""

    path: Path
    codings: Mapping[str, Path]

    async def answer(self, request: Request) -> Response:
        """Return the file in the first coding that the browser takes."""
        accepted = _accepted(request.headers.get("accept-encoding", ""))
        coding = next((name for name in self.codings if name in accepted), None)
        path = self.path if coding is None else self.codings[coding]
        content = await asyncio.to_thread(path.read_bytes)
        response = Response(content, media_type=_KINDS[self.path.suffix], headers=SECURITY)
        if self.path.parent.name == "assets":
            response.headers["cache-control"] = FOR_EVER
        if self.codings:
            response.headers["vary"] = "accept-encoding"
        if coding is not None:
            response.headers["content-encoding"] = coding
        return response


def dashboard(built: Path = BUILT) -> list[Route]:
    """Return the routes of the dashboard as it was built; one that says that there is none where it was not."""
    files = dict(_files(built))
    index = files.pop("/index.html", None)
    if index is None:
        return [Route("/", _absent, methods=["GET"])]
    served = [*files.items(), *((path, index) for path in PAGES)]
    return [Route(path, file.answer, methods=["GET"]) for path, file in served]


def _files(built: Path) -> Iterator[tuple[str, _File]]:
    """Yield what is served, by its address."""
    for path in sorted(built.rglob("*")):
        if path.suffix in _KINDS:
            forms = {name: path.with_name(path.name + suffix) for name, suffix in _CODINGS.items()}
            codings = {name: form for name, form in forms.items() if form.is_file()}
            yield f"/{path.relative_to(built).as_posix()}", _File(path, codings)


async def _absent(_request: Request) -> Response:
    return Response(ABSENT, media_type="text/plain; charset=utf-8", headers=SECURITY)


def _accepted(field: str) -> frozenset[str]:
    """Return the content codings of an `Accept-Encoding` field (RFC 9110 §12.5.3) that it does not refuse."""
    parts = [part.partition(";") for part in field.lower().split(",")]
    return frozenset(name.strip() for name, _, weight in parts if not _REFUSED.fullmatch(weight.strip()))
