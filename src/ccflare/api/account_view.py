"""The accounts as the API shows them: what the store keeps of them, and what routing knows by now."""

from typing import Annotated

import msgspec
from msgspec import Meta

from ccflare.api.instants import Instant, iso, iso_or_none
from ccflare.api.parts import Parts
from ccflare.forecast import Outlook
from ccflare.limits import Budget
from ccflare.pool import Aside, Standing
from ccflare.records import Account, Kind, State, state_of, token_trouble
from ccflare.settings.kinds import without_user

NOT_USED = "its provider is not known here"


class WindowView(msgspec.Struct, frozen=True):
    """One time window of a subscription, as upstream told it last."""

    name: str
    utilization: Annotated[float | None, Meta(description="Share used, 0 to 1.")]
    status: str | None
    reset: Annotated[Instant | None, Meta(description="When it begins anew.")]
    runs_out_at: Annotated[Instant | None, Meta(description="At the pace of the last hour; null: not known.")]


class BudgetView(msgspec.Struct, frozen=True):
    """What is left of a continuously refilled allowance."""

    name: str
    limit: int | None
    remaining: int | None
    reset: Annotated[Instant | None, Meta(description="When it is full again.")]


class AsideView(msgspec.Struct, frozen=True):
    """A model, or a family of models, that the account does not serve for now."""

    model: str
    family: bool
    until: Instant
    reason: str


class SessionView(msgspec.Struct, frozen=True):
    """The account's present session as the original program counted it."""

    started_at: Instant | None
    requests: int


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """An upstream account and how it stands at this moment. Its credentials are never shown."""

    id: str
    name: str
    provider: str
    kind: Kind
    state: State
    reason: Annotated[str | None, Meta(description="Why it gets no requests.")]
    priority: int
    tier: int
    base_url: Annotated[str | None, Meta(description="null: the provider's own address.")]
    created_at: Instant
    paused: bool
    paused_by: str | None
    paused_reason: str | None
    paused_at: Instant | None
    rate_limited_until: Instant | None
    rate_limit_status: Annotated[str | None, Meta(description="Upstream's own word.")]
    rate_limit_reset: Instant | None
    rate_limit_remaining: int | None
    windows: tuple[WindowView, ...]
    budgets: tuple[BudgetView, ...]
    asides: tuple[AsideView, ...]
    expires_at: Annotated[Instant | None, Meta(description="When the access token ends; null for key accounts.")]
    last_refresh: Annotated[Instant | None, Meta(description="When its tokens were refreshed last.")]
    refresh_failed_at: Annotated[Instant | None, Meta(description="When a refresh failed last.")]
    refresh_error: Annotated[str | None, Meta(description="Why it failed then; null: none did since the sign-in.")]
    last_used: Instant | None
    requests: Annotated[int, Meta(description="Since the counters were reset.")]
    total_requests: int
    session: SessionView
    sessions: Annotated[int, Meta(description="Sessions bound to it.")]
    in_flight: Annotated[int, Meta(description="Requests it serves at this moment.")]


def account_views(parts: Parts, accounts: list[Account]) -> list[AccountView]:
    """Show the accounts of the store; what routing knows of them is newer."""
    now_ms = parts.now_ms()
    standings = {standing.account.id: standing for standing in parts.pool.states(now_ms)}
    return [_view(account, standings.get(account.id), now_ms) for account in accounts]


def _view(stored: Account, known: Standing | None, now_ms: int) -> AccountView:
    """Show an account. `known` None: routing does not use it."""
    standing = known or Standing(stored, state_of(stored, now_ms), 0, 0, (), (), ())
    account = standing.account
    return AccountView(
        id=account.id,
        name=account.name,
        provider=account.provider,
        kind=account.kind,
        state=standing.state,
        reason=NOT_USED if known is None else _reason(standing, now_ms),
        priority=account.priority,
        tier=account.tier,
        base_url=None if account.base_url is None else without_user(account.base_url),
        created_at=iso(account.created_at_ms),
        paused=account.paused,
        paused_by=account.paused_by,
        paused_reason=account.paused_reason,
        paused_at=iso_or_none(account.paused_at_ms),
        rate_limited_until=iso_or_none(account.limited_until_ms),
        rate_limit_status=account.rate_limit_status,
        rate_limit_reset=iso_or_none(account.rate_limit_reset_ms),
        rate_limit_remaining=account.rate_limit_remaining,
        windows=tuple(map(_window, standing.windows)),
        budgets=tuple(map(_budget, standing.budgets)),
        asides=tuple(map(_aside, standing.asides)),
        expires_at=iso_or_none(account.expires_at_ms),
        last_refresh=iso_or_none(account.last_refresh_at_ms),
        refresh_failed_at=iso_or_none(account.refresh_failed_at_ms),
        refresh_error=account.refresh_error,
        last_used=iso_or_none(max(stored.last_used_ms or 0, account.last_used_ms or 0) or None),
        requests=stored.request_count,
        total_requests=stored.total_requests,
        session=SessionView(iso_or_none(stored.session_started_ms), stored.session_request_count),
        sessions=standing.sessions,
        in_flight=standing.in_flight,
    )


def _reason(standing: Standing, now_ms: int) -> str | None:
    account = standing.account
    reasons: dict[State, str | None] = {
        "active": token_trouble(account, now_ms),
        "paused": account.paused_reason,
        "expired": account.expired_reason,
        "auth_failed": account.auth_failed_reason,
        "rate_limited": account.limited_reason,
    }
    return reasons[standing.state]


def _window(window: Outlook) -> WindowView:
    return WindowView(
        window.name,
        window.utilization,
        window.status,
        iso_or_none(window.reset_ms),
        iso_or_none(window.runs_out_at_ms),
    )


def _budget(budget: Budget) -> BudgetView:
    return BudgetView(budget.name, budget.limit, budget.remaining, iso_or_none(budget.reset_ms))


def _aside(aside: Aside) -> AsideView:
    return AsideView(aside.model, aside.family, iso(aside.until_ms), aside.reason)
