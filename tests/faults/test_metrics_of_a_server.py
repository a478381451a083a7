"""`/metrics` and `/ready` of a server process: what they say is what has happened, and they cost nobody anything."""

import signal
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

import rawhttp
from ccflare.metrics import METRICS
from harness import (
    MODEL,
    Home,
    Server,
    Upstream,
    ask,
    assert_upstream_clean,
    client_headers,
    eventually,
    messages,
    running,
)

Found = dict[str, list[tuple[dict[str, str], float]]]
SELDOM = {
    "ccflare_account_limited_until_timestamp_seconds",
    "ccflare_account_window_utilization_ratio",
    "ccflare_account_window_reset_timestamp_seconds",
    "ccflare_token_refreshes_total",
}
"""What needs a limit, or an OAuth account; unit and flow tests have those."""


def scrape(server: Server) -> Found:
    """Return the samples by their names, as Prometheus reads them."""
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=10) as answer:
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        text = answer.read().decode()
    found: Found = {}
    read: Any = text_string_to_metric_families
    for family in read(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def total(found: Found, name: str, **labels: str) -> float:
    """Return the sum over all samples that have these labels."""
    return sum(value for told, value in found.get(name, []) if labels.items() <= told.items())


def assert_process_described(server: Server, found: Found) -> None:
    """Assert that memory, open files, CPU and start are those that the system tells of this process."""
    assert abs(total(found, "process_resident_memory_bytes") - server.resident_bytes()) < 5_000_000
    assert abs(total(found, "process_open_fds") - server.descriptors()) <= 2
    assert 0 < total(found, "process_cpu_seconds_total") < 60
    assert total(found, "process_open_fds") < total(found, "process_max_fds")
    assert total(found, "ccflare_event_loop_delay_seconds_count") >= 0
    assert total(found, "process_start_time_seconds") > 1_600_000_000


def test_what_happened_is_what_is_scraped(home: Home, server: Server, upstream: Upstream) -> None:
    """Counts, tokens, cost, attempts and states are those of the history, and every metric has a value."""
    upstream.rule({"status": 529}, match={"account": "alpha"}, times=1)
    assert ask(server.port, messages("one")).status == 200
    assert ask(server.port, messages("two", stream=True)).status == 200
    upstream.rule({"status": 404}, times=1)
    assert ask(server.port, messages(model="made-up")).status == 404
    rows = home.rows_when(3)
    found = eventually(lambda: seen if total(seen := scrape(server), "ccflare_exchanges_total") == 3 else None)
    assert found
    assert total(found, "ccflare_exchanges_total", model=MODEL, outcome="success") == 2
    assert total(found, "ccflare_exchanges_total", model="(other)", outcome="client_error") == 1
    for kind, column in (("input", "input_tokens"), ("output", "output_tokens")):
        assert total(found, "ccflare_tokens_total", **{"class": kind}) == sum(row[column] or 0 for row in rows)
    cost = sum(row["cost_usd"] or 0 for row in rows)
    assert cost > 0
    assert round(total(found, "ccflare_cost_dollars_total"), 6) == round(cost, 6)
    verdicts = [attempt["verdict"] for row in rows for attempt in row["attempts"]]
    assert "retry" in verdicts
    for verdict in set(verdicts):
        assert total(found, "ccflare_attempts_total", verdict=verdict) == verdicts.count(verdict)
    assert total(found, "ccflare_account_state", account="alpha", state="active") == 1
    assert total(found, "ccflare_account_state") == 2
    assert total(found, "ccflare_exchange_overhead_seconds_count") == 3
    assert total(found, "ccflare_exchange_duration_seconds_count", model=MODEL) == 2
    names = {sample.removesuffix("_bucket") for sample in found}
    assert {metric.name for metric in METRICS} - names <= SELDOM
    assert_process_described(server, found)


def test_what_runs_now_is_seen(server: Server, upstream: Upstream) -> None:
    """A stream that is open counts as in flight, as stream, on its account and its connection, until it ends."""
    with closing(rawhttp.Connection(server.port)) as connection:
        body = messages("[[fake stall]]", stream=True)
        connection.send(rawhttp.request_bytes("POST", "/v1/messages", client_headers(), body))
        found = eventually(lambda: seen if total(seen := scrape(server), "ccflare_streams_open") else None)
        assert found
        assert total(found, "ccflare_exchanges_in_flight") == 1
        assert total(found, "ccflare_account_exchanges_in_flight", account="alpha") == 1
        assert total(found, "ccflare_upstream_connections", state="in_use") == 1
    after = eventually(lambda: seen if not total(seen := scrape(server), "ccflare_exchanges_in_flight") else None)
    assert after
    assert total(after, "ccflare_streams_open") == total(after, "ccflare_account_exchanges_in_flight") == 0
    eventually(lambda: total(scrape(server), "ccflare_exchanges_total", outcome="disconnected") == 1)


def test_one_scrape_sees_all_workers(home: Home, upstream: Upstream) -> None:
    """Whoever of two workers is asked tells of both: counters each one's own, accounts and what runs together."""
    with running(home, "--workers", "2") as pair:
        for _ in range(12):
            assert ask(pair.port, messages()).status == 200
        written = "ccflare_journal_written_exchanges_total"
        found = eventually(lambda: seen if total(seen := scrape(pair), written) == 12 else None)
        assert found
        assert total(found, "ccflare_exchanges_total") == 12
        assert total(found, "ccflare_workers") == 2
        assert len({labels["worker"] for labels, _ in found["process_cpu_seconds_total"]}) == 2
        assert total(found, "ccflare_account_state") == 2
    assert_upstream_clean(upstream)


def test_a_draining_server_says_so_and_goes_on(make_home: Callable[[Mapping[str, str]], Home]) -> None:
    """Asked to stop, a server that is given time is not ready but serves; asked again, it ends at once."""
    home = make_home({"CCFLARE_SHUTDOWN_DELAY_MS": "600000"})
    with running(home) as server:
        assert ask(server.port, method="GET", target="/ready", headers=[]).status == 200
        server.signal(signal.SIGTERM)
        server.wait_for_log("Draining")
        answer = ask(server.port, method="GET", target="/ready", headers=[])
        assert (answer.status, b'"draining"' in answer.body) == (503, True)
        assert ask(server.port, messages()).status == 200
        assert server.process.poll() is None
        assert server.stop() == 0
