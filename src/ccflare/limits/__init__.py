"""What upstream says about its limits, what an outcome means, and when to try again.

The one rule: no I/O and no clock; the time and the random source are arguments.
`reading` turns headers into values, `verdict` turns an outcome into a decision, `retry` says how long to
wait.
"""

from ccflare.limits.reading import (
    HARD_STATUSES,
    NO_LIMITS,
    SOFT_STATUSES,
    STATUS_FIELD,
    Budget,
    Reading,
    Window,
    read_limits,
)
from ccflare.limits.retry import RetryBudget, backoff_ms
from ccflare.limits.verdict import (
    AccountError,
    CoolAccount,
    Effect,
    LimitAccount,
    Outcome,
    RefuseCredential,
    SetAside,
    Verdict,
    error_status,
    judge,
    judge_failure,
)

__all__ = [
    "HARD_STATUSES",
    "NO_LIMITS",
    "SOFT_STATUSES",
    "STATUS_FIELD",
    "AccountError",
    "Budget",
    "CoolAccount",
    "Effect",
    "LimitAccount",
    "Outcome",
    "Reading",
    "RefuseCredential",
    "RetryBudget",
    "SetAside",
    "Verdict",
    "Window",
    "backoff_ms",
    "error_status",
    "judge",
    "judge_failure",
    "read_limits",
]
