"""Who asks, and whether a route is theirs.

Programs bring a client key as `x-api-key` or `authorization: Bearer`; a browser brings the cookie of its session,
which was begun with an admin key. While nobody needs a key, nobody is asked for one.
"""

from typing import Literal

import msgspec
from starlette.requests import Request

from ccflare.api.parts import Parts
from ccflare.client_keys import NONE_BROUGHT, digest_of
from ccflare.errors import RequestError
from ccflare.records import SESSION_COOKIE, ClientKey, Secret

Access = Literal["anyone", "proxy", "admin"]
"""Who may use a route: everybody; whoever has a client key; whoever has one of role `admin`."""

NEEDS_ADMIN = "this needs a client key of role admin"
SESSION_ENDED = "this session has ended; sign in again"
COOKIE_LENGTH = 43


class Unauthenticated(RequestError):
    """Nobody can tell who asks."""

    status = 401
    kind = "unauthenticated"


class Forbidden(RequestError):
    """It is known who asks, and it is not theirs."""

    status = 403
    kind = "forbidden"


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks."""

    key: ClientKey | None = None
    """None: nobody in particular."""
    session: bytes | None = None
    """The dashboard's session by its digest, when that is how they are known."""
    address: str = ""
    cookie: str = SESSION_COOKIE
    """The name of the session's cookie here."""
    secure: bool = False
    """The browser came by https."""


async def admit(parts: Parts, access: Access, request: Request) -> Caller:
    """Return who asks. Raises Unauthenticated or Forbidden when a route is not theirs."""
    fields = _fields(request)
    caller = Caller(
        address=request.client.host if request.client else "",
        cookie=_cookie_name(request.headers.get("host", "")),
        secure=request.headers.get("origin", "").startswith("https://"),
    )
    keys = parts.client_keys
    key, session = keys.of(fields), None
    if key is None and (cookie := request.cookies.get(caller.cookie)) is not None:
        session, key = await _signed_in(parts, cookie)
    if key is not None:
        keys.note_use(key, parts.now_ms())
        caller = msgspec.structs.replace(caller, key=key, session=session)
    if access == "anyone" or not keys.required:
        return caller
    if key is None:
        why = keys.why_not(fields)
        if why == NONE_BROUGHT and session is not None:
            why = SESSION_ENDED
        if why != NONE_BROUGHT:
            await parts.slowdown.failed(caller.address, why)
        raise Unauthenticated(why)
    if access == "admin" and key.role != "admin":
        raise Forbidden(NEEDS_ADMIN)
    return caller


def may_stay(parts: Parts, access: Access, caller: Caller) -> bool:
    """Say whether somebody who was admitted still would be: for what lasts."""
    keys = parts.client_keys
    if access == "anyone" or not keys.required:
        return True
    if caller.session is not None:
        key = keys.signed_in(caller.session, parts.now_ms())
    else:
        key = keys.in_force(caller.key.id) if caller.key is not None else None
    return key is not None and (access == "proxy" or key.role == "admin")


async def _signed_in(parts: Parts, cookie: str) -> tuple[bytes | None, ClientKey | None]:
    """Return a session's digest and its key; one that another process has begun a moment ago is in the store."""
    if len(cookie) != COOKIE_LENGTH or not cookie.isascii() or not cookie.replace("-", "").replace("_", "").isalnum():
        return None, None
    keys, digest, now_ms = parts.client_keys, digest_of(Secret(cookie)), parts.now_ms()
    key = keys.signed_in(digest, now_ms)
    if key is None and keys.required:
        session = await parts.desk.ask(lambda store: store.client_keys.session(digest))
        if session is not None and session.expires_at_ms > now_ms:
            keys.note_session(digest, session)
            key = keys.signed_in(digest, now_ms)
    return digest, key


def _cookie_name(host: str) -> str:
    """Return the name of the cookie: browsers do not tell the ports of a host apart, and several servers may run."""
    port = host.rpartition(":")[2]
    return f"{SESSION_COOKIE}_{port}" if port.isascii() and port.isdigit() and len(port) <= 5 else SESSION_COOKIE


def _fields(request: Request) -> dict[bytes, bytes]:
    return {name.lower(): value.strip() for name, value in request.scope["headers"]}
