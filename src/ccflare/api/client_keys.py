"""Client keys: who may use the proxy, and who the API and the dashboard.

A change is in force for the very next request here, and within a second in other processes.
"""

import random
from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import Meta

from ccflare.api.accounts import Name, Removed
from ccflare.api.door import Caller
from ccflare.api.instants import Instant, iso, iso_or_none
from ccflare.api.parts import Parts
from ccflare.api.reading import Body
from ccflare.api.refusals import InvalidRequest
from ccflare.api.route import WithCookie
from ccflare.api.session import new_session
from ccflare.client_keys import digest_of, new_key
from ccflare.errors import Conflict, NotFound
from ccflare.records import Admission, ClientKey, Role, check_key_name, new_id
from ccflare.store import Store
from ccflare.store.rollups import used_by_key
from ccflare.store.sums import Sums


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A client key; the key itself is never shown again."""

    id: str
    name: str
    role: Annotated[Role, Meta(description="`proxy`: may call /v1/; `admin`: also the API and the dashboard.")]
    store_payloads: Annotated[bool, Meta(description="Whether what is said with it is kept.")]
    created_at: Instant
    revoked_at: Annotated[Instant | None, Meta(description="Since when it lets nobody in.")]
    last_used: Instant | None
    requests: Annotated[int, Meta(description="Since the history was cleared last.")]
    cost_usd: Annotated[float | None, Meta(description="Of the requests whose cost is known.")]
    cost_microusd: int | None


class KeyMade(msgspec.Struct, frozen=True, kw_only=True):
    """A new client key, and for this once the key itself."""

    key: Annotated[str, Meta(description="Shown now and never again: only its hash is kept.")]
    made: KeyView


class NewClientKey(Body, frozen=True):
    """A key that is wanted."""

    name: Name
    role: Role = "proxy"
    store_payloads: bool = True


class OneKey(msgspec.Struct, frozen=True):
    """Which key."""

    id: Annotated[str, Meta(description="The key's id, not its name.")]


class KeyConfirmation(Body, frozen=True):
    """The name of what is to be revoked, so that nothing is revoked by mistake."""

    confirm: Annotated[str, Meta(max_length=200, description="The key's name.")]


async def list_keys(parts: Parts) -> list[KeyView]:
    """List the client keys, revoked ones too, with what was done with them."""

    def ask(store: Store) -> list[KeyView]:
        with store.snapshot():
            sums = used_by_key(store.rollups)
            return [_view(key, sums.get(key.id)) for key in store.client_keys.all()]

    return await parts.desk.ask(ask)


async def create_key(parts: Parts, caller: Caller, body: NewClientKey) -> WithCookie[KeyMade]:
    """Make a client key. It is shown in this answer and never again.

    From the first key on every request needs one. The first is of role `admin`, and signs the browser in that
    makes it: else nobody could get at the dashboard any more.
    """
    keys, now_ms, secret = parts.client_keys, parts.now_ms(), new_key()
    if body.role != "admin" and not keys.has_admin():
        raise Conflict("the first key is of role admin: without one nobody could use the dashboard or the API")
    key = ClientKey(
        id=new_id(now_ms, random.SystemRandom()),
        name=_checked_name(body.name),
        role=body.role,
        store_payloads=body.store_payloads,
        created_at_ms=now_ms,
    )
    was_open = not keys.required
    await _change(parts, lambda store: store.client_keys.add(key, digest_of(secret)))
    cookie = await new_session(parts, caller, key) if was_open else None
    return WithCookie(KeyMade(key=secret.reveal(), made=_view(key, None)), cookie)


async def revoke_key(parts: Parts, asked: OneKey, body: KeyConfirmation) -> Removed:
    """Revoke a client key: it lets nobody in any more, and who is signed in with it is signed out.

    The body repeats the key's name. Its requests keep the name.
    """
    found: list[ClientKey] = []

    def revoke(store: Store) -> None:
        key = next((each for each in store.client_keys.all() if each.id == asked.id), None)
        if key is None or key.revoked_at_ms is not None:
            raise NotFound("there is no key in force with this id")
        if key.name != body.confirm:
            raise Conflict("`confirm` is not the key's name; nothing was revoked")
        store.client_keys.revoke(key.id, parts.now_ms())
        found.append(key)

    await _change(parts, revoke)
    return Removed(found[0].id, found[0].name)


async def _change(parts: Parts, change: Callable[[Store], None]) -> None:
    """Change the keys in the store and go by them from now on."""

    def ask(store: Store) -> Admission:
        change(store)
        return store.client_keys.admission()

    parts.client_keys.load(await parts.changes.ask(ask))
    parts.colleagues.publish("look", b"")


def _checked_name(name: str) -> str:
    try:
        return check_key_name(name)
    except ValueError as error:
        raise InvalidRequest("name", str(error)) from None


def _view(key: ClientKey, sums: Sums | None) -> KeyView:
    cost = None if sums is None else sums.cost_microusd
    return KeyView(
        id=key.id,
        name=key.name,
        role=key.role,
        store_payloads=key.store_payloads,
        created_at=iso(key.created_at_ms),
        revoked_at=iso_or_none(key.revoked_at_ms),
        last_used=iso_or_none(key.last_used_ms),
        requests=0 if sums is None else sums.requests,
        cost_usd=None if cost is None else cost / 1_000_000,
        cost_microusd=cost,
    )
