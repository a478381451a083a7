"""What the API is given: the parts of a server that people look at and change."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ccflare.addresses import Place
from ccflare.api.configuration import Configuration
from ccflare.api.health import Health
from ccflare.api.readiness import Readiness
from ccflare.api.running_view import RunningNow
from ccflare.api.shared import Shared
from ccflare.api.streams import Streams
from ccflare.bus import Alone, Colleagues
from ccflare.client_keys import ClientKeys
from ccflare.clock import Clock
from ccflare.desk import Desk
from ccflare.feed import Feed
from ccflare.journal import Removed
from ccflare.metrics import Snapshot
from ccflare.pool import Pool
from ccflare.records import Account, Credentials
from ccflare.sign_in import Begun, NewAccount
from ccflare.slowdown import Slowdown


class SignIn(Protocol):
    """Signs in with OAuth; see `ccflare.sign_in.SignIn`, which says what each call raises."""

    async def init(self, wanted: NewAccount) -> Begun:
        """Begin to add an account."""
        ...

    async def init_again(self, account_id: str) -> Begun:
        """Begin to sign in again to an account."""
        ...

    async def complete(self, flow_id: str | None, pasted: str) -> Account:
        """Return the account after its code was brought back."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything a route may use."""

    clock: Clock
    pool: Pool
    desk: Desk
    """Quick questions."""
    slow_desk: Desk
    """Questions whose answer may take long; they wait for each other only."""
    changes: Desk
    """All changes: they may wait for a lock."""
    load: Callable[[Sequence[Account], Mapping[str, Credentials]], None]
    """Has routing take over the accounts as the store has them."""
    read_health: Callable[[], Health]
    """Returns the health of this process."""
    readiness: Readiness
    look_at_metrics: Callable[[], Callable[[], Snapshot]]
    """Looks at this process; what it returns makes the metrics of it, and is best called in a thread."""
    configuration: Configuration
    judge_address: Callable[[Place], Awaitable[str | None]]
    """Says why an address that a caller names may not be connected; None: it may."""
    log_dir: Path
    exchanges: Feed
    """Exchanges as they end."""
    running: RunningNow
    """Exchanges before that."""
    log_lines: Feed
    """Entries as they are logged."""
    clean_up: Callable[[], Awaitable[Removed]]
    sign_in: SignIn
    client_keys: ClientKeys
    slowdown: Slowdown
    colleagues: Colleagues = field(default_factory=Alone)
    """The other workers of this server; `bus.everybody` asks all."""
    streams: Streams = field(default_factory=Streams)
    questions: Shared = field(default_factory=Shared)
    """Slow questions that are being answered."""
    damaged: set[str] = field(default_factory=set)
    """The requests whose payloads cannot be read; each is logged once."""

    def now_ms(self) -> int:
        """Return the time in milliseconds."""
        return int(self.clock.now() * 1000)
