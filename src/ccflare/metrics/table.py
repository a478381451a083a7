"""Every metric, once: what is exposed, merged and documented follows from this table.

A new metric is one row here and one line where its value is known (`tally` or `vitals`). Names and units are those of
Prometheus: base units, `_total` for what only grows. Labels are bounded: accounts by the operator, models by
`tally.MODELS`, all others by what the program itself can say.
"""

from typing import Final, Literal

import msgspec

Kind = Literal["counter", "gauge", "histogram"]
Merge = Literal["each", "sum", "max", "min"]


class Metric(msgspec.Struct, frozen=True):
    """One row of the table."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    merge: Merge = "each"
    """What the values of several workers make together; `each` stands for itself, with a label more.

    That is so for all counters: the sum would fall when a worker is restarted or does not answer in time, and what
    falls and rises again counts as new.
    """
    bounds: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets, in its unit, without the last one, which is infinite."""


_OWN_S = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_ANSWER_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 300.0, 600.0)
_EXCHANGE_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
_DELAY_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

# What clients asked and got: counted as exchanges come to their end.

EXCHANGES: Final = Metric(
    "ccflare_exchanges_total",
    "counter",
    "Requests below /v1/ that have ended, by how they ended for the client.",
    ("account", "model", "outcome"),
)
OVERHEAD: Final = Metric(
    "ccflare_exchange_overhead_seconds",
    "histogram",
    "What ccflare itself took of the time to the first byte, waiting for upstream not included.",
    bounds=_OWN_S,
)
FIRST_BYTE: Final = Metric(
    "ccflare_exchange_first_byte_seconds",
    "histogram",
    "Arrival to the first byte of the answer, of successful exchanges.",
    ("model",),
    bounds=_ANSWER_S,
)
DURATION: Final = Metric(
    "ccflare_exchange_duration_seconds",
    "histogram",
    "Arrival to the last byte of the answer, of successful exchanges.",
    ("model",),
    bounds=_EXCHANGE_S,
)
ATTEMPTS: Final = Metric(
    "ccflare_attempts_total",
    "counter",
    "Tries upstream, by what their outcome meant: deliver, retry, next, refresh, broken, cancelled.",
    ("account", "verdict"),
)
TOKENS: Final = Metric(
    "ccflare_tokens_total",
    "counter",
    "Tokens as upstream counted them: input (not cached), output, cache_read, cache_write_5m, cache_write_1h.",
    ("account", "model", "class"),
)
COST: Final = Metric(
    "ccflare_cost_dollars_total",
    "counter",
    "Cost by the price table, in US dollars.",
    ("account", "model"),
)
UNPRICED: Final = Metric(
    "ccflare_unpriced_exchanges_total",
    "counter",
    "Exchanges with tokens whose cost is not known; they are missing in the cost.",
    ("model",),
)

# Accounts and their limits.

ACCOUNT_STATE: Final = Metric(
    "ccflare_account_state",
    "gauge",
    "1 for the state that the account is in, 0 for the others: active, paused, rate_limited, expired, auth_failed.",
    ("account", "state"),
    "max",
)
ACCOUNT_LIMITED_UNTIL: Final = Metric(
    "ccflare_account_limited_until_timestamp_seconds",
    "gauge",
    "When the account's present limit ends; absent while it has none.",
    ("account",),
    "max",
)
ACCOUNT_IN_FLIGHT: Final = Metric(
    "ccflare_account_exchanges_in_flight", "gauge", "Exchanges that the account serves now.", ("account",), merge="sum"
)
ACCOUNT_SESSIONS: Final = Metric(
    "ccflare_account_sessions", "gauge", "Sessions bound to the account.", ("account",), "max"
)
WINDOW_UTILIZATION: Final = Metric(
    "ccflare_account_window_utilization_ratio",
    "gauge",
    "Share of a rate-limit window that is used, as upstream said last.",
    ("account", "window"),
    "max",
)
WINDOW_RESET: Final = Metric(
    "ccflare_account_window_reset_timestamp_seconds",
    "gauge",
    "When a rate-limit window begins anew.",
    ("account", "window"),
    "max",
)
BUDGET_LIMIT: Final = Metric(
    "ccflare_account_budget_limit", "gauge", "Size of a rate-limit budget.", ("account", "budget"), "max"
)
BUDGET_REMAINING: Final = Metric(
    "ccflare_account_budget_remaining", "gauge", "What is left of a rate-limit budget.", ("account", "budget"), "min"
)
REFRESHES: Final = Metric(
    "ccflare_token_refreshes_total",
    "counter",
    "Refreshes of OAuth tokens: success, failure (tried again later), expired (needs a new sign-in).",
    ("account", "outcome"),
)

# The server at this moment.

IN_FLIGHT: Final = Metric("ccflare_exchanges_in_flight", "gauge", "Exchanges that are running now.", merge="sum")
STREAMS: Final = Metric("ccflare_streams_open", "gauge", "Event streams that are being relayed now.", merge="sum")
FOLLOWERS: Final = Metric(
    "ccflare_followers_open", "gauge", "Event streams of the API that are followed now.", merge="sum"
)
UPSTREAM: Final = Metric(
    "ccflare_upstream_connections", "gauge", "Connections to upstream: idle or in_use.", ("state",), merge="sum"
)
RETRY_BUDGET: Final = Metric(
    "ccflare_retry_budget_retries", "gauge", "Repetitions that would be allowed at this moment.", merge="sum"
)
LOOP_DELAY: Final = Metric(
    "ccflare_event_loop_delay_seconds",
    "histogram",
    "How late the event loop was, ten times a second.",
    bounds=_DELAY_S,
)

# The history's writer.

QUEUE_ROWS: Final = Metric(
    "ccflare_journal_queue_exchanges", "gauge", "Exchanges not in the database yet.", merge="sum"
)
QUEUE_BYTES: Final = Metric("ccflare_journal_queue_bytes", "gauge", "Memory that they hold.", merge="sum")
WRITTEN: Final = Metric("ccflare_journal_written_exchanges_total", "counter", "Exchanges written into the database.")
LOST: Final = Metric("ccflare_journal_lost_exchanges_total", "counter", "Exchanges that could not be recorded.")
WRITER_LAG: Final = Metric(
    "ccflare_journal_lag_seconds",
    "gauge",
    "What ended longer ago than this is in the database; 0 while nothing waits.",
    merge="max",
)
WRITER_FAILING: Final = Metric(
    "ccflare_journal_failing_seconds",
    "gauge",
    "For how long nothing could be written; 0 while all is well.",
    merge="max",
)
PAYLOADS_WAITING: Final = Metric(
    "ccflare_journal_queue_payloads", "gauge", "Headers and bodies that are not in the database yet.", merge="sum"
)
PAYLOAD_BYTES: Final = Metric("ccflare_journal_queue_payload_bytes", "gauge", "Memory that they hold.", merge="sum")
PAYLOADS_WRITTEN: Final = Metric(
    "ccflare_journal_written_payloads_total", "counter", "Headers and bodies written into the database."
)
PAYLOADS_DROPPED: Final = Metric(
    "ccflare_journal_dropped_payloads_total", "counter", "Headers and bodies that were not kept."
)

# The program and its processes; those without prefix are Prometheus' own names.

BUILD: Final = Metric(
    "ccflare_build_info", "gauge", "1, with the versions of ccflare and Python as labels.", ("version", "python"), "max"
)
WORKERS: Final = Metric("ccflare_workers", "gauge", "Processes whose numbers are in this answer.", merge="sum")
CPU: Final = Metric("process_cpu_seconds_total", "counter", "CPU time, user and system.")
RESIDENT: Final = Metric("process_resident_memory_bytes", "gauge", "Resident memory.")
VIRTUAL: Final = Metric("process_virtual_memory_bytes", "gauge", "Virtual memory.")
OPEN_FDS: Final = Metric("process_open_fds", "gauge", "Open files and sockets.")
MAX_FDS: Final = Metric("process_max_fds", "gauge", "How many there may be.")
STARTED: Final = Metric("process_start_time_seconds", "gauge", "When the process was started; not if /proc is hidden.")

METRICS: Final = tuple(each for each in list(globals().values()) if isinstance(each, Metric))
"""All rows, in the order in which they are exposed."""
