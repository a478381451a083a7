"""All wiring and nothing else: which part is given which."""

import logging
import os
import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
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
from ccflare.ingress.asgi import path_of
from ccflare.journal import Journal, Retention
from ccflare.limits import RefuseCredential
from ccflare.metrics import Tally
from ccflare.oauth import OAuthSettings
from ccflare.pool import Ask, Pool
from ccflare.providers import PROVIDERS
from ccflare.proxy import Parts, Proxy
from ccflare.records import UNREADABLE, Account, Credentials, State, token_trouble
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


@dataclass(frozen=True, slots=True)
class _Core:
    """What serves exchanges and keeps what becomes of them: the part of a server that people do not see."""

    clock: Clock
    started: float
    """Monotonic seconds; with several workers the first one's."""
    pool: Pool
    proxy: Proxy
    transport: Transport
    journal: Journal
    refresher: Refresher
    endpoint: TokenEndpoint
    desks: Desks
    door: Door
    colleagues: Colleagues
    exchanges: Feed
    tally: Tally
    readiness: Readiness
    traces: Traces | None
    load: Callable[[Sequence[Account], Mapping[str, Credentials]], None]
    take_over: Callable[[Sequence[Account], Mapping[str, Credentials]], None]
    """Load the accounts that were changed here, and have the other workers look at the store."""

    def apply(self, changed: Settings) -> None:
        """Take over the settings that apply without a restart."""
        self.proxy.settings = changed
        self.journal.rules = Retention.of(changed)
        self.pool.session_ms = changed.session_duration_ms
        self.transport.deadlines = _deadlines(changed)
        self.transport.reach = changed.private_upstreams

    def health(self) -> Health:
        """Say how the server is doing."""
        return Health(
            states=_states(self.pool, int(self.clock.now() * 1000)),
            uptime_ms=round((self.clock.monotonic() - self.started) * 1000),
            strategy=self.proxy.settings.lb_strategy,
            in_flight=self.proxy.in_flight,
            writer=self.journal.state(),
        )

    def oauth_settings(self) -> OAuthSettings:
        """Return where to sign in, by the settings of now."""
        return OAuthSettings.of(self.proxy.settings)


def build(
    settings: Settings,
    clock: Clock,
    open_store: Callable[[], Store],
    flags: Mapping[str, object] | None = None,
    colleagues: Colleagues | None = None,
) -> App:
    """Connect the parts of one server, or of one of its workers. Nothing runs yet."""
    core = _core(settings, clock, open_store, colleagues or Alone())
    people = _people(core, settings, flags or {})
    asgi = api.asgi(people.parts)

    def owned(method: bytes, target: bytes) -> bool:
        return api.owns(asgi, method.decode("ascii"), path_of(target.partition(b"?")[0]))

    return App(
        proxy=core.proxy,
        pool=core.pool,
        transport=core.transport,
        journal=core.journal,
        gate=Gate((settings.host, *settings.allowed_hosts) if settings.host else settings.allowed_hosts, owned),
        asgi=asgi,
        load=core.load,
        apply=core.apply,
        refresher=core.refresher,
        sign_in=people.sign_in,
        client_keys=core.door.keys,
        desks=core.desks,
        configuration=people.parts.configuration,
        exchanges=core.exchanges,
        log_lines=people.parts.log_lines,
        running=people.parts.running,
        readiness=core.readiness,
        vitals=people.vitals,
        traces=core.traces,
    )


def _core(settings: Settings, clock: Clock, open_store: Callable[[], Store], colleagues: Colleagues) -> _Core:
    pool, keyring = Pool(session_ms=settings.session_duration_ms), Keyring()
    door, readiness, exchanges = _door(settings, clock), Readiness(), _feed(clock)
    tally = Tally(lambda model: proxy.prices.price(model) is not None)

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
    transport = Transport(deadlines=_deadlines(settings), proxies=_proxies(settings), reach=settings.private_upstreams)
    desks = Desks(*(Desk(open_store, name) for name in ("desk", "analytics", "changes", "tokens")))
    endpoint = TokenEndpoint(transport, lambda: OAuthSettings.of(proxy.settings), clock)
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
    return _Core(
        clock, started, pool, proxy, transport, journal, refresher, endpoint, desks, door,
        colleagues, exchanges, tally, readiness, parts.traces, load, take_over,
    )  # fmt: skip


class _People(NamedTuple):
    """What people see and change, and the parts of it that a server's life needs."""

    parts: api.Parts
    sign_in: SignIn
    vitals: Vitals


def _people(core: _Core, settings: Settings, flags: Mapping[str, object]) -> _People:
    streams, transport = Streams(), core.transport
    sign_in = SignIn(core.desks.changes.ask, core.endpoint, core.oauth_settings, core.clock)
    vitals = Vitals(
        core.clock, core.pool, core.proxy, transport, core.refresher, core.journal, core.tally, lambda: streams.open
    )
    parts = api.Parts(
        clock=core.clock,
        pool=core.pool,
        desk=core.desks.quick,
        slow_desk=core.desks.slow,
        changes=core.desks.changes,
        load=core.take_over,
        read_health=core.health,
        readiness=core.readiness,
        look_at_metrics=vitals.look,
        configuration=Configuration(settings, flags, os.environ, lambda loaded: core.apply(loaded.settings)),
        judge_address=lambda place: transport.refusal(place, foreign_reach(transport.reach)),
        log_dir=settings.log_dir,
        exchanges=core.exchanges,
        running=api.RunningNow(core.proxy.open, core.clock, core.pool),
        log_lines=_feed(core.clock),
        clean_up=core.journal.clean_up,
        sign_in=sign_in,
        client_keys=core.door.keys,
        slowdown=core.door.slowdown,
        colleagues=core.colleagues,
        streams=streams,
    )
    return _People(parts, sign_in, vitals)


def _feed(clock: Clock) -> Feed:
    return Feed(first_id=int(clock.now() * 1_000_000))


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
        self._unreadable: dict[str, int | None] = {}
        """Accounts without a credential that can be read, and when a person had resumed them before that was told."""

    def load(self, accounts: Sequence[Account], credentials: Mapping[str, Credentials]) -> None:
        """Take over the accounts as the store has them."""
        known = [account for account in accounts if account.provider in PROVIDERS]
        for account in accounts:
            if account.provider not in PROVIDERS and account.id not in self._strangers:
                self._strangers.add(account.id)
                log.warning("Account %s is not used: its provider is not known here", account.name)
        now_ms = int(self._clock.now() * 1000)
        unreadable = {account.id: account.resumed_at_ms for account in known if account.id not in credentials}
        told = unreadable.items() & self._unreadable.items()
        self._keyring.load(credentials, known)
        self._refresher.load(known)
        self._pool.load([_refused(each) if (each.id, each.resumed_at_ms) in told else each for each in known], now_ms)
        for account in known:
            if account.id in unreadable:
                self._pool.apply(account.id, RefuseCredential(UNREADABLE), Ask(), now_ms)
                if account.id not in self._unreadable:
                    log.warning("Account %s is not used: %s", account.name, UNREADABLE)
            elif account.auth_failed_reason == UNREADABLE:
                self._pool.trust(account.id)
        self._unreadable = unreadable
        self._readiness.accounts_loaded = True


def _refused(account: Account) -> Account:
    """Return an account as it is here, whatever a server that can read its credential has stored meanwhile."""
    return msgspec.structs.replace(account, auth_failed_reason=account.auth_failed_reason or UNREADABLE)


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
