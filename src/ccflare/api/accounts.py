"""The accounts: how they stand, and what an operator may do with them.

A change is in force for the very next request: with the change the desk reads the accounts again, and routing takes
them over before the answer leaves.
"""

import random
from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import Meta

from ccflare.addresses import OTHER_PROTOCOLS, read_url
from ccflare.api.account_view import AccountView, account_views
from ccflare.api.parts import Parts
from ccflare.api.reading import CONTROLS, Body, NoWords
from ccflare.api.refusals import InvalidRequest
from ccflare.errors import Conflict, NotFound
from ccflare.records import Account, Credentials, Secret, check_account_name, new_id
from ccflare.settings.kinds import UpstreamUrl
from ccflare.store import AccountChange, Store, resumed

AccountId = Annotated[str, Meta(description="The account's id, not its name.")]
Name = Annotated[
    str,
    Meta(
        description="Unique; 1 to 100 letters, digits, spaces or -_@.+ without spaces at its ends.",
        extra_json_schema={"pattern": "^[A-Za-z0-9_@.+-]([A-Za-z0-9 _@.+-]{0,98}[A-Za-z0-9_@.+-])?$"},
    ),
]
Priority = Annotated[int, Meta(ge=-1_000_000, le=1_000_000, description="Lower is used first.")]
Tier = Annotated[int, Meta(ge=1, le=1_000_000, description="The size of the plan, for your information.")]
Text = Annotated[str, Meta(max_length=500, pattern=f"^[^{CONTROLS}]*$", description="Shown with the account.")]
_HOST = "([A-Za-z0-9][A-Za-z0-9-]{0,29}\\.){1,5}[A-Za-z][A-Za-z0-9]{0,29}"
BaseUrl = Annotated[
    str,
    Meta(
        description=f"{UpstreamUrl().allowed}; null: the provider's own. Addresses of this machine, of private "
        "networks and with http are refused unless the setting `private_upstreams` is `all`.",
        extra_json_schema={
            "pattern": f"^https://{_HOST}(:[1-9][0-9]{{0,3}})?(/[A-Za-z0-9._~-]*)*$",
            "not": {"pattern": f":({'|'.join(map(str, sorted(OTHER_PROTOCOLS)))})(/|$)"},
        },
    ),
]


class NewAccount(Body, frozen=True):
    """An account that proves itself with an API key."""

    name: Name
    api_key: Secret
    base_url: BaseUrl | None = None
    priority: Priority = 0
    tier: Tier = 1


class OneAccount(msgspec.Struct, frozen=True):
    """Which account."""

    id: AccountId


class Pause(Body, frozen=True):
    """Why an account is paused."""

    reason: Text | None = None


class Rename(Body, frozen=True):
    """The new name."""

    name: Name


class NewPriority(Body, frozen=True):
    """The new priority."""

    priority: Priority


class Confirmation(Body, frozen=True):
    """The name of what is to be removed, so that nothing is removed by mistake."""

    confirm: Annotated[str, Meta(max_length=200, description="The account's name.")]


class Removed(msgspec.Struct, frozen=True):
    """The account that is gone."""

    id: str
    name: str


async def list_accounts(parts: Parts) -> list[AccountView]:
    """List the accounts and how they stand.

    `state` and `reason` are what routing goes by at this moment.
    """
    accounts = await parts.desk.ask(lambda store: store.accounts())
    return account_views(parts, accounts)


async def add_account(parts: Parts, body: NewAccount) -> AccountView:
    """Add an account by its API key.

    The key is stored and never shown again.
    """
    now_ms = parts.now_ms()
    account = Account(
        id=new_id(now_ms, random.SystemRandom()),
        name=_checked_name(body.name),
        base_url=await checked_address(parts, body.base_url),
        priority=body.priority,
        tier=body.tier,
        created_at_ms=now_ms,
    )
    credentials = Credentials(account.id, api_key=body.api_key)
    return await _change(parts, account.id, lambda store: store.add_account(account, credentials))


async def pause_account(parts: Parts, asked: OneAccount, body: Pause) -> AccountView:
    """Give an account no new requests until it is resumed."""
    change = AccountChange(paused=True, paused_by="api", paused_reason=body.reason, paused_at_ms=parts.now_ms())
    return await _change(parts, asked.id, lambda store: store.update_account(asked.id, change))


async def resume_account(parts: Parts, asked: OneAccount, body: NoWords) -> AccountView:
    """Use an account again.

    Also one whose credential was refused, that waits for a limit to pass, or that is not asked for some model at the
    moment: it is tried again.
    """
    change = resumed(parts.now_ms())
    return await _change(parts, asked.id, lambda store: store.update_account(asked.id, change))


async def rename_account(parts: Parts, asked: OneAccount, body: Rename) -> AccountView:
    """Give an account another name; its history stays with it."""
    change = AccountChange(name=_checked_name(body.name))
    return await _change(parts, asked.id, lambda store: store.update_account(asked.id, change))


async def set_priority(parts: Parts, asked: OneAccount, body: NewPriority) -> AccountView:
    """Say when an account is used: lower numbers first."""
    change = AccountChange(priority=body.priority)
    return await _change(parts, asked.id, lambda store: store.update_account(asked.id, change))


async def remove_account(parts: Parts, asked: OneAccount, body: Confirmation) -> Removed:
    """Remove an account and its credential; its requests stay in the history.

    The body repeats the account's name.
    """
    removed: list[Account] = []

    def remove(store: Store) -> None:
        account = _one(store.accounts(), asked.id)
        if account.name != body.confirm:
            raise Conflict("`confirm` is not the account's name; nothing was removed")
        store.remove_account(account.id)
        removed.append(account)

    await take_over(parts, remove)
    return Removed(removed[0].id, removed[0].name)


async def _change(parts: Parts, account_id: str, change: Callable[[Store], None]) -> AccountView:
    """Change an account and return how it stands then."""
    return show_account(parts, await take_over(parts, change), account_id)


def show_account(parts: Parts, accounts: list[Account], account_id: str) -> AccountView:
    """Show one of the accounts of the store. Raises NotFound."""
    return account_views(parts, [_one(accounts, account_id)])[0]


async def take_over(parts: Parts, change: Callable[[Store], None] = lambda _store: None) -> list[Account]:
    """Change the accounts in the store and have routing take them over. Returns all of them."""

    def ask(store: Store) -> tuple[list[Account], dict[str, Credentials]]:
        change(store)
        return store.accounts(), store.credentials()

    accounts, credentials = await parts.changes.ask(ask)
    parts.load(accounts, credentials)
    return accounts


def _one(accounts: list[Account], account_id: str) -> Account:
    for account in accounts:
        if account.id == account_id:
            return account
    raise NotFound("there is no account with this id")


def _checked_name(name: str) -> str:
    try:
        return check_account_name(name)
    except ValueError as error:
        raise InvalidRequest("name", str(error)) from None


async def checked_address(parts: Parts, url: str | None, field: str = "base_url") -> str | None:
    """Return an address that may be connected. Raises InvalidRequest.

    Who calls may sit at another machine, so this one's own addresses are not theirs to name.
    """
    if url is None:
        return None
    try:
        place = read_url(url)
    except ValueError:
        raise InvalidRequest(field, f"is not {UpstreamUrl().allowed}") from None
    if reason := await parts.judge_address(place):
        raise InvalidRequest(field, f"may not be connected: {reason}")
    return url
