"""Limit headers as values, the verdict table, and the retry schedule."""

from dataclasses import dataclass

import pytest

from ccflare.limits import (
    HARD_STATUSES,
    NO_LIMITS,
    SOFT_STATUSES,
    AccountError,
    CoolAccount,
    LimitAccount,
    Outcome,
    Reading,
    RefuseCredential,
    SetAside,
    Window,
    error_status,
    judge,
    judge_failure,
    read_limits,
)
from ccflare.limits.reading import _SLOTS, MOST_NAMES

NOW = 1_800_000_000_000
NOW_S = NOW // 1000
DAY_MS = 86_400_000
UNIFIED = b"anthropic-ratelimit-unified-"


def unified(**fields: object) -> list[tuple[bytes, bytes]]:
    """Unified headers; `w5h_reset=9` is `-5h-reset: 9`."""
    names = [name.removeprefix("w") if name[:2] in {"w5", "w7"} else name for name in fields]
    return [
        (UNIFIED + name.replace("__", "-").encode(), str(value).encode())
        for name, value in zip(names, fields.values(), strict=True)
    ]


def read(*headers: tuple[bytes, bytes]) -> Reading:
    return read_limits(list(headers), NOW)


# Reading.


def test_no_limit_headers_read_as_nothing() -> None:
    """An answer without limit headers costs no value of its own."""
    assert read((b"content-type", b"application/json"), (b"retry-afterwards", b"3")) is NO_LIMITS


def test_unified_family_with_windows() -> None:
    """Status, reset, claim and every window with its measures are read, in any spelling of the names."""
    reading = read(
        (b"Anthropic-RateLimit-Unified-Status", b" Allowed_Warning "),
        *unified(
            reset=NOW_S + 60,
            remaining=7,
            w5h__utilization="0.92",
            w5h__status="allowed_warning",
            w5h__reset=NOW_S + 60,
            fallback="available",
        ),
        (UNIFIED + b"representative-claim", b"five_hour"),
        (UNIFIED + b"5h-surpassed-threshold", b"0.9"),
        (UNIFIED + b"7d_opus-utilization", b"0.25"),
        (UNIFIED + b"fallback-percentage", b"0.5"),
    )
    assert (reading.status, reading.reset_ms, reading.remaining) == ("allowed_warning", NOW + 60_000, 7)
    assert (reading.claim, reading.fallback) == ("five_hour", "available")
    assert reading.windows == (
        Window("5h", 0.92, "allowed_warning", NOW + 60_000, 0.9),
        Window("7d_opus", 0.25),
    )
    assert reading.windows[1].scope == "opus"
    assert reading.headroom == pytest.approx(0.08)
    assert reading.headroom_at(NOW, "opus") == pytest.approx(0.75)
    assert reading.headroom_at(NOW + 60_001) is None


def test_overage_fields_are_no_window() -> None:
    """The overage headers are read as what they are, not as a window named overage."""
    reading = read(
        *unified(overage__reset=NOW_S + 9),
        (UNIFIED + b"overage-status", b"rejected"),
        (UNIFIED + b"overage-disabled-reason", b"out_of_credits"),
        (UNIFIED + b"overage-in-use", b"TRUE"),
        (UNIFIED + b"overage-period-utilization", b"0.1"),
    )
    assert reading.windows == ()
    assert (reading.overage_status, reading.overage_reset_ms) == ("rejected", NOW + 9000)
    assert (reading.overage_reason, reading.overage_in_use) == ("out_of_credits", True)


def test_budgets_of_key_accounts() -> None:
    """The four budgets are read with their RFC 3339 resets, and the scarcest one is the headroom."""
    reading = read(
        (b"anthropic-ratelimit-requests-limit", b"50"),
        (b"anthropic-ratelimit-requests-remaining", b"49"),
        (b"anthropic-ratelimit-input-tokens-limit", b"1000"),
        (b"anthropic-ratelimit-input-tokens-remaining", b"100"),
        (b"anthropic-ratelimit-input-tokens-reset", b"2027-01-15T08:00:30Z"),
    )
    by_name = {budget.name: budget for budget in reading.budgets}
    assert (by_name["requests"].limit, by_name["requests"].remaining) == (50, 49)
    assert by_name["input-tokens"].reset_ms == NOW + 30_000
    assert reading.headroom == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"0", 0),
        (b"1.5", 1500),
        (b" 30 ", 30_000),
        (b"Fri, 15 Jan 2027 08:00:10 GMT", 10_000),
        (b"Friday, 15-Jan-27 08:00:10 GMT", 10_000),
        (b"Fri, 15 Jan 2027 07:00:00 GMT", 0),
        (b"999999999999", 8 * DAY_MS),
        (b"Fri, 15 Jan 2100 07:00:00 GMT", 8 * DAY_MS),
        (b"-1", None),
        (b"nan", None),
        (b"inf", None),
        (b"soon", None),
        (b"", None),
        (b"1_0", None),
        (b"Fri, 99 Jan 2027 08:00:10 GMT", None),
        (b"\xff" * 12, None),
    ],
)
def test_retry_after_in_every_form(value: bytes, expected: int | None) -> None:
    """`retry-after` is seconds or a date; the past is now, the absurd eight days, nonsense not there."""
    assert read((b"Retry-After", value)).retry_after_ms == expected


def test_retry_after_ms_is_more_exact() -> None:
    """`retry-after-ms` wins over `retry-after`."""
    assert read((b"retry-after", b"1"), (b"retry-after-ms", b"250")).retry_after_ms == 250


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (str(NOW_S + 60).encode(), NOW + 60_000),
        (str(NOW_S - 1).encode(), None),
        (str(NOW_S + 10**7).encode(), NOW + 8 * DAY_MS),
        (b"9" * 30, NOW + 8 * DAY_MS),
        (b"2027-01-15T08:01:00+00:00", NOW + 60_000),
        (b"2027-01-15T08:01:00", NOW + 60_000),
        (b"0001-01-01T00:00:00+23:00", None),
        (b"tomorrow", None),
        (b"\xc3\xa9", None),
        (b"", None),
    ],
)
def test_resets(value: bytes, expected: int | None) -> None:
    """A reset in the past is none, an absurd one is eight days away, nonsense is not there."""
    assert read((UNIFIED + b"reset", value), (UNIFIED + b"status", b"allowed")).reset_ms == expected


def test_window_that_began_anew_says_nothing() -> None:
    """A window whose reset has passed neither rejects nor counts as used."""
    reading = read(*unified(w5h__status="rejected", w5h__utilization="1.0", w5h__reset=NOW_S - 5))
    assert reading.windows == (Window("5h"),)
    assert reading.account_rejected == ()
    assert reading.headroom is None


def test_nonsense_is_not_there() -> None:
    """Values of no meaning are ignored one by one; the rest is read."""
    reading = read(
        (UNIFIED + b"status", b"\xff\xfe words, many"),
        (UNIFIED + b"remaining", b"-4"),
        (UNIFIED + b"5h-utilization", b"lots"),
        (UNIFIED + b"7d-utilization", b"1.7"),
        (b"anthropic-ratelimit-requests-limit", b"1e400"),
        (b"anthropic-ratelimit-requests-remaining", b"3"),
        (b"x-should-retry", b"perhaps"),
    )
    assert (reading.status, reading.remaining, reading.should_retry) == (None, None, None)
    assert [window.utilization for window in reading.windows] == [None, 1.0]
    assert reading.budgets[0].limit is None
    assert reading.headroom == 0


def test_number_of_windows_is_bounded() -> None:
    """A flood of made-up windows is cut off."""
    flood = [(UNIFIED + b"w%d-status" % index, b"allowed") for index in range(1000)]
    assert len(read_limits(flood, NOW).windows) <= 24


def test_memory_for_header_names_is_bounded() -> None:
    """An upstream that makes up names does not make this process grow."""
    for index in range(3000):
        read((b"x-made-up-%d" % index, b""), (b"x" * (1000 + index), b""))
    assert len(_SLOTS) <= MOST_NAMES
    assert max(map(len, _SLOTS)) <= 80
    assert read((b"X-Should-RETRY", b"true")).should_retry is True


def test_first_value_of_a_repeated_header_counts() -> None:
    """A repeated header does not change what the first one said."""
    assert read((UNIFIED + b"status", b"allowed"), (UNIFIED + b"status", b"rejected")).status == "allowed"


# Verdicts.

FIVE_HOURS = unified(status="rejected", reset=NOW_S + 3600, w5h__status="rejected", w5h__reset=NOW_S + 3600)
OPEN_WINDOWS = unified(w5h__status="allowed", w7d__status="allowed")
CLAIM = UNIFIED + b"representative-claim"


@dataclass(frozen=True)
class Case:
    """An outcome and what it must mean."""

    name: str
    outcome: Outcome
    action: str
    effect: object = None
    retry_after_ms: int | None = None


def outcome(status: int, *headers: tuple[bytes, bytes], **fields: object) -> Outcome:
    values = {"kind": "api_key", "model": "claude-opus-4-1", **fields}
    return Outcome(status, NOW, reading=read(*headers), **values)  # type: ignore[arg-type]  # test literals


CASES = [
    Case("200", outcome(200), "deliver"),
    Case("304", outcome(304), "deliver"),
    Case("307", outcome(307), "deliver"),
    Case("200 rejected", outcome(200, *FIVE_HOURS), "deliver", LimitAccount(NOW + 3_600_000, "")),
    Case("200 paid overage", outcome(200, *FIVE_HOURS, (UNIFIED + b"overage-in-use", b"true")), "deliver"),
    Case(
        "200 rejected for one model",
        outcome(200, *unified(status="rejected", reset=NOW_S + 60), *OPEN_WINDOWS, (CLAIM, b"seven_day_opus")),
        "deliver",
        SetAside("opus", NOW + 60_000, "", family=True),
    ),
    Case("200 rejected, no reset", outcome(200, *unified(status="rejected")), "deliver"),
    Case("200 unknown word", outcome(200, *unified(status="pondering", reset=NOW_S + 60)), "deliver"),
    Case("400", outcome(400, error_type="invalid_request_error", error_message="max_tokens"), "deliver"),
    Case("404", outcome(404), "deliver"),
    Case("409", outcome(409), "deliver"),
    Case("413", outcome(413), "deliver"),
    Case("422", outcome(422), "deliver"),
    Case("401 key", outcome(401), "next", RefuseCredential("")),
    Case("401 oauth", outcome(401, kind="oauth"), "refresh"),
    Case("401 oauth again", outcome(401, kind="oauth", refreshed=True), "next", RefuseCredential("")),
    Case("429 window", outcome(429, *FIVE_HOURS), "next", LimitAccount(NOW + 3_600_000, "")),
    Case(
        "429 hard status alone",
        outcome(429, *unified(status="blocked"), (b"retry-after", b"90")),
        "next",
        LimitAccount(NOW + 90_000, ""),
    ),
    Case(
        "429 hard status, no reset",
        outcome(429, *unified(status="rate_limited")),
        "next",
        LimitAccount(None, ""),
    ),
    Case(
        "429 reset in the past",
        outcome(429, *unified(status="rejected", reset=NOW_S - 3600)),
        "next",
        LimitAccount(None, ""),
    ),
    Case(
        "429 opus window, account open",
        outcome(
            429,
            *unified(status="rejected", reset=NOW_S + 9, w7d_opus__status="rejected", w7d_opus__reset=NOW_S + 99),
            *OPEN_WINDOWS,
            (CLAIM, b"seven_day_opus"),
        ),
        "next",
        SetAside("opus", NOW + 99_000, "", family=True),
    ),
    Case(
        "429 opus claim, but five hours are over too",
        outcome(429, *FIVE_HOURS, (CLAIM, b"seven_day_opus")),
        "next",
        LimitAccount(NOW + 3_600_000, ""),
    ),
    Case(
        "429 opus claim for another model",
        outcome(
            429,
            *unified(status="rejected"),
            *OPEN_WINDOWS,
            (CLAIM, b"seven_day_opus"),
            model="claude-haiku-4-5",
        ),
        "next",
        SetAside("claude-haiku-4-5", None, ""),
    ),
    Case(
        "429 overage",
        outcome(
            429,
            *unified(status="rejected", overage__status="rejected"),
            *OPEN_WINDOWS,
            (CLAIM, b"overage"),
            (b"retry-after", b"11054"),
        ),
        "next",
        SetAside("claude-opus-4-1", NOW + 300_000, ""),
    ),
    Case(
        "429 budget with retry-after",
        outcome(429, (b"anthropic-ratelimit-requests-remaining", b"0"), (b"retry-after", b"12")),
        "next",
        LimitAccount(NOW + 12_000, ""),
    ),
    Case(
        "429 budget with reset",
        outcome(
            429,
            (b"anthropic-ratelimit-requests-remaining", b"0"),
            (b"anthropic-ratelimit-requests-reset", b"2027-01-15T08:00:30Z"),
        ),
        "next",
        LimitAccount(NOW + 30_000, ""),
    ),
    Case("429 only retry-after", outcome(429, (b"retry-after", b"30")), "next", LimitAccount(NOW + 30_000, "")),
    Case(
        "429 concurrency",
        outcome(
            429,
            (b"retry-after", b"1"),
            error_message="Number of concurrent connections has exceeded your rate limit.",
        ),
        "next",
        SetAside(None, NOW + 1000, ""),
    ),
    Case("429 bare", outcome(429, error_message="Error"), "next", SetAside("claude-opus-4-1", None, "")),
    Case(
        "429 bare, no model",
        outcome(429, error_message="Error", model=None),
        "next",
        SetAside(None, None, ""),
    ),
    Case(
        "429 budgets left",
        outcome(429, (b"anthropic-ratelimit-requests-remaining", b"9")),
        "next",
        SetAside("claude-opus-4-1", None, ""),
    ),
    Case("408", outcome(408), "retry"),
    Case("500", outcome(500), "retry"),
    Case("502", outcome(502), "retry"),
    Case("520", outcome(520), "retry"),
    Case("503 short", outcome(503, (b"retry-after", b"2")), "retry", retry_after_ms=2000),
    Case("503 now", outcome(503, (b"retry-after", b"0")), "retry"),
    Case("503 long", outcome(503, (b"retry-after", b"11")), "next"),
    Case("500 not again", outcome(500, (b"x-should-retry", b"false")), "next"),
    Case("529", outcome(529, *FIVE_HOURS), "retry"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_verdict_table(case: Case) -> None:
    """Every row of the table: the action, and how much of the account is concerned until when."""
    verdict = judge(case.outcome)
    assert verdict.action == case.action
    assert verdict.retry_after_ms == case.retry_after_ms
    assert type(verdict.effect) is type(case.effect)
    for field in ("model", "until_ms", "family"):
        assert getattr(verdict.effect, field, None) == getattr(case.effect, field, None)


@pytest.mark.parametrize("word", sorted(HARD_STATUSES | SOFT_STATUSES | {"confused"}))
def test_status_words(word: str) -> None:
    """Exactly the hard words limit an account."""
    verdict = judge(outcome(429, *unified(status=word, reset=NOW_S + 60)))
    assert isinstance(verdict.effect, LimitAccount) == (word in HARD_STATUSES)


ACCOUNT_ERRORS = (
    AccountError(frozenset({400, 429}), "money", "no credit", words=("credit balance",), codes=frozenset({"spent"})),
    AccountError(frozenset({400}), "shape", "extra usage", words=("extra usage",)),
    AccountError(frozenset({403}), "credential", "revoked", words=("revoked",), types=frozenset({"gone"})),
)


@pytest.mark.parametrize(
    ("broken", "action", "effect"),
    [
        (outcome(400, error_message="Your CREDIT BALANCE is too low"), "next", CoolAccount),
        (outcome(429, error_code="spent"), "next", CoolAccount),
        (outcome(400, error_message="draws from extra usage"), "next", SetAside),
        (outcome(403, error_message="Token has been revoked."), "next", RefuseCredential),
        (outcome(403, error_type="gone"), "next", RefuseCredential),
        (outcome(403, error_message="revoked", kind="oauth"), "refresh", type(None)),
        (outcome(403, error_message="revoked", kind="oauth", refreshed=True), "next", RefuseCredential),
        (outcome(403, error_message="this model is not for you"), "next", type(None)),
        (outcome(422, error_message="credit balance"), "deliver", type(None)),
    ],
)
def test_account_errors_come_first(broken: Outcome, action: str, effect: type) -> None:
    """A provider's account errors decide before the table, by wording in any case, code or type."""
    verdict = judge(broken, ACCOUNT_ERRORS)
    assert verdict.action == action
    assert isinstance(verdict.effect, effect)


def test_reasons_are_short_and_carry_no_upstream_text() -> None:
    """A reason is made of our words and cleaned tokens, never of upstream's message."""
    verdict = judge(outcome(401, error_type="x\r\n" + "y" * 500, error_message="sk-ant-secret is bad", error_code=None))
    assert len(verdict.reason) <= 120
    assert "sk-ant" not in verdict.reason
    assert verdict.reason.isprintable()


def test_reasons_name_the_limit() -> None:
    """Who reads the log sees which limit was met."""
    scoped = unified(status="rejected", overage__status="rejected")
    assert "overage" in judge(outcome(429, *scoped, *OPEN_WINDOWS)).reason
    assert "five_hour" in judge(outcome(429, *FIVE_HOURS, (CLAIM, b"five_hour"))).reason


def test_failure_without_an_answer_is_tried_again() -> None:
    """No answer means another try on the same account, and nothing about the account."""
    verdict = judge_failure("connect_timeout")
    assert (verdict.action, verdict.effect, verdict.reason) == ("retry", None, "connect_timeout")
    assert judge_failure("a b\n" * 50).reason.isprintable()


@pytest.mark.parametrize(
    ("error_type", "status"),
    [
        ("overloaded_error", 529),
        ("rate_limit_error", 429),
        ("timeout_error", 504),
        ("authentication_error", 401),
        ("permission_error", 403),
        ("billing_error", 402),
        ("invalid_request_error", 400),
        ("not_found_error", 404),
        ("request_too_large", 413),
        ("api_error", 500),
        ("never_heard_of", 500),
        (None, 500),
    ],
)
def test_error_types_have_a_status(error_type: str | None, status: int) -> None:
    """An error event stands for the status that the same error would have had."""
    assert error_status(error_type) == status
