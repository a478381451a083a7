"""HTTP for people and tools: everything that is not `/v1/`. JSON, errors as `{"error": ...}`."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from ccflare.api.configuration import Configuration
from ccflare.api.door import Access, admit
from ccflare.api.health import Health, told
from ccflare.api.json import JsonResponse, encode
from ccflare.api.openapi import document
from ccflare.api.parts import Parts, SignIn
from ccflare.api.readiness import Readiness
from ccflare.api.refusals import Refusal, refusal_of
from ccflare.api.running_view import RunningNow
from ccflare.api.streams import Streams
from ccflare.api.table import PAGES, ROUTES
from ccflare.api.upkeep import tell_metrics
from ccflare.errors import CcflareError

__all__ = [
    "PAGES", "ROUTES", "Configuration", "Health", "Parts", "Readiness", "RunningNow", "SignIn", "Streams", "asgi",
    "owns",
]  # fmt: skip


def asgi(parts: Parts) -> Starlette:
    """Return the ASGI application. Reads have no side effects."""
    described = encode(document(ROUTES))
    parts.colleagues.answer("running", parts.running.answer)
    parts.colleagues.answer("metrics", lambda _question: tell_metrics(parts))
    parts.colleagues.answer("health", lambda _question: told(parts.read_health()))

    async def describe(_request: Request) -> Response:
        return JsonResponse(described)

    routes = [route.starlette(parts) for route in ROUTES]
    for each in PAGES:
        routes += [_for(parts, each.access, route) for route in each.routes()]
    app = Starlette(
        routes=[_for(parts, "anyone", Route("/api/openapi.json", describe)), *routes],
        exception_handlers={CcflareError: _refuse, HTTPException: _http_error, Exception: _defect},
    )
    app.router.redirect_slashes = False
    return app


def owns(app: Starlette, method: str, path: str) -> bool:
    """Say whether a route of the application has this method and this path."""
    scope = {"type": "http", "method": method, "path": path, "root_path": ""}
    return any(route.matches(scope)[0] is Match.FULL for route in app.routes)


def _for(parts: Parts, access: Access, route: Route) -> Route:
    """Return a page's route for those only who may have it."""
    answer = route.endpoint

    async def endpoint(request: Request) -> Response:
        await admit(parts, access, request)
        found: Response = await answer(request)
        return found

    return Route(route.path, endpoint, methods=list(route.methods or ()))


async def _refuse(_request: Request, error: Exception) -> Response:
    if not isinstance(error, CcflareError):
        raise error
    return refusal_of(error)


async def _http_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 405:  # a method that no route owns
        return JsonResponse(Refusal("Not Found"), status_code=404)
    return JsonResponse(Refusal(error.detail), status_code=error.status_code, headers=dict(error.headers or {}))


async def _defect(_request: Request, _error: Exception) -> Response:
    return JsonResponse(Refusal("Internal error"), status_code=500)
