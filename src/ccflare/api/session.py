"""The dashboard's sessions: a browser is signed in with an admin key, and is known by a cookie from then on.

The cookie is random; the store has its hash. A session ends by signing out, by revoking its key, and after a week.
Pages of other sites cannot use it: it is SameSite=Strict, scripts cannot read it, and a change needs a JSON content
type and an `Origin` that is our own (see `gate`).
"""

import secrets

import msgspec

from ccflare.api.door import NEEDS_ADMIN, Caller, Forbidden, Unauthenticated
from ccflare.api.instants import Instant, iso_or_none
from ccflare.api.parts import Parts
from ccflare.api.reading import Body, NoWords
from ccflare.api.route import WithCookie
from ccflare.client_keys import NOT_VALID, digest_of
from ccflare.records import ClientKey, DashboardSession, Role, Secret

LASTS_MS = 7 * 86_400_000


class SignInKey(Body, frozen=True):
    """What a person proves themselves with."""

    key: Secret


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, as far as that is known."""

    required: bool
    """Whether anything is shown without a key."""
    key: str | None = None
    """The name of the key that was brought, or signed in with."""
    role: Role | None = None
    signed_in: bool = False
    """It was a session's cookie, not a key."""
    expires_at: Instant | None = None
    """When the session ends."""


async def show_session(parts: Parts, caller: Caller) -> SessionView:
    """Show whether a key is needed, and who asks."""
    ends_at_ms = None if caller.session is None else parts.client_keys.ends_at_ms(caller.session)
    return _view(parts, caller.key, None if caller.key is None else ends_at_ms)


async def begin_session(parts: Parts, caller: Caller, body: SignInKey) -> WithCookie[SessionView]:
    """Sign in to the dashboard with a client key of role `admin`: sets a cookie.

    Where no key is needed, nothing happens.
    """
    keys = parts.client_keys
    if not keys.required:
        return WithCookie(_view(parts, None))
    key = keys.of({b"x-api-key": body.key.reveal().encode("ascii")})
    if key is None:
        await parts.slowdown.failed(caller.address, NOT_VALID)
        raise Unauthenticated(keys.why_not({b"x-api-key": body.key.reveal().encode("ascii")}))
    if key.role != "admin":
        raise Forbidden(NEEDS_ADMIN)
    cookie = await new_session(parts, caller, key)
    return WithCookie(_view(parts, key, parts.now_ms() + LASTS_MS), cookie)


async def end_session(parts: Parts, caller: Caller, body: NoWords) -> WithCookie[SessionView]:
    """Sign out: the cookie is worth nothing from then on."""
    digest = caller.session
    if digest is not None:
        await parts.changes.ask(lambda store: store.client_keys.end_session(digest))
        parts.client_keys.forget_session(digest)
        parts.colleagues.publish("look", b"")
    return WithCookie(_view(parts, None), f"{caller.cookie}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict")


async def new_session(parts: Parts, caller: Caller, key: ClientKey) -> str:
    """Begin a session with a key; return what makes the browser keep it."""
    cookie, now_ms = Secret(secrets.token_urlsafe(32)), parts.now_ms()
    digest, session = digest_of(cookie), DashboardSession(key.id, now_ms + LASTS_MS)
    await parts.changes.ask(lambda store: store.client_keys.begin_session(digest, session, now_ms))
    parts.client_keys.note_session(digest, session)
    secure = "; Secure" if caller.secure else ""
    return f"{caller.cookie}={cookie.reveal()}; Path=/; Max-Age={LASTS_MS // 1000}; HttpOnly; SameSite=Strict{secure}"


def _view(parts: Parts, key: ClientKey | None, ends_at_ms: int | None = None) -> SessionView:
    """Return who asks; `ends_at_ms` is that of their session, None when they are not signed in."""
    return SessionView(
        required=parts.client_keys.required,
        key=None if key is None else key.name,
        role=None if key is None else key.role,
        signed_in=ends_at_ms is not None,
        expires_at=iso_or_none(ends_at_ms),
    )
