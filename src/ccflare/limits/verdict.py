"""What an upstream outcome means: one table.

Theory. An attempt ends with an outcome: a status (or the status that an event stream's first `error` event
stands for), upstream's error and its limit headers. Three questions decide, in this order:

1. *Whose fault is it?* An answer below 400 and an error that the client made are the client's: `deliver`.
   An error about the credential, the money or the limits of this account is the account's: another account
   may serve the same request, so `next`. Everything else is upstream's own trouble: `retry`.
2. *How much of the account is concerned?* The effect says so. A refused credential ends it
   (`RefuseCredential`), an exhausted window or budget limits all of it (`LimitAccount`), missing money cools
   it (`CoolAccount`), a limit of one model, of paid overage or of the request's shape sets it aside for that
   model (`SetAside`). Evidence that says nothing about the account changes nothing: an overload (529) never
   benches one.
3. *Until when?* Upstream's reset if it gave one that lies ahead; None otherwise, and the pool then waits for
   seconds, longer each time.

`_ROWS` holds the rows; the first that matches decides. What is an account's error and what is the client's
differs only in wording between some of them, so a provider brings its wordings as `AccountError` rows.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import msgspec

from ccflare.limits.reading import HARD_STATUSES, NO_LIMITS, Reading
from ccflare.records import Kind

Action = Literal["deliver", "retry", "next", "refresh"]

SHORT_WAIT_MS = 10_000
"""A `retry-after` up to this long is waited for on the same account."""

CONCURRENCY_MS = 60_000
MODEL_GUESS_MS = 300_000
"""The longest a model is set aside on evidence that names no window of that model."""

_UNAUTHORIZED = frozenset({401})
_LIMITED = frozenset({429})
_TRANSIENT = frozenset({408, *range(500, 600)})
_ERROR_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+", re.ASCII)


def error_status(error_type: str | None) -> int:
    """Return the status that an error type stands for; 500 for one that is not known."""
    return _ERROR_STATUS.get(error_type or "", 500)


class LimitAccount(msgspec.Struct, frozen=True):
    """The account serves nothing until an instant; None: no reset is known, wait longer each time."""

    until_ms: int | None
    reason: str


class SetAside(msgspec.Struct, frozen=True):
    """The account serves everything except one model; without a model: nothing, but only for seconds.

    `family` says that `model` is a word, such as `opus`, that stands for every model with it in its name.
    """

    model: str | None
    until_ms: int | None
    reason: str
    family: bool = False


class CoolAccount(msgspec.Struct, frozen=True):
    """The account lacks money or is over a spend limit; None: no end is known, wait longer each time."""

    until_ms: int | None
    reason: str


class RefuseCredential(msgspec.Struct, frozen=True):
    """The account's credential is not accepted, or cannot be read; a person has to act."""

    reason: str


Effect: TypeAlias = LimitAccount | SetAside | CoolAccount | RefuseCredential


class Verdict(msgspec.Struct, frozen=True):
    """What to do after an attempt, and what it means for the account."""

    action: Action
    effect: Effect | None = None
    reason: str = ""
    """A few words for people, made here: at most 120 characters, nothing of a body or a credential."""
    retry_after_ms: int | None = None
    """For `retry`: the pause that upstream asked for, at most `SHORT_WAIT_MS`."""


class Outcome(msgspec.Struct, frozen=True):
    """How an attempt ended, before its first body byte was delivered."""

    status: int
    """The answer's status, or what `error_status` makes of a first `error` event."""
    now_ms: int
    kind: Kind = "api_key"
    reading: Reading = NO_LIMITS
    error_type: str | None = None
    error_message: str | None = None
    error_code: str | None = None
    model: str | None = None
    """The model that the request named."""
    refreshed: bool = False
    """The account's token was refreshed in this exchange already."""


class AccountError(msgspec.Struct, frozen=True):
    """A provider's error that is about the account although its status could be the client's fault.

    It is met when the status fits and either the code or the error type is listed, or one of the words (lower
    case) is in the message. A row without any of these is met by the status alone.
    """

    statuses: frozenset[int]
    means: Literal["credential", "money", "shape"]
    """Refused credential; money or spend limit; a kind of request that this account does not serve."""
    reason: str
    words: tuple[str, ...] = ()
    codes: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()

    def fits(self, outcome: Outcome) -> bool:
        """Whether an outcome is this error."""
        if outcome.status not in self.statuses:
            return False
        if not (self.words or self.codes or self.types):
            return True
        if outcome.error_code in self.codes or outcome.error_type in self.types:
            return True
        message = (outcome.error_message or "").lower()
        return any(word in message for word in self.words)


@dataclass(frozen=True, slots=True)
class _Row:
    """For one of the statuses (None: any), when `when` holds: the action, and what makes the effect."""

    statuses: frozenset[int] | None
    when: Callable[[Outcome], bool]
    action: Action
    reason: str
    effect: Callable[[Outcome, str], Effect | None]

    def fits(self, outcome: Outcome) -> bool:
        return (self.statuses is None or outcome.status in self.statuses) and self.when(outcome)


def judge(outcome: Outcome, account_errors: Sequence[AccountError] = ()) -> Verdict:
    """Say what an outcome means. Never raises."""
    if outcome.status < 400:
        return _DELIVER if outcome.reading.status not in HARD_STATUSES else _judge_served(outcome)
    for error in account_errors:
        if error.fits(outcome):
            return _judge_account_error(outcome, error)
    row = next(row for row in _ROWS if row.fits(outcome))
    reason = _reason(outcome, row.reason)
    retry_after_ms = outcome.reading.retry_after_ms if row.action == "retry" else None
    return Verdict(row.action, row.effect(outcome, reason), reason, retry_after_ms or None)


def judge_failure(kind: str) -> Verdict:
    """Say what it means that no answer came, by the `kind` of the transport's error: try again.

    An address that must not be connected stays one: nobody is asked again.
    """
    return Verdict("next" if kind == "refused_address" else "retry", None, _UNSAFE.sub("_", kind)[:60] or "failure")


def _judge_served(outcome: Outcome) -> Verdict:
    """Deliver an answer that says it is the last one for now; the account learns it for the next."""
    if outcome.status >= 300 or outcome.reading.overage_in_use:
        return _DELIVER
    if _limits_account(outcome):
        effect: LimitAccount | SetAside = _limit_account(outcome, _reason(outcome, "account rate limited"))
    elif _limits_family(outcome):
        effect = _set_family_aside(outcome, _reason(outcome, "model rate limited"))
    else:
        return _DELIVER
    return Verdict("deliver", effect, effect.reason) if effect.until_ms is not None else _DELIVER


def _judge_account_error(outcome: Outcome, error: AccountError) -> Verdict:
    reason = _reason(outcome, error.reason)
    if error.means == "money":
        return Verdict("next", CoolAccount(None, reason), reason)
    if error.means == "shape":
        return Verdict("next", SetAside(outcome.model, None, reason), reason)
    if _may_refresh(outcome):
        return Verdict("refresh", None, reason)
    return Verdict("next", RefuseCredential(reason), reason)


def _limits_account(outcome: Outcome) -> bool:
    reading = outcome.reading
    if reading.account_rejected or any(budget.remaining == 0 for budget in reading.budgets):
        return True
    if reading.unified:
        scoped = reading.account_allowed or reading.overage_only or _claimed_family(reading) is not None
        return reading.status in HARD_STATUSES and not scoped
    return reading.retry_after_ms is not None


def _limit_account(outcome: Outcome, reason: str) -> LimitAccount:
    return LimitAccount(_account_until(outcome), reason)


def _account_until(outcome: Outcome) -> int | None:
    """Return the account's reset: of exhausted windows, else the unified one, else what retry-after says."""
    reading = outcome.reading
    resets = [window.reset_ms for window in reading.account_rejected if window.reset_ms is not None]
    if resets:
        return max(resets)
    if reading.status in HARD_STATUSES and reading.reset_ms is not None:
        return reading.reset_ms
    return _waited_until(outcome) or _spent_reset_ms(reading)


def _spent_reset_ms(reading: Reading) -> int | None:
    """Return when the last of the budgets that are used up is full again."""
    spent = [budget.reset_ms for budget in reading.budgets if budget.remaining == 0 and budget.reset_ms]
    return max(spent, default=None)


def _waited_until(outcome: Outcome) -> int | None:
    wait_ms = outcome.reading.retry_after_ms
    return outcome.now_ms + wait_ms if wait_ms else None


def _claimed_family(reading: Reading) -> str | None:
    """Return the model family that a claim (`seven_day_opus`) or a rejected window (`7d_opus`) is about."""
    claim = reading.claim or ""
    if claim.startswith(("seven_day_", "five_hour_")) and "overage" not in claim:
        return claim.split("_", 2)[2] or None
    rejected = [w.scope for w in reading.windows if w.scope not in {None, "oi"} and w.status in HARD_STATUSES]
    return rejected[0] if rejected else None


def _limits_family(outcome: Outcome) -> bool:
    family = _claimed_family(outcome.reading)
    return family is not None and outcome.model is not None and family in outcome.model.split("-")


def _set_family_aside(outcome: Outcome, reason: str) -> SetAside:
    family = _claimed_family(outcome.reading)
    resets = [w.reset_ms for w in outcome.reading.windows if w.scope == family and w.reset_ms is not None]
    until_ms = max(resets) if resets else outcome.reading.reset_ms or _waited_until(outcome)
    return SetAside(family, until_ms, reason, family=True)


def _set_model_aside(outcome: Outcome, reason: str) -> SetAside:
    """Set aside on thin evidence: for as long as upstream asked, but minutes at most."""
    if outcome.model is None:
        return _pause_account(outcome, reason)
    until_ms = _waited_until(outcome) or outcome.reading.overage_reset_ms
    return SetAside(outcome.model, until_ms and min(until_ms, outcome.now_ms + MODEL_GUESS_MS), reason)


def _pause_account(outcome: Outcome, reason: str) -> SetAside:
    until_ms = _waited_until(outcome)
    return SetAside(None, until_ms and min(until_ms, outcome.now_ms + CONCURRENCY_MS), reason)


def _asks_long(outcome: Outcome) -> bool:
    return (outcome.reading.retry_after_ms or 0) > SHORT_WAIT_MS or outcome.reading.should_retry is False


def _may_refresh(outcome: Outcome) -> bool:
    return outcome.kind == "oauth" and not outcome.refreshed


def _refuse_credential(outcome: Outcome, reason: str) -> Effect:
    return RefuseCredential(reason)


def _always(outcome: Outcome) -> bool:
    return True


def _no_effect(outcome: Outcome, reason: str) -> None:
    return None


def _limits_overage(outcome: Outcome) -> bool:
    return outcome.reading.overage_only


def _speaks_of_concurrency(outcome: Outcome) -> bool:
    return "concurren" in (outcome.error_message or "").lower()


def _reason(outcome: Outcome, words: str) -> str:
    claim = outcome.reading.claim if outcome.status == 429 or outcome.status < 300 else None
    detail = claim or _UNSAFE.sub("_", outcome.error_code or outcome.error_type or "")[:40]
    return f"{outcome.status} {words} ({detail})" if detail else f"{outcome.status} {words}"


_DELIVER = Verdict("deliver")

_ROWS = (
    _Row(_UNAUTHORIZED, _may_refresh, "refresh", "token refused", _no_effect),
    _Row(_UNAUTHORIZED, _always, "next", "credential refused", _refuse_credential),
    _Row(_LIMITED, _speaks_of_concurrency, "next", "too many concurrent connections", _pause_account),
    _Row(_LIMITED, _limits_account, "next", "account rate limited", _limit_account),
    _Row(_LIMITED, _limits_family, "next", "model rate limited", _set_family_aside),
    _Row(_LIMITED, _limits_overage, "next", "overage rate limited", _set_model_aside),
    _Row(_LIMITED, _always, "next", "rate limited without saying what", _set_model_aside),
    _Row(_TRANSIENT, _asks_long, "next", "upstream trouble, not to be retried soon", _no_effect),
    _Row(_TRANSIENT, _always, "retry", "upstream trouble", _no_effect),
    # Another account's key may be allowed what this one is not; that says nothing about its next request.
    _Row(frozenset({403}), _always, "next", "permission refused", _no_effect),
    _Row(None, _always, "deliver", "the client's own", _no_effect),
)
