"""One session, one account, whichever workers its first requests land on: they agree before the first attempt.

Only what nobody serves yet is to be agreed on, once per session and only where there are several workers. Who gets no
answer in time goes on alone: a session that is split costs a prompt cache, one that waits costs a person's patience.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from ccflare.bus import Colleagues
from ccflare.choice import ALONGSIDE
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
    session = x.ask.session
    if session is None or not parts.pool.is_open(x.ask, x.arrived_ms) or (account := choose(x)) is None:
        return await go_on(x)
    try:
        lead = await parts.colleagues.claim(session, account.id)
        x.ask = msgspec.structs.replace(x.ask, lead=lead, led_by=x.choice if lead == account.id else ALONGSIDE)
        return await go_on(x)
    finally:
        parts.colleagues.release(session)
