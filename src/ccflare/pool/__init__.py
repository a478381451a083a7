"""Who may serve the next request: the one owner of the routing state.

The pool is synchronous and knows no clock; every question brings its time. It holds the accounts, what
upstream said about them, what they are serving, and which session and which upstream object belongs to which.
Whether an account is usable is what `records.state_of` says of its record; a model set aside is the only thing
beside that.

Sessions. Only a served exchange binds. A session keeps its account for `session_ms` from then on. While that
account is unusable another one stands in, and the session comes back, unless the account recovers later than
a prompt cache lives or the session lasts: then the next served exchange elsewhere moves it for good.
Exchanges of a session that has no account yet go where its exchanges in flight went.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import zip_longest
from typing import Any, assert_never

import msgspec

from ccflare.choice import ALONGSIDE, NOBODYS, OWNER, SESSION, Choice, by_rank
from ccflare.forecast import AccountWindows, Aside
from ccflare.limits import CoolAccount, Effect, LimitAccount, Reading, RefuseCredential, SetAside, read_limits
from ccflare.pool.asking import ANYTHING, NO_CHANGES, Ask, Blocked, Changes
from ccflare.pool.member import LONGEST_ASIDE_MS, LONGEST_COOL_MS, NEVER, Member, Standing, iso
from ccflare.pool.news import Bound, Leads, Limited, Load, News, Owns, PutAside, Refused, Told
from ccflare.pool.others import Others
from ccflare.pool.owners import Owners
from ccflare.pool.ranking import Ranking
from ccflare.pool.sessions import Session, Sessions
from ccflare.pool.shortage import Shortage
from ccflare.records import Account, Binding, Owned
from ccflare.strategy import order, rank
from ccflare.wire import pairs_of

__all__ = ["Aside", "Ask", "Blocked", "Changes", "Pool", "Standing"]


class _Lead(msgspec.Struct):
    """Where the exchanges in flight of one session went."""

    account_id: str
    count: int = 0


class Pool:
    """The accounts and sessions of one server."""

    def __init__(
        self, *, session_ms: int, cache_life_ms: int = 300_000, max_sessions: int = 100_000, max_objects: int = 100_000
    ) -> None:
        self._cache_life_ms = cache_life_ms
        self._members: dict[str, Member] = {}
        self._gone: Counter[str] = Counter()  # in flight on accounts that are not here any more
        self._sessions = Sessions(session_ms, max_sessions)
        self.owners = Owners(max_objects)
        """Who owns what: exchanges ask and tell it directly."""
        self._leads: dict[str, _Lead] = {}
        self._ranking = Ranking()
        self._shortage = Shortage(self._ranking.touch)
        self._changed: dict[str, Member] = {}
        self._taken: list[Member] = []
        self._told: dict[str, Member] = {}  # upstream has told something about their windows
        self._heard: dict[str, tuple[bytes, int]] = {}
        self.tell: Callable[[News], None] | None = None
        """Called at once with what is learnt here; None: there are no other workers."""
        self.others = Others(self.member, self._sessions, self.owners, self._leads, self._shortage)
        """Where what they have learnt comes in."""

    def member(self, account_id: str) -> Member | None:
        """Return an account that is here."""
        return self._members.get(account_id)

    def load_here(self, *, everything: bool = False) -> Load | None:
        """Return what this worker serves, as far as others do not know it yet; None: there is nothing new."""
        return self.others.load(self._members, everything=everything)

    def share(self, tell: Callable[[News], None]) -> None:
        """Have other workers told of what is learnt here from now on."""
        self.tell = tell
        self.owners.tell = lambda owned: tell(Owns(owned))

    @property
    def session_ms(self) -> int:
        """How long a session keeps its account; may be changed at any time, and holds for all sessions."""
        return self._sessions.length_ms

    @session_ms.setter
    def session_ms(self, session_ms: int) -> None:
        self._sessions.length_ms = session_ms

    # The store.

    def load(self, accounts: Iterable[Account], now_ms: int) -> None:
        """Take over the accounts as they are in the store.

        Counts in flight, limits and sessions of accounts that stay are kept. What this pool has learnt and
        the store does not know yet wins over the store; all else is the store's. Who is missing is gone.
        """
        members: dict[str, Member] = {}
        for account in accounts:
            member = self._members.get(account.id)
            if member is None:
                member = Member(account, self._gone.pop(account.id, 0), now_ms)
            else:
                if account.id not in self._changed and member not in self._taken:
                    member.settle(now_ms)
                if member.reload(account):
                    self._changed[account.id] = self._told[account.id] = member
            members[account.id] = member
        for account_id, member in self._members.items():
            if account_id not in members:
                self._changed.pop(account_id, None)
                self._told.pop(account_id, None)
                if member.in_flight > member.elsewhere:
                    self._gone[account_id] = member.in_flight - member.elsewhere
        if gone := self._members.keys() - members.keys():
            self.owners.forget_accounts(gone)
        self._members = members
        self._ranking.replace(members.values())
        self._shortage.replace(members)
        self._shortage.refresh(now_ms)

    def restore(self, bindings: Iterable[Binding], now_ms: int) -> None:
        """Take over the sessions that an earlier run bound, of accounts that were loaded before."""
        self._sessions.restore((b for b in bindings if b.account_id in self._members), now_ms)

    def restore_windows(self, kept: Iterable[AccountWindows], now_ms: int) -> None:
        """Take over what an earlier run was told about windows, of accounts that were loaded before."""
        for windows in kept:
            member = self._members.get(windows.account_id)
            if member is not None:
                self._shortage.follow(member, partial(member.restore, windows, now_ms))
                member.restore_asides(windows, now_ms)

    def take_windows(self, now_ms: int) -> tuple[AccountWindows, ...]:
        """Return what was told about windows since the last call, for the store; of one account once a second."""
        due = [member for member in self._told.values() if member.windows_due(now_ms)]
        for member in due:
            del self._told[member.id]
        taken = [windows for member in due if (windows := member.take_windows(now_ms)) is not None]
        for windows in taken:
            self._tell(Told(windows))
        return tuple(taken)

    def restore_owners(self, kept: Iterable[Owned]) -> None:
        """Take over what is known to belong to accounts that were loaded before."""
        self.owners.restore(owned for owned in kept if owned.account_id in self._members)

    def take_changes(self) -> Changes:
        """Return what changed since the last call, for the store.

        What was taken counts as stored from the next call on; until then a `load` does not undo it.
        """
        if self._taken:
            for member in self._taken:
                member.base = member.sent
            self._taken = []
        bindings, owners = self._sessions.take_changes(), self.owners.take_changes()
        if not self._changed:
            return Changes((), bindings, owners) if bindings or owners else NO_CHANGES
        self._taken = list(self._changed.values())
        self._changed = {}
        for member in self._taken:
            member.sent = member.record()
        return Changes(tuple(member.sent for member in self._taken), bindings, owners)

    def account(self, account_id: str) -> Account | None:
        """Return an account that is here."""
        member = self._members.get(account_id)
        return None if member is None else member.account

    # Choosing.

    def candidates(self, ask: Ask, now_ms: int) -> Iterator[Account]:
        """Yield the accounts of `choices` alone."""
        return (account for account, _ in self.choices(ask, now_ms))

    def choices(self, ask: Ask, now_ms: int) -> Iterator[tuple[Account, Choice]]:
        """Yield the accounts that may serve a request now, in the order in which they are to be tried, and why.

        The account that the session belongs to comes first, and then the first in order: both cost the same however
        many there are. The others are only looked at when they are asked for. In the records `last_used_ms` may be
        old. What names an object is for its owner alone.
        """
        preferred, choice = self._preferred(ask, now_ms)
        if preferred is not None:
            yield preferred.account, choice
        if ask.owner is not None and ask.owner in self._members:
            return
        self._shortage.refresh(now_ms)
        families = self._shortage.families_of(ask.model)
        best, behind = (None, None) if families else self._ranking.first_two(ask.model, now_ms, preferred)
        if best is not None:
            yield best.account, _ranked(best, behind, rank, choice)
        # The others cost more the more there are: they are only asked for when an account has failed.
        others = [
            member
            for member in self._members.values()
            if member is not preferred and member is not best and member.opens_at(ask.model) <= now_ms
        ]
        key = _rank_with(families) if families else rank
        ordered = order(others, key=key)
        for member, after in zip_longest(ordered, ordered[1:]):
            yield member.account, _ranked(member, after, key, choice)

    def is_open(self, ask: Ask, now_ms: int) -> bool:
        """Say whether nobody is to serve a session yet: no usable account has it, and none of it is in flight here."""
        return ask.session is not None and ask.owner is None and self._preferred(ask, now_ms)[0] is None

    def blocked(self, ask: Ask, now_ms: int) -> Blocked:
        """Say why there is no candidate, and when there will be one."""
        owner = None if ask.owner is None else self._members.get(ask.owner)
        members = self._members.values() if owner is None else [owner]
        opens = [(max(member.opens_at(ask.model), now_ms), member) for member in members]
        returning = [(at_ms, member) for at_ms, member in opens if at_ms < NEVER]
        return Blocked(
            total=len(opens),
            limited=sum(at_ms > now_ms for at_ms, _ in returning),
            recovery_ms=min((at_ms for at_ms, _ in returning), default=None),
            unified=any(member.account.rate_limit_status is not None for _, member in returning),
            owner=None if owner is None else owner.account,
        )

    def begin(self, account_id: str, ask: Ask = ANYTHING) -> None:
        """Count an exchange as in flight on an account. Call it in the same step as the choice."""
        member = self._members.get(account_id)
        if member is None:
            self._gone[account_id] += 1
        else:
            member.in_flight += 1
            self._ranking.touch(member)
        if ask.session is not None:
            lead = self._leads.get(ask.session)
            before = ask.lead if lead is None else lead.account_id
            if before not in {None, account_id}:
                self._tell(Leads(ask.session, account_id))
            if lead is None:
                lead = self._leads[ask.session] = _Lead(account_id)
            lead.account_id = account_id
            lead.count += 1

    def end(self, account_id: str, ask: Ask = ANYTHING) -> None:
        """Take back what `begin` did, with the same arguments. Harmless for an account that is gone."""
        member = self._members.get(account_id)
        if member is not None:
            if member.in_flight > 0:
                member.in_flight -= 1
            self._ranking.touch(member)
        elif self._gone[account_id] > 1:
            self._gone[account_id] -= 1
        else:
            del self._gone[account_id]
        lead = None if ask.session is None else self._leads.get(ask.session)
        if lead is not None:
            lead.count -= 1
            if not lead.count:
                self._leads.pop(ask.session or "")

    # Learning.

    def served(self, ask: Ask, account_id: str, now_ms: int) -> str | None:
        """Note that an account served an exchange (2xx): the session is bound, pauses start short again.

        Returns a line for the log when the account has come back.
        """
        member = self._members.get(account_id)
        if member is None:
            return None
        if ask.session is not None:
            self._bind(ask.session, ask.model, account_id, now_ms)
        if ask.model is not None and member.models.pop(ask.model, None) is not None:
            self._told[account_id] = member
        if -now_ms < member.idle_rank:  # noqa: PLR1730  # `min` takes ten times as long
            member.idle_rank = -now_ms
        member.streak = 0
        self._change(member)
        refused, line = member.account.auth_failed_reason, member.recover(now_ms)
        if refused is not None and line is not None:
            self._tell(Refused(account_id, None))
        return line

    def hear(self, account_id: str, lines: bytes, now_ms: int) -> None:
        """Keep the header lines of a routine answer until `read_heard`: only an account's last ones matter.

        Reading them for each answer was a fifth of the cost of an exchange.
        """
        self._heard[account_id] = lines, now_ms

    def read_heard(self) -> list[str]:
        """Take over what was heard. Returns lines for the log; call it several times a second."""
        heard, self._heard = self._heard, {}
        lines = [self.note(each, read_limits(pairs_of(lines), at_ms), at_ms) for each, (lines, at_ms) in heard.items()]
        return [line for line in lines if line is not None]

    def note(self, account_id: str, reading: Reading, now_ms: int) -> str | None:
        """Take over what an answer's headers said. Returns a line for the log when the status changed."""
        self._heard.pop(account_id, None)
        member = self._members.get(account_id)
        if member is None or not (reading.windows or reading.budgets or reading.status):
            return None
        self._shortage.follow(member, partial(member.note, reading, now_ms))
        self._told[account_id] = member
        account = member.account
        status, reset_ms, remaining = _summary(reading)
        before = account.rate_limit_status
        if (status, reset_ms, remaining) == (
            before,
            account.rate_limit_reset_ms,
            account.rate_limit_remaining,
        ):
            return None
        member.learn(rate_limit_status=status, rate_limit_reset_ms=reset_ms, rate_limit_remaining=remaining)
        self._change(member)
        if status in {before, None} or (before is None and status == "allowed"):
            return None
        return f"Account {account.name}: rate_limited status {before} -> {status}, reset {iso(reset_ms)}"

    def apply(self, account_id: str, effect: Effect, ask: Ask, now_ms: int) -> str | None:
        """Carry out what a verdict means for an account. Returns a line for the log when it is news."""
        member = self._members.get(account_id)
        if member is None:
            return None
        match effect:
            case LimitAccount() | CoolAccount():
                return self._limit(member, effect, LONGEST_COOL_MS, now_ms)
            case SetAside():
                if effect.model is None:
                    return self._limit(member, effect, LONGEST_ASIDE_MS, now_ms)
                return self._set_aside(member, effect, effect.model, now_ms)
            case RefuseCredential():
                return self._refuse(member, effect.reason)
            case _:
                assert_never(effect)

    def trust(self, account_id: str) -> None:
        """Take back that an account's credential cannot be used: nothing was wrong with it."""
        member = self._members.get(account_id)
        if member is not None and member.account.auth_failed_reason is not None:
            member.learn(auth_failed_reason=None)
            self._change(member)
            self._tell(Refused(account_id, None))

    def clock_set_back(self, by_ms: int) -> None:
        """Have limits end as long from now as before the clock was set back.

        One that upstream had named as an instant may end too early so: it is named again when somebody asks.
        """
        for member in self._members.values():
            if member.set_back(by_ms):
                self._change(member)

    def states(self, now_ms: int) -> list[Standing]:
        """Return how every account stands, in the order of the store."""
        return [member.standing(self._sessions.count(member.id), now_ms) for member in self._members.values()]

    # Accounts.

    def _tell(self, news: News) -> None:
        if self.tell is not None:
            self.tell(news)

    def _set_aside(self, member: Member, effect: SetAside, model: str, now_ms: int) -> str | None:
        self._told[member.id] = member
        before_ms = member.aside_until(model, family=effect.family)
        line = member.set_aside(Aside(model, effect.family, effect.until_ms or 0, effect.reason), now_ms)
        until_ms = member.aside_until(model, family=effect.family)
        if until_ms != before_ms:
            self._tell(PutAside(member.id, Aside(model, effect.family, until_ms, effect.reason)))
        return line

    def _limit(
        self, member: Member, effect: LimitAccount | CoolAccount | SetAside, longest_ms: int, now_ms: int
    ) -> str | None:
        """Have a whole account wait. Where the evidence is thin, `longest_ms` bounds even a known reset."""
        until_ms = effect.until_ms
        if until_ms is not None and isinstance(effect, SetAside):
            until_ms = min(until_ms, now_ms + longest_ms)
        told = member.limit(until_ms, effect.reason, longest_ms, now_ms)
        if told is None:
            return None
        self._change(member)
        self._tell(Limited(member.id, member.account.limited_until_ms or 0, member.account.limited_reason))
        until = iso(member.account.limited_until_ms)
        return f"Account {member.account.name} is rate limited until {until}: {effect.reason}" if told else None

    def _refuse(self, member: Member, reason: str) -> str | None:
        if member.account.auth_failed_reason is not None:
            return None
        member.learn(auth_failed_reason=reason)
        self._change(member)
        self._tell(Refused(member.id, reason))
        return f"Account {member.account.name} is not used any more (auth_failed): {reason}"

    def _change(self, member: Member) -> None:
        """Note that a record is another: for the store, and for the order."""
        self._changed[member.id] = member
        self._ranking.touch(member)

    # Sessions.

    def _preferred(self, ask: Ask, now_ms: int) -> tuple[Member | None, Choice]:
        """Return the usable account of a request: the owner of what it names, else the one of its session.

        That is the one that is bound, stands in, or is being tried for it now. The choice says which; without
        an account it says what became of the session's own.
        """
        if ask.owner is not None and (owner := self._members.get(ask.owner)) is not None:
            return owner if owner.opens_at(ask.model) <= now_ms else None, OWNER
        if ask.session is None:
            return None, NOBODYS
        choice, session = NOBODYS, self._sessions.live(ask.session, now_ms)
        if session is not None:
            own = self._members.get(session.account_id)
            opens_at_ms = NEVER if own is None else own.opens_at(ask.model)
            if own is not None and opens_at_ms <= now_ms:
                return own, SESSION
            choice = Choice("stand_in", session.account_id, opens_at_ms if opens_at_ms < NEVER else None)
            stand_in = self._usable(session.stand_in, ask.model, now_ms)
            if stand_in is not None:
                return stand_in, choice
        lead = self._leads.get(ask.session)
        following = None if lead is None else self._usable(lead.account_id, ask.model, now_ms)
        if following is None and (led := self._usable(ask.lead, ask.model, now_ms)) is not None:
            return led, ask.led_by
        return following, ALONGSIDE if session is None and following is not None else choice

    def _usable(self, account_id: str | None, model: str | None, now_ms: int) -> Member | None:
        member = None if account_id is None else self._members.get(account_id)
        return member if member is not None and member.opens_at(model) <= now_ms else None

    def _bind(self, key: str, model: str | None, account_id: str, now_ms: int) -> None:
        session = self._sessions.live(key, now_ms)
        stand_in = None
        if session is not None and session.account_id != account_id and self._comes_back(session, model, now_ms):
            stand_in = account_id
        elif session is None or session.account_id != account_id:
            session = self._sessions.bind(key, account_id, now_ms)
            self._tell(Bound(session.binding(key), None))
            return
        before, session.stand_in = session.stand_in, stand_in
        self._sessions.use(key, session, now_ms)
        if before != stand_in:
            self._tell(Bound(session.binding(key), stand_in))

    def _comes_back(self, session: Session, model: str | None, now_ms: int) -> bool:
        """Whether a session's own account is usable again while its cache and the session still live."""
        member = self._members.get(session.account_id)
        if member is None:
            return False
        latest_ms = min(now_ms + self._cache_life_ms, self._sessions.ends_at(session))
        return member.opens_at(model) <= latest_ms


def _ranked(best: Member, behind: Member | None, key: Callable[[Any], Any], session: Choice) -> Choice:
    """Say why a candidate comes before the next one, and whom it serves instead of."""
    found = by_rank(key(best), None if behind is None else key(behind))
    return found if session.instead_of is None else Choice(found.why, session.instead_of, session.until_ms)


def _rank_with(families: Iterable[str]) -> Callable[[Member], tuple[Any, ...]]:
    """Return the sort key that heeds the windows of a model's families too."""

    def with_families(member: Member) -> tuple[Any, ...]:
        bucket = max(member.bucket, *(member.family_buckets.get(family, 0) for family in families))
        return member.priority, bucket, member.in_flight, member.idle_rank, member.id

    return with_families


def _summary(reading: Reading) -> tuple[str | None, int | None, int | None]:
    """Return status, reset and what remains: of the unified family, else of the requests' budget."""
    if reading.unified:
        return reading.status, reading.reset_ms, reading.remaining
    for budget in reading.budgets:
        if budget.name == "requests":
            return None, budget.reset_ms, budget.remaining
    return None, None, None
