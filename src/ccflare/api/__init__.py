"""HTTP for people and tools: everything that is not `/v1/`. JSON, errors as `{"error": ...}`."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ccflare.api.configuration import Configuration
from ccflare.api.dashboard import dashboard
from ccflare.api.health import Health
from ccflare.api.json import JsonResponse, encode
from ccflare.api.openapi import document
from ccflare.api.pages import pages
from ccflare.api.parts import Parts, SignIn
from ccflare.api.refusals import Refusal, refusal_of
from ccflare.api.running_view import RunningNow
from ccflare.api.streams import Streams
from ccflare.api.table import ROUTES
from ccflare.errors import CcflareError

__all__ = ["ROUTES", "Configuration", "Health", "Parts", "RunningNow", "SignIn", "Streams", "asgi"]


def asgi(parts: Parts) -> Starlette:
    """Return the ASGI application. Reads have no side effects."""
    described = encode(document(ROUTES))

    async def describe(_request: Request) -> Response:
        return JsonResponse(described)

    app = Starlette(
        routes=[
            *(route.starlette(parts) for route in ROUTES),
            Route("/api/openapi.json", describe),
            *pages(),
            Route("/", _probe, methods=["HEAD"]),
            *dashboard(),
            Route("/api/hello", _probe, methods=["GET", "HEAD"]),
        ],
        exception_handlers={CcflareError: _refuse, HTTPException: _http_error, Exception: _defect},
    )
    app.router.redirect_slashes = False
    return app


async def _probe(_request: Request) -> Response:
    """Answer a client that asks whether anybody is there."""
    return Response(status_code=200)


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
