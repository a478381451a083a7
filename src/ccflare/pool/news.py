"""What one worker's pool learns and all others should know at once: quick facts, each true without the others."""

from typing import TypeAlias

import msgspec

from ccflare.forecast import AccountWindows, Aside
from ccflare.records import Binding, Owned


class Limited(msgspec.Struct, frozen=True, tag=True):
    """An account waits."""

    account_id: str
    until_ms: int
    reason: str | None


class Refused(msgspec.Struct, frozen=True, tag=True):
    """Upstream refused an account's credential; without a reason: has accepted it again."""

    account_id: str
    reason: str | None


class PutAside(msgspec.Struct, frozen=True, tag=True):
    """An account does not serve a model, or a family of them, for a while."""

    account_id: str
    aside: Aside


class Bound(msgspec.Struct, frozen=True, tag=True):
    """A session has an account, and perhaps one that stands in for it."""

    binding: Binding
    stand_in: str | None


class Leads(msgspec.Struct, frozen=True, tag=True):
    """The exchanges in flight of a session without an account went on to another one."""

    session: str
    account_id: str


class Owns(msgspec.Struct, frozen=True, tag=True):
    """Who owns an object; nobody any more, when its account is None."""

    owned: Owned


class Told(msgspec.Struct, frozen=True, tag=True):
    """What upstream has told about an account's windows."""

    windows: AccountWindows


class Load(msgspec.Struct, frozen=True, tag=True):
    """What accounts serve of this worker, where that has changed: in flight, and when each was used last."""

    accounts: dict[str, tuple[int, int]]


News: TypeAlias = Limited | Refused | PutAside | Bound | Leads | Owns | Told | Load
