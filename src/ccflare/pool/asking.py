"""What a pool is asked, and what it answers when nobody can serve; what it has learnt for the store."""

from typing import Final

import msgspec

from ccflare.choice import NOBODYS, Choice
from ccflare.records import Account, Binding, Owned


class Ask(msgspec.Struct, frozen=True):
    """What a request needs: the key of its session and its model, as far as they are known."""

    session: str | None = None
    model: str | None = None
    owner: str | None = None
    """The account that owns what the request names: while it is here, no other one may serve it."""
    lead: str | None = None
    """The account that all workers have agreed on for a session that has none yet."""
    led_by: Choice = NOBODYS
    """Why that one."""


ANYTHING: Final = Ask()


class Blocked(msgspec.Struct, frozen=True):
    """Why there is no candidate."""

    total: int
    """Accounts there are for it: one when the request names what an account owns."""
    limited: int
    """Accounts that come back by themselves."""
    recovery_ms: int | None
    """When the first can serve the model; now, when one is usable. None: none comes back by itself."""
    unified: bool
    """Whether upstream gave those accounts unified rate-limit headers."""
    owner: Account | None = None
    """The one account that may serve it, because it owns what the request names."""

    @property
    def only_rate_limited(self) -> bool:
        """Whether waiting helps: at least one account comes back by itself, whatever ails the others."""
        return self.recovery_ms is not None


class Changes(msgspec.Struct, frozen=True):
    """What is to be kept: accounts with their run-time fields as they are now, bindings and owners learnt or used."""

    accounts: tuple[Account, ...] = ()
    bindings: tuple[Binding, ...] = ()
    owners: tuple[Owned, ...] = ()


NO_CHANGES: Final = Changes()
