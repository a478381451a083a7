"""A team's two weeks with ccflare, the same whenever they are made: for the pages in tests and in pictures.

Four accounts in the states that people meet, a rhythm of working days, models of three prices, and the failures that
a day brings. What was said in the latest requests is real traffic (`tests/sample_traffic.py`), this is the past.
"""

import math
import random
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from msgspec.structs import replace

from ccflare.demo.accounts import SimulatedAccount
from ccflare.demo.budgets import Limits
from ccflare.forecast import AccountWindows, KeptWindow, Sample
from ccflare.pricing import BUNDLED, cost
from ccflare.records import Account, Attempt, Credentials, Exchange, Secret, new_id
from ccflare.store import Batch, Store, open_store
from ccflare.usage import NOT_SAID, Usage
from harness import Home, Upstream

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
DAYS = 14

WORK, PLAN, TEAM, SPARE = "work", "plan", "team", "spare"
"""A key; a subscription that fills up; one that is full; a key that somebody paused."""
NAMES = (WORK, PLAN, TEAM, SPARE)
OPUS, SONNET, HAIKU = "claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5"

_SPEEDS = {OPUS: 48.0, SONNET: 71.0, HAIKU: 132.0}
_FAILURES: Sequence[tuple[int, str, float]] = (
    (529, "overloaded_error: Overloaded", 0.35),
    (429, "rate_limit_error: This request would exceed your account's rate limit. Please try again later.", 0.25),
    (400, "invalid_request_error: prompt is too long: 213462 tokens > 200000 maximum", 0.15),
    (499, "client disconnected", 0.15),
    (200, "truncated stream", 0.1),
)


def simulated() -> list[SimulatedAccount]:
    """Return the accounts as the upstream knows them."""
    plan, team = SimulatedAccount(PLAN, kind="oauth"), SimulatedAccount(TEAM, kind="oauth")
    limits = Limits(rpm=4_000, itpm=2_000_000, otpm=400_000)
    return [SimulatedAccount(WORK, limits=limits), plan, team, SimulatedAccount(SPARE)]


def write_history(home: Home, upstream: Upstream, now_ms: int, *, rows: int = 6_000) -> None:
    """Make the database of a home whose accounts are the upstream's."""
    store = open_store(home.database)
    try:
        for account, credentials in _accounts(upstream, now_ms):
            store.add_account(account, credentials)
        _write(store, _past(rows, now_ms, random.Random(7)))
        store.write(Batch(windows=list(_windows(now_ms)), accounts=[_limited(store, now_ms)]))
    finally:
        store.close()


def write_rows(path: Path, count: int, now_ms: int) -> None:
    """Make a database without accounts and with so many exchanges, a second apart, the newest a minute ago."""
    store = open_store(path)
    rng = random.Random(3)
    first_ms = now_ms - MINUTE_MS - count * 1000
    kinds = [_exchange(first_ms, WORK, rng) for _ in range(500)]
    instants = range(first_ms, first_ms + count * 1000, 1000)
    rows = (replace(rng.choice(kinds), id=new_id(at_ms, rng), timestamp_ms=at_ms) for at_ms in instants)
    try:
        _write(store, rows)
    finally:
        store.close()


def _write(store: Store, rows: Iterator[Exchange]) -> None:
    while batch := list(islice(rows, 2_000)):
        store.write(Batch(exchanges=batch))


def _accounts(upstream: Upstream, now_ms: int) -> Iterator[tuple[Account, Credentials]]:
    for name in NAMES:
        account = Account(
            id=name, name=name, kind="oauth" if name in {PLAN, TEAM} else "api_key", base_url=upstream.url,
            created_at_ms=now_ms - 90 * DAY_MS, priority={WORK: 0, PLAN: 1, TEAM: 1, SPARE: 2}[name],
        )  # fmt: skip
        if name == SPARE:
            reason = "kept for the end of the month"
            account = replace(account, paused=True, paused_by="operator", paused_reason=reason,
                              paused_at_ms=now_ms - 3 * DAY_MS)  # fmt: skip
        if account.kind == "oauth":
            account = replace(account, expires_at_ms=now_ms + 6 * HOUR_MS)
        yield account, _credentials(upstream, account)


def _credentials(upstream: Upstream, account: Account) -> Credentials:
    if account.kind == "api_key":
        return Credentials(account.id, api_key=Secret(upstream.account(account.name).api_key))
    access, refresh = upstream.do(lambda: upstream.server.oauth.tokens(account.name))
    return Credentials(account.id, access_token=Secret(access), refresh_token=Secret(refresh))


def _limited(store: Store, now_ms: int) -> Account:
    """Return the full subscription as the server left it."""
    team = next(account for account in store.accounts() if account.id == TEAM)
    return replace(team, limited_until_ms=now_ms + 47 * MINUTE_MS, limited_reason="5h window is used up")


def _windows(now_ms: int) -> Iterator[AccountWindows]:
    """Yield what upstream said of the two subscriptions within the last hour."""
    plan = (("5h", 0.46, 0.71, 2 * HOUR_MS), ("7d", 0.38, 0.41, 3 * DAY_MS), ("7d_opus", 0.62, 0.64, 3 * DAY_MS))
    team = (("5h", 0.9, 1.0, 47 * MINUTE_MS), ("7d", 0.52, 0.54, 5 * DAY_MS))
    for name, windows in ((PLAN, plan), (TEAM, team)):
        yield AccountWindows(name, now_ms, tuple(_window(*each, now_ms) for each in windows))


def _window(name: str, first: float, last: float, resets_in_ms: int, now_ms: int) -> KeptWindow:
    steps = [Sample(now_ms - (55 - 5 * n) * MINUTE_MS, first + (last - first) * n / 11) for n in range(12)]
    status = "rejected" if last >= 1 else "allowed_warning" if last >= 0.75 else "allowed"
    samples = tuple(Sample(at, round(share, 2)) for at, share in steps)
    return KeptWindow(name, now_ms, last, status, now_ms + resets_in_ms, samples)


def _past(rows: int, now_ms: int, rng: random.Random) -> Iterator[Exchange]:
    """Yield exchanges in the order of their arrival, more of them in working hours."""
    begin = now_ms - DAYS * DAY_MS
    instants = sorted(begin + int(rng.random() * DAYS * DAY_MS) for _ in range(rows * 3))
    loads = [at for at in instants if rng.random() < _load(at, now_ms)]
    for at_ms in loads:
        account = WORK if rng.random() < 0.62 else PLAN if rng.random() < 0.7 else TEAM
        yield _exchange(at_ms, account, rng)


def _load(at_ms: int, now_ms: int) -> float:
    """Return how busy the team is at an instant: least twelve hours ago, on two days of seven hardly at all."""
    hours = (now_ms - at_ms) / HOUR_MS
    day = 0.5 + 0.5 * math.cos(2 * math.pi * (hours - 1.5) / 24)
    weekend = 0.15 if int(hours / 24) % 7 in {3, 4} else 1.0
    return float((0.06 + 0.94 * day**1.6) * weekend * (1 - hours / (DAYS * 24) * 0.35))


def _exchange(at_ms: int, account: str, rng: random.Random) -> Exchange:
    model = rng.choices((SONNET, OPUS, HAIKU), (5, 3, 4))[0]
    status, error, success = 200, None, rng.random() > 0.022
    if not success:
        status, error, _ = rng.choices(_FAILURES, [weight for *_, weight in _FAILURES])[0]
    usage = _usage(model, rng) if status == 200 else NOT_SAID
    speed = rng.gauss(1, 0.14) * _SPEEDS[model]
    first_byte_ms = int(rng.lognormvariate(6.6, 0.35))
    writing_ms = int((usage.output_tokens or 0) / speed * 1000)
    return Exchange(
        id=new_id(at_ms, rng), timestamp_ms=at_ms, method="POST", path="/v1/messages", account_id=account,
        status_code=status, success=success, error_message=error, response_time_ms=first_byte_ms + writing_ms,
        first_byte_ms=first_byte_ms, own_ms=round(rng.uniform(0.3, 0.7), 2), model=model, usage=usage,
        cost_microusd=cost(usage, BUNDLED) if status == 200 else None,
        output_tokens_per_second=speed if status == 200 else None,
        session=f"{int(at_ms / (37 * MINUTE_MS)) * 7 + rng.randrange(5):032x}", client="127.0.0.1", streamed=True,
        request_bytes=rng.randrange(8_000, 400_000), response_bytes=rng.randrange(900, 30_000),
        attempts=_attempts(account, status, first_byte_ms + writing_ms, rng),
    )  # fmt: skip


def _attempts(account: str, status: int, ms: int, rng: random.Random) -> tuple[Attempt, ...]:
    last = Attempt(account, "deliver", status, ms)
    if status == 200 and rng.random() < 0.03:
        return Attempt(TEAM, "next", 429, 210, 0, "5h window is used up"), last
    return (last,)


def _usage(model: str, rng: random.Random) -> Usage:
    begins = rng.random() < 0.12
    return Usage(
        model=model,
        input_tokens=rng.randrange(8, 900),
        output_tokens=int(rng.lognormvariate(5.6, 0.9)),
        cache_read_input_tokens=0 if begins else int(rng.lognormvariate(10.4, 0.7)),
        cache_creation_input_tokens=(written := rng.randrange(12_000, 30_000) if begins else rng.randrange(200, 5_000)),
        cache_creation_5m_tokens=written,
        cache_creation_1h_tokens=0,
        stop_reason="tool_use" if rng.random() < 0.7 else "end_turn",
    )
