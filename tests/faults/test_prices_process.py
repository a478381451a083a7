"""A real server renews its prices, from a server on loopback and from nowhere else."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ccflare.pricing import BUNDLED
from faults.conftest import MakeHome
from harness import MODEL, Upstream, ask, eventually, running


class Prices(ThreadingHTTPServer):
    """States that input of the tests' model costs 9 dollars."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked = 0
        super().__init__(("127.0.0.1", 0), _Answers)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/api.json"


class _Answers(BaseHTTPRequestHandler):
    server: Prices

    def do_GET(self) -> None:
        self.server.asked += 1
        costs = {name: price.rates for name, price in BUNDLED.models.items()}
        models = {
            name: {"cost": {"input": each.input / 1e6, "output": each.output / 1e6}} for name, each in costs.items()
        }
        models[MODEL]["cost"]["input"] = 9
        body = json.dumps({"anthropic": {"models": models}}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the base class's
        """Say nothing."""


@pytest.fixture
def prices() -> Iterator[Prices]:
    server = Prices()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join(5)
    server.server_close()


def kept(path: Path) -> bytes | None:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
        row = connection.execute("SELECT encoded FROM price_table").fetchone()
    return None if row is None else bytes(row[0])


def test_a_server_fetches_prices_uses_them_and_a_restart_does_not_fetch_again(
    make_home: MakeHome, upstream: Upstream, prices: Prices
) -> None:
    """The row of a request costs what was fetched, in the first run and in the next one."""
    home = make_home({"CF_PRICING_OFFLINE": "0", "CF_PRICING_URL": prices.url})
    costs = []
    for run in (1, 2):
        with running(home) as server:
            if run == 1:
                server.wait_for_log("[Pricing] Fetching latest pricing", within_s=15)
            eventually(lambda: kept(home.database), what="prices are kept")
            assert ask(server.port).status == 200
            costs.append(home.rows_when(run)[-1])
    assert prices.asked == 1
    for row in costs:
        output = BUNDLED.models[MODEL].rates.output
        expected = (9_000_000 * row["input_tokens"] + output * row["output_tokens"]) / 1e6
        assert row["cost_microusd"] == pytest.approx(expected, abs=1)


def test_an_offline_server_fetches_nothing(make_home: MakeHome, upstream: Upstream, prices: Prices) -> None:
    """`CF_PRICING_OFFLINE=1` holds from the first moment; the bundled prices count."""
    home = make_home({"CF_PRICING_URL": prices.url})
    with running(home) as server:
        assert ask(server.port).status == 200
        (row,) = home.rows_when(1)
        assert row["cost_microusd"] is not None
        assert "Fetching latest pricing" not in server.log_text()
    assert prices.asked == 0
