"""One session, one account, whichever workers its requests land on: they agree before the first attempt.

Only what nobody serves yet is to be agreed on, once per session, and again when an account has failed; and only where
there are several workers. Who gets no answer in time goes on alone: a session that is split costs a prompt cache, one
that waits costs a person's patience.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from ccflare.bus import Colleagues
from ccflare.choice import ALONGSIDE, Choice
from ccflare.exchange import OpenExchange
from ccflare.pool import Pool
from ccflare.records import Account


class Parts(Protocol):
    """Whom to agree with, and who knows what is to be agreed on."""

    @property
    def colleagues(self) -> Colleagues:
        """The other workers."""

    @property
    def pool(self) -> Pool:
        """This worker's accounts and sessions."""


async def agreed(
    parts: Parts,
    choose: Callable[[OpenExchange], Account | None],
    go_on: Callable[[OpenExchange], Awaitable[bool]],
    x: OpenExchange,
) -> bool:
    """Go on with an exchange; where it is open who serves its session, agree on that first.

    `choose` returns this worker's own choice.
    """
    session = x.ask.session or ""
    try:
        if session and parts.pool.is_open(x.ask, x.arrived_ms) and (account := choose(x)) is not None:
            x.claims += 1
            lead = await parts.colleagues.claim(session, account.id)
            x.ask = msgspec.structs.replace(x.ask, lead=lead, led_by=x.choice if lead == account.id else ALONGSIDE)
        return await go_on(x)
    finally:
        for _ in range(x.claims):
            parts.colleagues.release(session)


async def agreed_next(
    parts: Parts, choose: Callable[[OpenExchange], Account | None], x: OpenExchange, failed: str
) -> Account | None:
    """Return the account to go on to when one has failed: where others of the session have gone on to, if any have."""
    account, session = choose(x), x.ask.session
    if account is None or session is None:
        return account
    x.claims += 1
    lead = await parts.colleagues.claim(session, account.id, failed)
    if lead != account.id and lead not in x.tried:
        for other, choice in parts.pool.choices(x.ask, x.arrived_ms):
            if other.id == lead:
                x.choice = Choice(ALONGSIDE.why, choice.instead_of, choice.until_ms)
                return other
    return account
