"""Sums over the history: everything so far, and any period by time, model and account."""

import logging
from typing import Annotated

import msgspec
from msgspec import Meta

from ccflare import analytics
from ccflare.analytics import Analytics, Mode, RangeName, Totals
from ccflare.api.parts import Parts
from ccflare.api.reading import NoWords
from ccflare.api.requests import AccountAsked, KeyAsked, ModelAsked, StatusAsked, filter_of
from ccflare.desk import DeskClosed
from ccflare.errors import CcflareError, RequestError, StoreError
from ccflare.store import Store

log = logging.getLogger("ccflare.Server")


class AnalyticsQuestion(msgspec.Struct, frozen=True):
    """Which period, and what of it."""

    range: Annotated[RangeName, Meta(description="The period up to now.")] = "24h"
    model: ModelAsked | None = None
    account: AccountAsked | None = None
    status: StatusAsked | None = None
    key: KeyAsked | None = None
    mode: Annotated[
        Mode,
        Meta(
            description="`cumulative`: points are running sums; `per_model`: a series for each of the top models too."
        ),
    ] = "normal"


class Reset(msgspec.Struct, frozen=True):
    """Whose counters were set to zero."""

    accounts: int


class AnalyticsFailed(CcflareError):
    """The sums could not be read; the log says why."""

    def __init__(self) -> None:
        super().__init__("Failed to fetch analytics data")


async def show_stats(parts: Parts) -> Totals:
    """Show the sums over the whole history, and the latest errors."""
    now_ms = parts.now_ms()
    return await parts.desk.ask(lambda store: analytics.totals(store, now_ms))


async def reset_stats(parts: Parts, body: NoWords) -> Reset:
    """Set the accounts' counters to zero; the history stays."""

    def reset(store: Store) -> Reset:
        store.reset_stats()
        return Reset(len(store.accounts()))

    return await parts.changes.ask(reset)


async def analyse(parts: Parts, asked: AnalyticsQuestion) -> Analytics:
    """Analyse a period: overview, time series, tokens, models, accounts, client keys and costs.

    What upstream did not say is null. Shares are from 0 to 1.
    """
    now_ms = parts.now_ms()

    def answer(store: Store) -> Analytics:
        wanted = filter_of(store, asked.account, asked.model, asked.status, client_key=asked.key)
        question = analytics.Question(
            range=asked.range,
            account_id=wanted.account_id,
            model=wanted.model,
            status=wanted.status,
            client_key_id=wanted.client_key_id,
            mode=asked.mode,
        )
        return analytics.analyse(store, question, now_ms)

    try:
        return await parts.questions.ask(asked, lambda: parts.slow_desk.ask(answer))
    except (RequestError, DeskClosed):
        raise
    except StoreError as error:
        log.error("Analytics error: %s", error)
        raise AnalyticsFailed from error
    except Exception as error:
        log.exception("Analytics error: a defect")
        raise AnalyticsFailed from error
