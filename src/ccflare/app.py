"""All wiring and nothing else: which part is given which."""

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from starlette.applications import Starlette

from ccflare import api
from ccflare.api import Health
from ccflare.clock import Clock
from ccflare.credentials import Keyring
from ccflare.gate import Gate
from ccflare.journal import Journal
from ccflare.pool import Pool
from ccflare.providers import PROVIDERS
from ccflare.proxy import Parts, Proxy
from ccflare.records import Account, Credentials
from ccflare.settings import Settings
from ccflare.store import Store
from ccflare.transport import Deadlines, ProxyRules, Transport

log = logging.getLogger("ccflare.Server")


@dataclass(frozen=True, slots=True)
class App:
    """The parts of a server that its life cycle and its chores need."""

    proxy: Proxy
    pool: Pool
    transport: Transport
    journal: Journal
    gate: Gate
    asgi: Starlette
    load: Callable[[Sequence[Account], Mapping[str, Credentials]], None]
    """Take over the accounts as the store has them."""
    apply: Callable[[Settings], None]
    """Take over the settings that apply without a restart."""


def build(settings: Settings, clock: Clock, open_store: Callable[[], Store]) -> App:
    """Connect the parts of one server. Nothing runs yet."""
    pool = Pool(session_ms=settings.session_duration_ms)
    keyring = Keyring()

    strangers: set[str] = set()

    def load(accounts: Sequence[Account], credentials: Mapping[str, Credentials]) -> None:
        """Take over what is in the store; accounts of providers that are not known here get no requests."""
        known = [account for account in accounts if account.provider in PROVIDERS]
        for account in accounts:
            if account.provider not in PROVIDERS and account.id not in strangers:
                strangers.add(account.id)
                log.warning("Account %s is not used: its provider is not known here", account.name)
        keyring.load(credentials)
        pool.load(known, int(clock.now() * 1000))

    journal = Journal(open_store, load)
    transport = Transport(deadlines=_deadlines(settings), proxies=_proxies(settings))
    parts = Parts(
        pool=pool,
        keyring=keyring,
        transport=transport,
        provider=PROVIDERS["anthropic"],
        clock=clock,
        rng=random.Random(),  # noqa: S311  # spreads load and makes ids unique; nothing secret comes of it
        record=journal.put,
    )
    proxy = Proxy(parts, settings)
    started = clock.monotonic()

    def read_health() -> Health:
        now_ms = int(clock.now() * 1000)
        return Health(
            states=[standing.state for standing in pool.states(now_ms)],
            uptime_ms=round((clock.monotonic() - started) * 1000),
            strategy=proxy.settings.lb_strategy,
            in_flight=proxy.in_flight,
            queued_rows=journal.state().waiting,
        )

    def apply(changed: Settings) -> None:
        proxy.settings = changed
        pool.session_ms = changed.session_duration_ms
        transport.deadlines = _deadlines(changed)

    gate = Gate((settings.host, *settings.allowed_hosts) if settings.host else settings.allowed_hosts)
    return App(proxy, pool, transport, journal, gate, api.asgi(read_health), load, apply)


def _deadlines(settings: Settings) -> Deadlines:
    return Deadlines(connect_s=settings.connect_timeout_ms / 1000, idle_s=settings.idle_timeout_ms / 1000)


def _proxies(settings: Settings) -> ProxyRules:
    return ProxyRules.from_environment(
        {
            "http_proxy": settings.http_proxy,
            "https_proxy": settings.https_proxy,
            "no_proxy": settings.no_proxy,
        }
    )
