"""Everything that is not proxied: an ASGI application answers a `ClientRequest`.

The application gets its body whole and small, its task is cancelled when the client goes away (it never has to ask),
and encoded dots or slashes in a path stay as they are, so that they cannot make up a route.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import unquote

from ccflare import answers
from ccflare.ingress.request import ClientRequest
from ccflare.wire import lines_of

Message: TypeAlias = MutableMapping[str, Any]
AsgiApp: TypeAlias = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]

MAX_BODY_BYTES = 1024 * 1024
"""Longer bodies of calls to ourselves: 413."""

_STRUCTURE = re.compile(rb"%(2e|2f|5c)", re.IGNORECASE)
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})


async def serve_asgi(app: AsgiApp, request: ClientRequest) -> None:
    """Have the application answer a request."""
    body = await request.read_body(MAX_BODY_BYTES)
    if body is None:
        answers.refuse(request, 413, f"The body of this call is limited to {MAX_BODY_BYTES} bytes")
        return
    call = _Call(request, bytes(body))
    await app(_scope(request), call.receive, call.send)


def _scope(request: ClientRequest) -> MutableMapping[str, Any]:
    raw_path, _, query = request.target.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": request.http_version,
        "method": request.method.decode("ascii"),
        "scheme": "http",
        "path": path_of(raw_path),
        "raw_path": raw_path,
        "query_string": query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers],
        "client": (request.client, 0),
        "server": None,
        "state": {},
    }


def path_of(raw_path: bytes) -> str:
    """Return the path that the application routes by."""
    path = raw_path.decode("ascii")
    return path if "%" not in path or _STRUCTURE.search(raw_path) else unquote(path)


class _Call:
    """The two ends that the application holds."""

    def __init__(self, request: ClientRequest, body: bytes) -> None:
        self._request = request
        self._body: bytes | None = body
        self._drained = asyncio.Event()

    async def receive(self) -> Message:
        """Return the body; after that there is nothing to hear, because who leaves cancels the task."""
        if self._body is None:
            await asyncio.get_running_loop().create_future()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        """Pass on the answer's head or a part of its body; waits while the client reads slowly."""
        request = self._request
        if message["type"] == "http.response.start":
            self._start(message["status"], message.get("headers", ()))
            asyncio.get_running_loop().call_soon(request.flush)  # the body's first bytes may come in the same turn
            return
        can_take_more = request.write(message.get("body", b""))
        if not message.get("more_body", False):
            request.finish()
        elif not can_take_more:
            self._drained.clear()
            request.on_drain(self._drained.set)
            await self._drained.wait()

    def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        length: int | None = None
        kept: list[tuple[bytes, bytes]] = []
        for name, value in headers:
            if name == b"content-length":
                length = int(value)
            if name not in _FRAMING:
                kept.append((name, value))
        self._request.start(status, b"", lines_of(kept), length)
