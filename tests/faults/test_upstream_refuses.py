"""The fault matrix where upstream answers with an error: whose it is, who is asked next, who is held back."""

import time
from pathlib import Path
from typing import Any

import pytest

from faultcase import (
    BOTH_LIMITED,
    BOTH_REFUSED,
    LIMITED,
    NEXT_TOO,
    REFUSED,
    Case,
    check,
    everywhere,
    forever,
    once,
    passed_on,
)
from harness import ROOT, Server, Upstream, ask, eventually, messages


def _rejected(reset_in: float, **more: Any) -> dict[str, Any]:
    return {"status": "rejected", "claim": "five_hour", "reset_in": reset_in, **more}


OVER = _rejected(-3600, no_retry_after=True)

CLIENTS_OWN = [
    Case(f"{status} of the client", str(status), f"alpha deliver {status}", status=status, says=says)
    for status, says in (
        (400, "messages.0.content.0.type"),
        (404, "claude-unknown"),
        (409, "changed by another"),
        (413, "maximum size"),
    )
]

CREDENTIALS_AND_MONEY = [
    passed_on("401 for ever", "401", 401, REFUSED),
    Case(
        "401 everywhere",
        "401",
        NEXT_TOO.format(401),
        status=503,
        states=BOTH_REFUSED,
        both=True,
        says="All accounts failed to proxy the request",
        error="All accounts failed",
    ),
    passed_on("403 about the credential", "403-revoked", 403, REFUSED),
    passed_on("403 about the organisation", "403-org", 403, REFUSED),
    passed_on("400 about credit", "400-credit", 400, LIMITED),
    Case(
        "400 about credit everywhere",
        "400-credit",
        NEXT_TOO.format(400),
        status=400,
        states=BOTH_LIMITED,
        both=True,
        says="credit balance is too low",
    ),
    passed_on("403 about a permission", "403", 403),
    Case(
        "403 about a permission everywhere",
        "403",
        NEXT_TOO.format(403),
        status=403,
        both=True,
        says="permission to use",
    ),
    passed_on("400 about extra usage", "400-extra-usage", 400),
    Case(
        "400 about extra usage everywhere",
        "400-extra-usage",
        NEXT_TOO.format(400),
        status=400,
        both=True,
        says="extra usage",
    ),
    passed_on("402", "402", 402, LIMITED),
]

LIMITS = [
    passed_on("429 with retry-after", "429", 429, LIMITED),
    passed_on("429 for hours", "429-long", 429, LIMITED),
    passed_on("429 of the five-hour window", "429-unified", 429, LIMITED),
    passed_on("429 of the seven-day window", "429-unified-7d", 429, LIMITED),
    passed_on("429 with a date", "429-http-date", 429, LIMITED),
    passed_on("429 of the spend limit", "429-no-retry", 429, LIMITED),
    passed_on("429 with an absurd reset", {"status": 429, "retry_after": 10**12}, 429, LIMITED),
    passed_on("429 without a word", "429-bare", 429),
    passed_on("429 of one model", "429-model", 429, model="claude-opus-5-5"),
    passed_on("429 of concurrency", "429-concurrency", 429, LIMITED),
    passed_on("429 whose reset is over", {"status": 429, "unified": OVER}, 429, LIMITED),
    passed_on("429 of paid overage", "429-overage", 429),
    Case(
        "429 everywhere for seconds",
        "429",
        NEXT_TOO.format(429),
        status=429,
        states=BOTH_LIMITED,
        both=True,
        says="rate_limit_error",
        error="rate limited",
    ),
    Case("200 that says rejected", {"unified": _rejected(3600, utilization={"5h": 1.0})}, states=LIMITED),
    Case("200 paid for as overage", "200-rejected"),
    Case("200 with a warning", "200-warning"),
]

TROUBLE = [
    once("500 once", "500", 500),
    once("502 as a page once", "502-html", 502),
    once("503 once", "503", 503),
    once("504 once", "504", 504),
    once("520 as a page once", "520-html", 520),
    once("529 once", "529", 529),
    once("529 with a short retry-after", {"status": 529, "headers": {"retry-after-ms": "30"}}, 529),
    once("408 once", {"status": 408}, 408),
    forever("500 for ever", "500", 500),
    forever("503 for ever", "503", 503),
    forever("529 for ever", "529", 529),
    everywhere("500 everywhere", "500", 500, "Internal server error"),
    everywhere("502 as a page everywhere", "502-html", 502, "<h1>502 Bad Gateway</h1>"),
    everywhere("503 everywhere", "503", 503, "Service unavailable"),
    everywhere("529 everywhere", "529", 529, "Overloaded"),
    passed_on("500 not to be retried", "500-no-retry", 500),
    passed_on("529 with a long retry-after", {"status": 529, "retry_after": 3600}, 529),
]


@pytest.mark.parametrize("case", CLIENTS_OWN, ids=lambda case: case.name)
def test_the_clients_own_errors_are_delivered_at_once(case: Case, make_home: Any, upstream: Upstream) -> None:
    """An error that the client made is sent once, delivered as it is and held against no account."""
    check(case, make_home(case.settings), upstream)


@pytest.mark.parametrize("case", CREDENTIALS_AND_MONEY, ids=lambda case: case.name)
def test_an_accounts_credential_or_money(case: Case, make_home: Any, upstream: Upstream) -> None:
    """A refused credential or an empty purse takes one account out, and another one serves."""
    check(case, make_home(case.settings), upstream)


def test_a_400_whose_body_comes_late(make_home: Any, upstream: Upstream, tmp_path: Path) -> None:
    """It is waited for so long and no longer, and delivered as it is: whose it is cannot be read in it."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("import ccflare.beginning as beginning; beginning.ERROR_BODY_S = 0.3")
    fault = {"status": 400, "delay": 1.2, "message": "It is late"}
    case = Case("late", fault, "alpha deliver 400", status=400, says="It is late")
    check(case, make_home({"PYTHONPATH": f"{site}:{ROOT / 'src'}"}), upstream)


@pytest.mark.parametrize("case", LIMITS, ids=lambda case: case.name)
def test_rate_limits(case: Case, make_home: Any, upstream: Upstream) -> None:
    """A limit holds back what it is about, the account or only a model of it, and another account serves."""
    check(case, make_home(case.settings), upstream)


@pytest.mark.parametrize("case", TROUBLE, ids=lambda case: case.name)
def test_upstreams_own_trouble(case: Case, make_home: Any, upstream: Upstream) -> None:
    """Trouble of upstream itself is tried again, then elsewhere, then delivered; no account is held back."""
    check(case, make_home(case.settings), upstream)


DAY_MS = 86_400_000
RESETS = [
    ("absurd", {"status": 429, "retry_after": 10**12}, 7 * DAY_MS, 8 * DAY_MS),
    ("far", "429-unified-7d", 2 * DAY_MS, 3 * DAY_MS),
    ("over already", {"status": 429, "unified": OVER}, 1, 10_000),
    ("not said", "429-no-retry", 1, 300_000),
]


@pytest.mark.parametrize(("fault", "least_ms", "most_ms"), [row[1:] for row in RESETS], ids=[row[0] for row in RESETS])
def test_how_long_an_account_is_held_back(
    fault: Any, least_ms: int, most_ms: int, server: Server, upstream: Upstream
) -> None:
    """An absurd reset is clamped to eight days; one that is over, or not known, holds back for seconds."""
    upstream.faults(alpha=fault)
    before_ms = time.time() * 1000
    assert ask(server.port, messages()).status == 200
    until_ms = eventually(lambda: server.home.limited_until_ms("alpha") or 0, what="the limit is stored")
    assert least_ms <= until_ms - before_ms <= most_ms + 5_000


@pytest.mark.parametrize("fault", ["", "529", "400", "400-credit"])
def test_proxied_answers_say_what_was_done(fault: str, server: Server, upstream: Upstream) -> None:
    """An answer of upstream, a refused one that is delivered in the end included, has our time and the tries."""
    if fault:
        upstream.faults(alpha=fault, beta=fault)
    found = ask(server.port, messages())
    assert [value.split("=")[0] for value in found.all("server-timing")] == ["ccflare;dur"]
    switched = len({entry.account for entry in upstream.settled_log()}) > 1
    assert (found.header("x-ccflare-attempts") is not None) == switched
