"""One row of the route table, and everything that follows from it.

A route's function is its documentation: the parameters it takes (`asked`), the body it takes, what it returns
and what its docstring says make the Starlette route, the validation and the OpenAPI operation.
"""

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Generic, NamedTuple, TypeVar, get_origin, get_type_hints

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute

from ccflare.api.door import Access, admit, may_stay
from ccflare.api.json import UNKEPT, JsonResponse, encode
from ccflare.api.parts import Parts
from ccflare.api.reading import names_of, read_body, read_parameters
from ccflare.api.streams import EventStream, Stream

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WithCookie(Generic[T]):
    """An answer that makes the browser keep a cookie, or forget it; None: neither."""

    answer: T
    cookie: str | None = None


class NoParameters(msgspec.Struct, frozen=True):
    """A route without parameters."""


class Text(NamedTuple):
    """An answer that is no JSON."""

    content: bytes
    media_type: str


@dataclass(frozen=True)
class Route:
    """A method and a path, and the function that answers: `function(parts, caller=..., asked=..., body=...)`.

    A function that takes `accept` is told which media types the caller wants, and answers with a `Text`.
    """

    method: str
    path: str
    access: Access
    """Who may use it."""
    function: Callable[..., Awaitable[Any]]
    status: int = 200
    """Of an answer that is no refusal."""
    refusals: tuple[int, ...] = ()
    """Statuses the function may refuse with, besides what any route may."""
    large: bool = False
    """The answer is encoded in a thread, so that the event loop is not held."""
    status_if_not: int | None = None
    """Of an answer that is false: it says that something is not so, and is no refusal."""
    media_types: tuple[str, ...] = ("application/json",)
    """Of the answer."""

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return get_type_hints(self.function, include_extras=True)

    @property
    def parameters(self) -> type[msgspec.Struct]:
        """The struct of what path and query say."""
        found: type[msgspec.Struct] = self._hints.get("asked", NoParameters)
        return found

    @property
    def body(self) -> type[msgspec.Struct] | None:
        """The struct of the body."""
        return self._hints.get("body")

    @property
    def answer(self) -> Any:
        """The type of the answer, or of a stream's events."""
        found = self._hints["return"]
        if found is Text:
            return str
        return found.__args__[0] if get_origin(found) in {Stream, WithCookie} else found

    @property
    def streams(self) -> bool:
        """Whether the answer is a stream of events."""
        return get_origin(self._hints["return"]) is Stream

    @property
    def description(self) -> str:
        """The docstring."""
        return inspect.getdoc(self.function) or ""

    @property
    def tag(self) -> str:
        """The group it belongs to: the second part of the path, `accounts` or `logs`."""
        return self.path.removeprefix("/api").split("/")[1]

    @property
    def path_names(self) -> frozenset[str]:
        """The parameters that are in the path."""
        return frozenset(re.findall(r"\{(\w+)\}", self.path))

    def starlette(self, parts: Parts) -> StarletteRoute:
        """Return the route that answers."""

        async def endpoint(request: Request) -> Response:
            return await self._answer(parts, request)

        return StarletteRoute(self.path, endpoint, methods=[self.method])

    async def _answer(self, parts: Parts, request: Request) -> Response:
        caller = await admit(parts, self.access, request)
        given: dict[str, Any] = {"caller": caller} if "caller" in self._hints else {}
        parameters = read_parameters(self.parameters, request.scope["query_string"], request.path_params)
        if names_of(self.parameters):
            given["asked"] = parameters
        if self.body is not None:
            given["body"] = read_body(self.body, await request.body())
        if "accept" in self._hints:
            given["accept"] = request.headers.get("accept", "")
        if self.streams:
            allowed = partial(may_stay, parts, self.access, caller)
            return EventStream(parts.streams, request, await self.function(parts, **given), allowed)
        found = await self.function(parts, **given)
        if isinstance(found, Text):
            return Response(found.content, self.status, UNKEPT, found.media_type)
        headers = {}
        if isinstance(found, WithCookie):
            headers = {"set-cookie": found.cookie} if found.cookie else {}
            found = found.answer
        status = self.status if self.status_if_not is None or found else self.status_if_not
        if self.large:
            found = await asyncio.to_thread(encode, found)
        return JsonResponse(found, status, headers)
