"""Questions about a period, and their answers as the API gives them: the field names are the JSON."""

from typing import Literal, TypeAlias

import msgspec

from ccflare.analytics.measures import Measures, Tokens
from ccflare.records import Outcome

RangeName: TypeAlias = Literal["1h", "6h", "24h", "7d", "30d", "90d", "365d"]
Mode: TypeAlias = Literal["normal", "cumulative", "per_model"]


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants to know. None does not restrict."""

    range: RangeName = "24h"
    account_id: str | None = None
    """Empty: the exchanges without an account."""
    model: str | None = None
    """An id, or the begin of one up to a hyphen."""
    status: int | Literal["error"] | Outcome | None = None
    client_key_id: str | None = None
    """Empty: the exchanges that came without a client key."""
    mode: Mode = "normal"
    """`cumulative`: each point of a series is about everything up to its end."""
    by_model: bool = False
    """A series for each model beside the one for all, also in cumulative mode; `per_model` is the same as this."""


class Overview(Measures, frozen=True, kw_only=True):
    """The whole period, and the one of the same length before it."""

    active_accounts: int
    """Accounts that were used."""
    previous: Measures


class Point(Measures, frozen=True, kw_only=True):
    """One bucket of a series. Where nothing happened there is a point with no requests."""

    ts: int
    """The bucket's begin, milliseconds UTC, a multiple of its length."""
    bucket_ms: int
    partial: bool
    """The period covers only a part of the bucket: its first, or the one that is not over."""


class ModelMeasures(Measures, frozen=True, kw_only=True):
    """One model."""

    model: str | None
    """None: unknown. `(other)`: all that are not told apart."""


class AccountMeasures(Measures, frozen=True, kw_only=True):
    """One account."""

    id: str | None
    """None: no account was used."""
    name: str | None
    """None: no name is known for it."""
    removed: bool
    """The account is gone; another one may have its name by now."""


class KeyMeasures(Measures, frozen=True, kw_only=True):
    """One client key."""

    id: str | None
    """None: it came without one."""
    name: str | None
    revoked: bool


class ModelSeries(msgspec.Struct, frozen=True, kw_only=True):
    """The time series of one model."""

    model: str | None
    points: list[Point]


class ModelCost(msgspec.Struct, frozen=True, kw_only=True):
    """What a model cost."""

    model: str | None
    cost_usd: float | None
    cost_microusd: int | None
    unpriced: int
    requests: int


class AccountCost(msgspec.Struct, frozen=True, kw_only=True):
    """What an account cost."""

    id: str | None
    name: str | None
    cost_usd: float | None
    cost_microusd: int | None
    unpriced: int
    requests: int


class KeyCost(msgspec.Struct, frozen=True, kw_only=True):
    """What was spent with a client key."""

    id: str | None
    name: str | None
    cost_usd: float | None
    cost_microusd: int | None
    unpriced: int
    requests: int


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """What was spent on what, the dearest first."""

    by_model: list[ModelCost]
    by_account: list[AccountCost]
    by_key: list[KeyCost]


class Analytics(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a question."""

    range: RangeName
    mode: Mode
    from_ms: int
    to_ms: int
    """The end of the minute of the question."""
    bucket_ms: int
    overview: Overview
    time_series: list[Point]
    models_over_time: list[ModelSeries] | None
    """The most used models; None when it was not asked for."""
    token_breakdown: Tokens
    models: list[ModelMeasures]
    """The most used first."""
    accounts: list[AccountMeasures]
    client_keys: list[KeyMeasures]
    costs: Costs


class RecentError(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange that failed."""

    id: str
    timestamp_ms: int
    account_id: str | None
    model: str | None
    status_code: int
    outcome: Outcome
    error_message: str | None


class Totals(Measures, frozen=True, kw_only=True):
    """Everything since the beginning. Sums outlive the rows they were made of."""

    accounts: int
    active_accounts: int
    """Accounts that can be used now."""
    since_ms: int | None
    """The day of the first exchange; None when there was none."""
    top_models: list[ModelMeasures]
    by_account: list[AccountMeasures]
    recent_errors: list[RecentError]
    """The latest ten."""
