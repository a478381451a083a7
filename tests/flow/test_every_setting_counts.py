"""No setting is dead: for each one there is a check here that its value changes what happens."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from ccflare.app import build
from ccflare.clock import SystemClock
from ccflare.errors import InvalidSetting, TokenEndpointError
from ccflare.journal import Retention
from ccflare.listening import listen
from ccflare.oauth import OAuthSettings
from ccflare.records import Secret
from ccflare.serve.orders import Orders
from ccflare.serve.stopping import drain
from ccflare.settings import TABLE, Settings, load
from ccflare.store import open_store
from ccflare.tokens import TokenEndpoint
from ccflare.transport import Transport
from ccflare.wire import Origin
from flow.published_prices import prices_published
from flow.scripted import Answer, Client, World, error
from harness import COMMAND, passing

Check = Callable[[Path], Coroutine[Any, Any, None]]
CHECKS: dict[str, Check] = {}


def shows(*names: str) -> Callable[[Check], Check]:
    """Say which settings a check is about."""

    def note(check: Check) -> Check:
        CHECKS.update(dict.fromkeys(names, check))
        return check

    return note


def app_of(directory: Path, **values: Any) -> Any:
    return build(Settings(**values), SystemClock(), lambda: open_store(directory / "x.db"))


def ccflare(directory: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the program with nothing else in its environment."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory)} | variables
    return subprocess.run(
        [sys.executable, "-m", "ccflare", *arguments],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


@shows("port")
async def port(_directory: Path) -> None:
    with contextlib.ExitStack() as stack:
        first, *_ = [stack.enter_context(sock) for sock in listen(Settings(port=0))]
        taken = first.getsockname()[1]
        with pytest.raises(Exception, match=str(taken)):
            listen(Settings(port=taken))


@shows("host")
async def host(_directory: Path) -> None:
    with contextlib.ExitStack() as stack:
        bound = [stack.enter_context(sock) for sock in listen(Settings(port=0, host="127.0.0.2"))]
        assert [sock.getsockname()[0] for sock in bound] == ["127.0.0.2"]


@shows("workers")
async def workers(directory: Path) -> None:
    one, two = log_of_a_server(directory / "one"), log_of_a_server(directory / "two", CCFLARE_WORKERS="2")
    assert (one.count("] Worker "), two.count(" serves")) == (0, 2)


@shows("open_without_keys")
async def open_without_keys(directory: Path) -> None:
    assert app_of(directory, host="0.0.0.0").client_keys.required
    assert not app_of(directory, host="0.0.0.0", open_without_keys=True).client_keys.required


@shows("allowed_hosts")
async def allowed_hosts(directory: Path) -> None:
    asking = Client(headers=[(b"host", b"proxy.lan:8080")])
    assert app_of(directory).gate.refusal(asking) is not None
    assert app_of(directory, allowed_hosts=("proxy.lan",)).gate.refusal(asking) is None


@shows("lb_strategy")
async def lb_strategy(directory: Path) -> None:
    with pytest.raises(InvalidSetting, match="Invalid strategy: random"):
        load({}, {"HOME": str(directory), "LB_STRATEGY": "random"}, create=False)


@shows("session_duration_ms")
async def session_duration_ms(directory: Path) -> None:
    assert app_of(directory, session_duration_ms=7000).pool.session_ms == 7000


@shows("retry_attempts", "retry_delay_ms", "retry_backoff")
async def retries(_directory: Path) -> None:
    slept = []
    for settings in ({"retry_delay_ms": 100}, {"retry_delay_ms": 100, "retry_backoff": 8.0, "retry_attempts": 4}):
        world = World("a", **settings)
        world.script(a=[error(500)])
        await world.ask()
        slept.append(world.clock.slept)
    few, many = slept
    assert (len(few), len(many)) == (2, 3)
    assert few[0] < 0.2
    assert many[2] > 4


@shows("connect_timeout_ms", "idle_timeout_ms")
async def deadlines(directory: Path) -> None:
    app = app_of(directory, connect_timeout_ms=1234, idle_timeout_ms=2345)
    assert (app.transport.deadlines.connect_s, app.transport.deadlines.idle_s) == (1.234, 2.345)


@shows("first_byte_timeout_ms", "exchange_timeout_ms")
async def bounds_of_an_exchange(_directory: Path) -> None:
    world = World(first_byte_timeout_ms=11_000, exchange_timeout_ms=400_000)
    await world.ask()
    assert (world.transport.sent[0].first_byte_s, world.transport.sent[0].exchange_s) == (11, 400)


@shows("shutdown_timeout_ms")
async def shutdown_timeout_ms(directory: Path) -> None:
    app = app_of(directory)
    app.apply(Settings(shutdown_timeout_ms=5))
    assert app.proxy.settings.shutdown_timeout_ms == 5  # what `serve` waits by; a stop by force is in faults/


@shows("shutdown_delay_ms")
async def shutdown_delay_ms(directory: Path) -> None:
    app, orders = app_of(directory, shutdown_delay_ms=3_600_000), Orders()
    draining = asyncio.create_task(drain(app, orders))
    await asyncio.sleep(0)
    assert not draining.done()
    orders.end(at_once=True)
    await draining


@shows("upstream_url")
async def upstream_url(_directory: Path) -> None:
    world = World("", upstream_url="http://127.0.0.1:9/below")
    await world.ask()
    assert world.transport.sent[0].origin == Origin("http", "127.0.0.1", 9)
    assert world.transport.sent[0].target == b"/below/v1/messages"


@shows("private_upstreams")
async def private_upstreams(directory: Path) -> None:
    app = app_of(directory, private_upstreams="none")
    assert app.transport.reach == "none"
    app.apply(Settings(private_upstreams="all"))
    assert app.transport.reach == "all"
    add = ("--add-account", "me", "--api-key-env", "MY_KEY", "--base-url", "http://127.0.0.1:9")
    for value, status in (("none", 1), ("loopback", 0)):
        made = ccflare(directory, *add, MY_KEY="sk-ant-api03-x", CCFLARE_PRIVATE_UPSTREAMS=value)
        assert made.returncode == status


@shows("client_id")
async def client_id(directory: Path) -> None:
    without = ccflare(directory, "--add-account", "me")
    having = ccflare(directory, "--add-account", "me", CLIENT_ID="mine")
    assert without.returncode == having.returncode == 1
    assert "needs an OAuth client of yours (CLIENT_ID)" in without.stderr
    assert "client_id=mine&" in having.stdout


@shows("oauth_authorize_url", "oauth_console_url", "oauth_redirect_uri", "oauth_scopes")
async def sign_in_addresses(directory: Path) -> None:
    given = {"CLIENT_ID": "mine", "CCFLARE_OAUTH_REDIRECT_URI": "http://localhost:1455/cb"}
    given |= {"CCFLARE_OAUTH_AUTHORIZE_URL": "http://a.example/x", "CCFLARE_OAUTH_SCOPES": "one two"}
    given |= {"CCFLARE_OAUTH_CONSOLE_URL": "http://b.example/y"}
    for mode, where in (("max", "http://a.example/x?"), ("console", "http://b.example/y?")):
        shown = ccflare(directory, "--add-account", "me", "--mode", mode, **given).stdout
        assert shown.startswith(where)
        assert "&redirect_uri=http%3A%2F%2Flocalhost%3A1455%2Fcb&scope=one+two&" in shown


@shows("oauth_token_url", "oauth_api_key_url")
async def token_endpoints(_directory: Path) -> None:
    world = World()
    world.transport.script[""] = [Answer(503)]
    urls: dict[str, Any] = {
        "oauth_token_url": "http://a.example/token",
        "oauth_api_key_url": "http://b.example/key",
    }
    settings = OAuthSettings.of(Settings(client_id="mine", **urls))
    endpoint = TokenEndpoint(cast("Transport", world.transport), lambda: settings, world.clock)
    for call in (endpoint.refresh(Secret("r")), endpoint.create_api_key(Secret("a"))):
        with pytest.raises(TokenEndpointError):
            await call
    sent = [(each.origin.host, each.target) for each in world.transport.sent]
    assert sent == [("a.example", b"/token"), ("b.example", b"/key")]


@shows("secret_key")
async def secret_key(directory: Path) -> None:
    database = directory / "k.db"
    variables = {"MY_KEY": "sk-ant-api03-x", "ccflare_DB_PATH": str(database)}
    for name, key in (("clear", ""), ("sealed", "open-sesame")):
        add = ("--add-account", name, "--api-key-env", "MY_KEY")
        added = ccflare(directory, *add, ccflare_SECRET_KEY=key, **variables)
        assert added.returncode == 0
        assert (b"sk-ant-" in database.read_bytes()) == (key == "")


@shows("body_buffer_bytes", "body_buffers_bytes")
async def kept_bodies(_directory: Path) -> None:
    cases: list[dict[str, Any]] = [{"body_buffer_bytes": 5}, {"body_buffer_bytes": 99, "body_buffers_bytes": 5}, {}]
    for settings in cases:
        world = World(retry_delay_ms=1, **settings)
        world.script(a=[error(500)], b=[Answer()])
        client = await world.ask()
        assert client.status == (500 if settings else 200)


@shows("store_payloads")
async def store_payloads(_directory: Path) -> None:
    kept = []
    for value in (True, False):
        world = World("a", store_payloads=value)
        await world.ask()
        kept += [captured is not None for captured in world.captured]
    assert kept == [True, False]


@shows("payload_budget_bytes", "data_retention_days", "request_retention_days")
async def retention(directory: Path) -> None:
    app = app_of(directory, payload_budget_bytes=1, data_retention_days=2, request_retention_days=3)
    assert app.journal.rules == Retention(payload_days=2, payload_bytes=1, request_days=3)
    app.apply(Settings(data_retention_days=5))
    assert app.journal.rules.payload_days == 5


@shows("max_exchanges")
async def max_exchanges(_directory: Path) -> None:
    world = World(max_exchanges=1)
    async with world.busy():
        assert (await world.ask()).status == 503


@shows("db_path")
async def db_path(directory: Path) -> None:
    away = directory / "away.db"
    assert ccflare(directory, "--list", ccflare_DB_PATH=str(away)).returncode == 0
    assert away.exists()


@shows("pricing_offline", "pricing_refresh_hours", "pricing_url")
async def pricing(directory: Path) -> None:
    async with prices_published(directory) as scene:
        process = scene.process()
        process.change(pricing_offline=True)
        await process.run(100)
        assert scene.publisher.heads == []
        process.change(pricing_offline=False, pricing_refresh_hours=50)
        await process.run(99)
        assert len(scene.publisher.heads) == 2
        process.change(pricing_url=scene.publisher.url.replace("api.json", "other.json"))
        await process.run(50)
        assert [head.split(" ")[1] for head in scene.publisher.heads] == ["/api.json", "/api.json", "/other.json"]


def log_of_a_server(directory: Path, **variables: str) -> str:
    """Start a real server, stop it when it answers, and return what it has logged."""
    directory.mkdir(exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "CCFLARE_LOG_DIR": str(directory)}
    environment["CF_PRICING_OFFLINE"] = "1"
    with socket.create_server(("127.0.0.1", 0)) as passed:  # who connects before it is there is answered later
        command = [*passing([passed]), *COMMAND, "serve"]
        with subprocess.Popen(
            command, env=environment | variables, stderr=subprocess.DEVNULL, pass_fds=[passed.fileno()]
        ) as server:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{passed.getsockname()[1]}/health", timeout=20).close()
            finally:
                server.terminate()
                server.wait(20)
    log = directory / "app.log"
    return log.read_text() if log.exists() else ""


@shows("log_dir", "log_format", "log_level", "debug")
async def logs(directory: Path) -> None:
    assert "INFO: [Server]" in log_of_a_server(directory)
    (directory / "app.log").unlink()
    assert log_of_a_server(directory, LOG_LEVEL="ERROR") == ""
    lines = log_of_a_server(directory, LOG_LEVEL="ERROR", LOG_FORMAT="json", ccflare_DEBUG="1").splitlines()
    assert all(msgspec.json.decode(line)["level"] for line in lines)
    assert any("listens on port" in line for line in lines)


@shows("otel_endpoint")
async def otel_endpoint(directory: Path) -> None:
    assert app_of(directory).traces is None
    assert app_of(directory, otel_endpoint="http://127.0.0.1:9").traces is not None  # what is sent: test_traces


@shows("http_proxy", "https_proxy", "no_proxy")
async def outgoing_proxies(directory: Path) -> None:
    app = app_of(directory, http_proxy="http://p:1", https_proxy="http://q:2", no_proxy="plain.example")
    rules = app.transport.proxies
    assert rules.proxy_for(Origin("http", "a.example", 80)).address.host == "p"
    assert rules.proxy_for(Origin("https", "a.example", 443)).address.host == "q"
    assert rules.proxy_for(Origin("http", "plain.example", 80)) is None


@pytest.mark.parametrize("check", dict.fromkeys(CHECKS.values()), ids=lambda check: check.__name__)
async def test_every_setting_changes_what_happens(check: Check, tmp_path: Path) -> None:
    """The value of each setting is seen in the program's behaviour; some are looked at together."""
    await check(tmp_path)


def test_every_setting_is_checked() -> None:
    """There is a check of each setting in the table."""
    assert {row.name for row in TABLE} == set(CHECKS)
