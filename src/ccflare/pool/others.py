"""What other workers have learnt, taken over into this pool; and what this one serves, for them.

Nothing that comes from others is handed to the store by this pool: whoever has learnt it does that.
"""

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from functools import partial
from typing import Protocol

from ccflare.forecast import AccountWindows
from ccflare.pool.member import Member
from ccflare.pool.news import Bound, Leads, Limited, Load, News, Owns, PutAside, Refused, Told
from ccflare.pool.owners import Owners
from ccflare.pool.sessions import Sessions
from ccflare.pool.shortage import Shortage
from ccflare.records import Binding, Owned


class Lead(Protocol):
    """Where the exchanges in flight of one session went."""

    account_id: str


class Others:
    """The other workers, as this worker's pool sees them."""

    def __init__(
        self,
        member: Callable[[str], Member | None],
        sessions: Sessions,
        owners: Owners,
        leads: Mapping[str, Lead],
        shortage: Shortage,
    ) -> None:
        self._member = member
        self._sessions = sessions
        self._owners = owners
        self._leads = leads
        self._shortage = shortage
        self._loads: dict[int, dict[str, int]] = {}
        self._sent: dict[str, tuple[int, int]] = {}
        self.in_flight = 0
        """What other workers serve, of all accounts together."""

    # What others tell.

    def hear(self, worker: int, news: News, now_ms: int) -> None:
        """Take over what another worker tells; accounts that are not known here are left out."""
        match news:
            case Bound(binding, stand_in):
                if self._member(binding.account_id) is not None:
                    self._sessions.adopt(binding, stand_in, now_ms)
            case Leads(session, account_id):
                if (lead := self._leads.get(session)) is not None:
                    lead.account_id = account_id
            case Owns(owned):
                self._owners.adopt(owned)
            case Load(accounts):
                self._take_load(worker, accounts)
            case Told(windows):
                self._hear_windows(windows, now_ms)
            case _:
                if (member := self._member(news.account_id)) is not None:
                    _learn(member, news, now_ms)
                    self._shortage.touch(member)

    def _hear_windows(self, windows: AccountWindows, now_ms: int) -> None:
        member = self._member(windows.account_id)
        if member is not None and windows.said_at_ms > member.windows.said_at_ms:
            self._shortage.follow(member, partial(member.restore, windows, now_ms))

    def learn(self, bindings: Iterable[Binding], owners: Iterable[Owned], now_ms: int) -> None:
        """Take over what the store has got lately: other servers know it, or a worker whose word was lost."""
        for binding in bindings:
            if self._member(binding.account_id) is not None:
                self._sessions.learn(binding, now_ms)
        for owned in owners:
            if owned.account_id is not None and self._member(owned.account_id) is not None:
                self._owners.adopt(owned)

    def gone(self, worker: int) -> None:
        """Forget what a worker served that has ended."""
        for account_id, count in self._loads.pop(worker, {}).items():
            self._add(account_id, -count)

    def _take_load(self, worker: int, accounts: Mapping[str, tuple[int, int]]) -> None:
        known = self._loads.setdefault(worker, {})
        for account_id, (count, used_ms) in accounts.items():
            self._add(account_id, count - known.get(account_id, 0))
            if count:
                known[account_id] = count
            else:
                known.pop(account_id, None)
            if (member := self._member(account_id)) is not None:
                member.idle_rank = min(member.idle_rank, -used_ms)
                self._shortage.touch(member)

    def _add(self, account_id: str, count: int) -> None:
        self.in_flight += count
        member = self._member(account_id)
        if member is not None:
            count = max(count, -member.elsewhere)  # an account that has come anew counts from nothing
            member.elsewhere += count
            member.in_flight += count
            self._shortage.touch(member)

    # What others are told.

    def load(self, members: Mapping[str, Member], *, everything: bool) -> Load | None:
        """Return what this worker serves, as far as others do not know it yet; None: there is nothing new."""
        sent: MutableMapping[str, tuple[int, int]] = {} if everything else self._sent
        changed: dict[str, tuple[int, int]] = {}
        for account_id, member in members.items():
            now = member.in_flight - member.elsewhere, -member.idle_rank
            if now != sent.get(account_id, (0, 0)):
                changed[account_id] = now
        gone = self._sent.keys() - members.keys()
        changed |= dict.fromkeys(gone, (0, 0))
        if not changed:
            return None
        self._sent.update(changed)
        for account_id in gone:
            del self._sent[account_id]
        return Load(changed)


def _learn(member: Member, news: Limited | Refused | PutAside, now_ms: int) -> None:
    match news:
        case Limited(_, until_ms, reason):
            if until_ms > (member.account.limited_until_ms or 0):
                member.adopt(now_ms, limited_until_ms=until_ms, limited_reason=reason)
        case Refused(_, reason):
            if reason != member.account.auth_failed_reason:
                member.adopt(now_ms, auth_failed_reason=reason)
        case PutAside(_, aside):
            member.set_aside(aside, now_ms)
