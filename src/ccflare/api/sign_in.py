"""Accounts that are signed in to with OAuth: the person allows it in a browser and pastes the code it shows."""

from typing import Annotated

import msgspec
from msgspec import Meta

from ccflare import sign_in
from ccflare.api.account_view import AccountView
from ccflare.api.accounts import (
    BaseUrl,
    Name,
    OneAccount,
    Priority,
    Tier,
    checked_address,
    show_account,
    take_over,
)
from ccflare.api.instants import Instant, iso
from ccflare.api.parts import Parts
from ccflare.api.reading import Body, NoWords
from ccflare.oauth import Mode


class SignInWanted(Body, frozen=True):
    """A new account."""

    name: Name
    mode: Annotated[Mode, Meta(description="`max`: a subscription; `console`: an API key is made.")] = "max"
    base_url: BaseUrl | None = None
    priority: Priority = 0
    tier: Tier = 1


class SignInBegun(msgspec.Struct, frozen=True):
    """A sign-in that waits for its code."""

    auth_url: Annotated[str, Meta(description="Where the person goes.")]
    flow_id: str
    expires_at: Instant


class PastedCode(Body, frozen=True):
    """What the browser showed."""

    code: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=4096,
            description="The complete `code#state`.",
            extra_json_schema={"pattern": "^[A-Za-z0-9_-]{1,99}#[A-Za-z0-9_-]{43}$"},
        ),
    ]
    flow_id: Annotated[str, Meta(max_length=200, description="Which sign-in; the state says it too.")] | None = None


async def begin_sign_in(parts: Parts, body: SignInWanted) -> SignInBegun:
    """Begin to add an account by signing in with OAuth.

    Only accounts you own, under your provider's terms. Needs an OAuth client of your own (`client_id`).
    """
    wanted = sign_in.NewAccount(
        name=body.name,
        mode=body.mode,
        base_url=await checked_address(parts, body.base_url),
        priority=body.priority,
        tier=body.tier,
    )
    return _begun(await parts.sign_in.init(wanted))


async def begin_sign_in_again(parts: Parts, asked: OneAccount, body: NoWords) -> SignInBegun:
    """Begin to sign in again to an account: it keeps its id, history, priority and sessions."""
    return _begun(await parts.sign_in.init_again(asked.id))


async def complete_sign_in(parts: Parts, body: PastedCode) -> AccountView:
    """Complete a sign-in with the code that the browser showed. The account serves the very next request."""
    account = await parts.sign_in.complete(body.flow_id, body.code)
    return show_account(parts, await take_over(parts), account.id)


def _begun(begun: sign_in.Begun) -> SignInBegun:
    return SignInBegun(begun.auth_url, begun.flow_id, iso(begun.expires_at_ms))
