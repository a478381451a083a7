"""Accounts and pools for tests, and short questions to them."""

from ccflare.limits import (
    LimitAccount,
)
from ccflare.pool import Ask, Pool
from ccflare.records import Account

NOW = 1_800_000_000_000
HOUR = 3_600_000
MINUTE = 60_000
OPUS = "claude-opus-4-1"
HAIKU = "claude-haiku-4-5"


def account(name: str, **fields: object) -> Account:
    return Account(id=name, name=name, created_at_ms=0, **fields)  # type: ignore[arg-type]  # test literals


def pool_of(*accounts: Account | str, **options: int) -> Pool:
    pool = Pool(session_ms=HOUR, **options)
    pool.load([account(item) if isinstance(item, str) else item for item in accounts], NOW)
    return pool


def names(pool: Pool, ask: Ask = Ask(), now_ms: int = NOW) -> list[str]:  # noqa: B008  # it is immutable
    return [candidate.name for candidate in pool.candidates(ask, now_ms)]


def state(pool: Pool, name: str, now_ms: int = NOW) -> str:
    return next(standing.state for standing in pool.states(now_ms) if standing.account.name == name)


def in_flight(pool: Pool) -> dict[str, int]:
    return {standing.account.name: standing.in_flight for standing in pool.states(NOW)}


def limit(pool: Pool, name: str, until_ms: int | None, now_ms: int = NOW) -> str | None:
    return pool.apply(name, LimitAccount(until_ms, "429 account rate limited"), Ask(), now_ms)
