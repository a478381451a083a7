"""The simulated upstream: a real HTTP/1.1 server on loopback that behaves, and misbehaves, as the Claude API.

In process: `SimulatedUpstream`. As a process of its own: `python -m ccflare.demo.upstream --port 0 --accounts
3`, which prints one line of JSON with its address and accounts when it is ready.
"""

import argparse
import asyncio
import contextlib
import signal
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from ccflare.demo.accounts import SimulatedAccount
from ccflare.demo.books import Books, LogEntry
from ccflare.demo.budgets import Limits
from ccflare.demo.connection import Connection
from ccflare.demo.control import ControlInterface, make_rule
from ccflare.demo.oauth import OAuth
from ccflare.demo.reply import encode
from ccflare.demo.service import Service
from ccflare.demo.world import UpstreamSettings, World

STOP_S = 2.0


class SimulatedUpstream:
    """One simulated service. Start it, point a client at `url`, read `log` and `books` afterwards.

    `strict` refuses unknown credentials; otherwise any credential makes an account. `seed` decides every
    identifier, key and random choice. `now` is the time of limits, tokens, caches and batches, in epoch
    seconds.
    """

    def __init__(  # keyword-only, each with a default
        self,
        accounts: Sequence[SimulatedAccount] = (),
        *,
        strict: bool = True,
        seed: int = 1,
        now: Callable[[], float] = time.time,
        log_size: int = 10_000,
        keep_bodies: bool = False,
    ) -> None:
        self.world = World(strict, seed, now, Books(log_size, keep_bodies=keep_bodies))
        self.world.add(accounts)
        self._service = Service(self.world)
        self._control = ControlInterface(self.world, self._service.batches)
        self._connections: set[Connection] = set()
        self._all_gone = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0, ssl_context: ssl.SSLContext | None = None) -> str:
        """Listen and return the base URL. Raises OSError when the address is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self._service, self._control, self._connections, self._all_gone),
            host,
            port,
            ssl=ssl_context,
            backlog=2048,
        )
        bound = self._server.sockets[0].getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        self.world.origin = f"{'https' if ssl_context else 'http'}://{shown}:{bound}"
        return self.world.origin

    async def stop(self) -> None:
        """Stop listening and break what is open; at most two seconds."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for connection in list(self._connections):
            connection.abort()
        self._all_gone.clear()
        if self._connections:
            with contextlib.suppress(TimeoutError):  # what is left then was aborted: nothing waits for it
                await asyncio.wait_for(self._all_gone.wait(), STOP_S)

    async def __aenter__(self) -> "SimulatedUpstream":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """The base URL; empty before `start`."""
        return self.world.origin

    @property
    def accounts(self) -> dict[str, SimulatedAccount]:
        """The accounts by name. Their fields may be changed at any time."""
        return self.world.accounts

    @property
    def settings(self) -> UpstreamSettings:
        """The server's habits. They may be changed at any time."""
        return self.world.settings

    @property
    def oauth(self) -> OAuth:
        """The authorisation server: its `settings`, its `counts`, `tokens(name)`, `revoke`, `expire`."""
        return self.world.oauth

    @property
    def log(self) -> list[LogEntry]:
        """Finished requests in the order they ended; the oldest are dropped first."""
        return list(self.world.books.entries)

    @property
    def books(self) -> Books:
        """Counts by account and model, peaks, connections."""
        return self.world.books

    @property
    def in_flight(self) -> int:
        """Requests whose head has arrived and whose answer has not ended."""
        return self.world.books.in_flight

    @property
    def open_connections(self) -> int:
        """Connections that are open now."""
        return len(self._connections)

    def rule(  # the fields of a rule, as a rule is written
        self,
        action: str | dict[str, Any] | list[Any],
        *,
        match: dict[str, Any] | None = None,
        skip: int = 0,
        times: int | None = None,
        every: int = 1,
        probability: float = 1.0,
    ) -> None:
        """Apply an action to the requests that match. Raises ValueError when it is not an action."""
        rule = make_rule(action, match=match, skip=skip, times=times, every=every, probability=probability)
        self.world.faults.rules.append(rule)

    def clear_rules(self) -> None:
        """Drop every rule and the counts of `fail_first`."""
        self.world.faults.clear()

    def add(self, account: SimulatedAccount) -> SimulatedAccount:
        """Let another account in. Raises ValueError for a name that is taken."""
        self.world.add([account])
        return account

    def credentials(self) -> list[dict[str, Any]]:
        """Return every account with what it proves itself with, as the command prints them."""
        shown = []
        for account in self.accounts.values():
            one: dict[str, Any] = {"name": account.name, "kind": account.kind}
            if account.kind == "api_key":
                one["api_key"] = account.api_key
            else:
                one["access_token"], one["refresh_token"] = self.oauth.tokens(account.name)
            shown.append(one)
        return shown


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ccflare.demo.upstream", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--accounts", type=int, default=3, help="how many key accounts (key-1, key-2, ...)")
    parser.add_argument("--oauth-accounts", type=int, default=0, help="how many OAuth accounts (oauth-1, ...)")
    parser.add_argument("--open", action="store_true", help="take any credential and make an account of it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rpm", type=float, default=1_000_000, help="requests per period and account")
    parser.add_argument("--period", type=float, default=60.0, help="seconds a budget takes to fill again")
    parser.add_argument("--pace", type=float, default=0.0, help="seconds between the events of a stream")
    parser.add_argument("--log-size", type=int, default=10_000, help="requests the log keeps")
    parser.add_argument("--cert", help="certificate chain (PEM): serve TLS")
    parser.add_argument("--key", help="private key (PEM)")
    return parser


def _upstream(options: argparse.Namespace) -> SimulatedUpstream:
    limits = {"rpm": options.rpm, "period_s": options.period}
    accounts = [SimulatedAccount(f"key-{number + 1}", limits=Limits(**limits)) for number in range(options.accounts)]
    accounts += [SimulatedAccount(f"oauth-{number + 1}", kind="oauth") for number in range(options.oauth_accounts)]
    upstream = SimulatedUpstream(accounts, strict=not options.open, seed=options.seed, log_size=options.log_size)
    upstream.settings.pace = options.pace
    return upstream


async def _serve(options: argparse.Namespace) -> None:
    context = None
    if options.cert:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(options.cert, options.key)
    upstream = _upstream(options)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    url = await upstream.start(options.host, options.port, context)
    sys.stdout.write(encode({"url": url, "accounts": upstream.credentials()}).decode() + "\n")
    sys.stdout.flush()
    try:
        await stop.wait()
    finally:
        await upstream.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the simulated upstream until SIGTERM or SIGINT; 1 when it cannot listen."""
    options = _parser().parse_args(arguments)
    if sys.platform == "win32":
        runner = asyncio.Runner()
    else:
        import uvloop

        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    try:
        with runner:
            runner.run(_serve(options))
    except OSError as error:
        sys.stderr.write(f"cannot serve on {options.host}:{options.port}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
