"""HTTP for people and tools: everything that is not `/v1/`. JSON, errors as `{"error": ...}`."""

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ccflare.api.health import Health, health
from ccflare.api.json import JsonResponse

__all__ = ["Health", "asgi"]


def asgi(read_health: Callable[[], Health]) -> Starlette:
    """Return the ASGI application. Reads have no side effects."""

    async def get_health(_request: Request) -> Response:
        return JsonResponse(health(read_health()))

    app = Starlette(
        routes=[
            Route("/health", get_health),
            Route("/", _root, methods=["GET", "HEAD"]),
            Route("/api/hello", _probe, methods=["GET", "HEAD"]),
        ],
        exception_handlers={HTTPException: _http_error, Exception: _defect},
    )
    app.router.redirect_slashes = False
    return app


async def _probe(_request: Request) -> Response:
    """Answer a client that asks whether anybody is there."""
    return Response(status_code=200)


async def _root(request: Request) -> Response:
    """Answer the probe of older clients; there is no page here yet."""
    return await _probe(request) if request.method == "HEAD" else JsonResponse({"error": "Not Found"}, status_code=404)


async def _http_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 405:  # a method that no route owns
        return JsonResponse({"error": "Not Found"}, status_code=404)
    return JsonResponse({"error": error.detail}, status_code=error.status_code, headers=dict(error.headers or {}))


async def _defect(_request: Request, _error: Exception) -> Response:
    return JsonResponse({"error": "Internal error"}, status_code=500)
