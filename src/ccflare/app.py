"""All wiring and nothing else: which part is given which."""

import logging
import os
import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from starlette.applications import Starlette

from ccflare import api
from ccflare.addresses import foreign_reach
from ccflare.api import Configuration, Health, Readiness, Streams
from ccflare.bus import Alone, Colleagues
from ccflare.client_keys import ClientKeys
from ccflare.clock import Clock
from ccflare.credentials import Keyring
from ccflare.desk import Desk
from ccflare.door import Door
from ccflare.feed import Feed
from ccflare.gate import Gate
from ccflare.journal import Journal, Retention
from ccflare.metrics import Tally
from ccflare.oauth import OAuthSettings
from ccflare.pool import Pool
from ccflare.providers import PROVIDERS
from ccflare.proxy import Parts, Proxy
from ccflare.records import Account, Credentials, State, token_trouble
from ccflare.refresh import Ground, Refresher
from ccflare.settings import Settings
from ccflare.sign_in import SignIn
from ccflare.slowdown import Slowdown
from ccflare.store import Store
from ccflare.tokens import TokenEndpoint
from ccflare.traces import Emit, Traces
from ccflare.transport import Deadlines, ProxyRules, Transport
from ccflare.vitals import Vitals

log = logging.getLogger("ccflare.Server")


class Desks(NamedTuple):
    """Where the store is asked; what one does keeps no other waiting."""

    quick: Desk
    """Short questions of people."""
    slow: Desk
    """Questions whose answer may take long."""
    changes: Desk
    """Whatever is changed but tokens: changes wait while another process holds the database."""
    tokens: Desk


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
    refresher: Refresher
    sign_in: SignIn
    client_keys: ClientKeys
    """Who may use the server."""
    desks: Desks
    """To be closed at the end, after the refresher; those that only read may be stopped before."""
    configuration: Configuration
    exchanges: Feed
    """Tells of exchanges that are in the store; closing it ends the streams that follow it."""
    log_lines: Feed
    """The same for the log."""
    running: api.RunningNow
    """Exchanges before they end."""
    readiness: Readiness
    vitals: Vitals
    traces: Traces | None
    """To be started and closed, where there is one."""


def build(
    settings: Settings,
    clock: Clock,
    open_store: Callable[[], Store],
    flags: Mapping[str, object] | None = None,
    colleagues: Colleagues | None = None,
) -> App:
    """Connect the parts of one server, or of one of its workers. Nothing runs yet."""
    colleagues = colleagues or Alone()
    pool = Pool(session_ms=settings.session_duration_ms)
    keyring = Keyring()
    door = _door(settings, clock)
    exchanges, log_lines = (Feed(first_id=int(clock.now() * 1_000_000)) for _ in range(2))
    tally = Tally(lambda model: proxy.prices.price(model) is not None)
    readiness, streams = Readiness(), Streams()

    def take_over(accounts: Sequence[Account], credentials: Mapping[str, Credentials]) -> None:
        load(accounts, credentials)
        colleagues.publish("look", b"")

    journal = Journal(
        open_store,
        take_over,
        on_written=lambda written: exchanges.tell("request", written),
        on_keys=door.keys.load,
        count=tally.add,
    )
    journal.rules = Retention.of(settings)
    _share(journal, colleagues, pool, clock)

    def oauth_settings() -> OAuthSettings:
        return OAuthSettings.of(proxy.settings)

    transport = Transport(deadlines=_deadlines(settings), proxies=_proxies(settings), reach=settings.private_upstreams)
    desks = Desks(*(Desk(open_store, name) for name in ("desk", "analytics", "changes", "tokens")))
    endpoint = TokenEndpoint(transport, oauth_settings, clock)
    refresher = Refresher(Ground(endpoint, desks.tokens, clock, secrets.token_hex(8)), keyring, random.Random())  # noqa: S311  # spreads load
    load = _Intake(pool, keyring, refresher, clock, readiness).load
    parts = Parts(
        pool=pool,
        keyring=keyring,
        transport=transport,
        provider=PROVIDERS["anthropic"],
        clock=clock,
        rng=random.Random(),  # noqa: S311  # spreads load and makes ids unique; nothing secret comes of it
        record=journal.put,
        refresher=refresher,
        door=door,
        colleagues=colleagues,
        traces=_traces(settings.otel_endpoint, pool, lambda: proxy.settings.upstream_url),
    )
    proxy = Proxy(parts, settings)
    started = clock.monotonic() if colleagues.started_at is None else colleagues.started_at

    def read_health() -> Health:
        return Health(
            states=_states(pool, int(clock.now() * 1000)),
            uptime_ms=round((clock.monotonic() - started) * 1000),
            strategy=proxy.settings.lb_strategy,
            in_flight=proxy.in_flight,
            writer=journal.state(),
        )

    def apply(changed: Settings) -> None:
        proxy.settings = changed
        journal.rules = Retention.of(changed)
        pool.session_ms = changed.session_duration_ms
        transport.deadlines = _deadlines(changed)
        transport.reach = changed.private_upstreams

    vitals = Vitals(clock, pool, proxy, transport, refresher, journal, tally, lambda: streams.open)
    configuration = Configuration(settings, flags or {}, os.environ, lambda loaded: apply(loaded.settings))
    sign_in = SignIn(desks.changes.ask, endpoint, oauth_settings, clock)
    running = api.RunningNow(proxy.open, clock, pool)
    people = api.Parts(
        clock=clock,
        pool=pool,
        desk=desks.quick,
        slow_desk=desks.slow,
        changes=desks.changes,
        load=take_over,
        read_health=read_health,
        readiness=readiness,
        look_at_metrics=vitals.look,
        configuration=configuration,
        judge_address=lambda place: transport.refusal(place, foreign_reach(transport.reach)),
        log_dir=settings.log_dir,
        exchanges=exchanges,
        running=running,
        log_lines=log_lines,
        clean_up=journal.clean_up,
        sign_in=sign_in,
        client_keys=door.keys,
        slowdown=door.slowdown,
        colleagues=colleagues,
        streams=streams,
    )
    return App(
        proxy=proxy,
        pool=pool,
        transport=transport,
        journal=journal,
        gate=Gate((settings.host, *settings.allowed_hosts) if settings.host else settings.allowed_hosts),
        asgi=api.asgi(people),
        load=load,
        apply=apply,
        refresher=refresher,
        sign_in=sign_in,
        client_keys=door.keys,
        desks=desks,
        configuration=configuration,
        exchanges=exchanges,
        log_lines=log_lines,
        running=running,
        readiness=readiness,
        vitals=vitals,
        traces=parts.traces,
    )


def _door(settings: Settings, clock: Clock) -> Door:
    keys = ClientKeys(private=settings.is_private, open_without_keys=settings.open_without_keys)
    return Door(keys, Slowdown(clock.monotonic, clock.sleep))


def _states(pool: Pool, now_ms: int) -> list[State]:
    """Return what each account is for people: one that nobody can get a token for is as good as expired."""
    return [
        "expired" if standing.state == "active" and token_trouble(standing.account, now_ms) else standing.state
        for standing in pool.states(now_ms)
    ]


def _traces(endpoint: str, pool: Pool, upstream_url: Callable[[], str]) -> Traces | None:
    """Return what sends traces where it is said where to."""

    def begin() -> Emit:
        from ccflare.traces.sending import Sending

        return Sending.to(endpoint)

    return Traces(pool.account, upstream_url, begin) if endpoint else None


def _share(journal: Journal, colleagues: Colleagues, pool: Pool, clock: Clock) -> None:
    """Have the journal do what one worker is enough for only there, and routing hear what others have learnt."""
    journal.leads = lambda: colleagues.leads
    journal.on_learnt = lambda bindings, owners: pool.others.learn(bindings, owners, int(clock.now() * 1000))


class _Intake:
    """Has routing take over what is in the store; accounts of providers that are not known here get no requests."""

    def __init__(self, pool: Pool, keyring: Keyring, refresher: Refresher, clock: Clock, readiness: Readiness) -> None:
        self._pool = pool
        self._keyring = keyring
        self._refresher = refresher
        self._clock = clock
        self._readiness = readiness
        self._strangers: set[str] = set()

    def load(self, accounts: Sequence[Account], credentials: Mapping[str, Credentials]) -> None:
        """Take over the accounts as the store has them."""
        known = [account for account in accounts if account.provider in PROVIDERS]
        for account in accounts:
            if account.provider not in PROVIDERS and account.id not in self._strangers:
                self._strangers.add(account.id)
                log.warning("Account %s is not used: its provider is not known here", account.name)
        self._keyring.load(credentials, known)
        self._refresher.load(known)
        self._pool.load(known, int(self._clock.now() * 1000))
        self._readiness.accounts_loaded = True


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
