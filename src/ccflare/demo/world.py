"""Everything one simulated upstream remembers: accounts, credentials, rules, books, and its habits."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ccflare.demo.accounts import Doorkeeper, SimulatedAccount
from ccflare.demo.books import Books
from ccflare.demo.faults import Faults
from ccflare.demo.grammar import FrameWriter
from ccflare.demo.oauth import OAuth, OAuthSettings
from ccflare.demo.reply import Ids
from ccflare.demo.resources import Files

MIB = 1024 * 1024


@dataclass(slots=True)
class UpstreamSettings:
    """Habits of the server. May be changed while it runs."""

    padding: bool = True
    """Pad the JSON of frames with blanks, as the service does."""
    gzip_sse: bool = True
    """Compress event streams when the request accepts it."""
    coding: Literal["gzip", "deflate", "br", "zstd"] = "gzip"
    cache_min_tokens: int = 16
    """Shorter prefixes are not cached."""
    batch_seconds: float = 0.2
    results_url: Literal["self", "api"] = "self"
    """Where a batch says its results are: here, or at the real service."""
    oauth_shape: Literal["429", "400"] | None = None
    """How OAuth requests are refused that do not look like Claude Code; None serves them."""
    pace: float = 0.0
    """Seconds between the events of every stream."""
    messages_limit: int = 32 * MIB
    """Largest request body of messages and count_tokens, in bytes."""
    batches_limit: int = 256 * MIB
    files_limit: int = 500 * MIB


@dataclass(slots=True)
class World:
    """The state of one server. The connections and the control interface are its only writers."""

    strict: bool
    seed: int
    now: Callable[[], float]
    books: Books
    settings: UpstreamSettings = field(default_factory=UpstreamSettings)
    accounts: dict[str, SimulatedAccount] = field(default_factory=dict)
    origin: str = ""
    """The base URL the server is reached at."""
    rng: random.Random = field(init=False)
    ids: Ids = field(init=False)
    doors: Doorkeeper = field(init=False)
    faults: Faults = field(init=False)
    oauth: OAuth = field(init=False)
    files: Files = field(init=False)
    writer: FrameWriter = field(init=False)
    bare_writer: FrameWriter = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)  # noqa: S311  # repeatable on purpose, protects nothing
        self.ids = Ids(self.seed)
        self.doors = Doorkeeper(None if self.strict else self._open_account)
        self.faults = Faults(self.rng)
        self.oauth = OAuth(OAuthSettings(), self.doors, self.ids, self.seed)
        self.files = Files(self.ids)
        self.writer = FrameWriter(self.rng, padding=True)
        self.bare_writer = FrameWriter(self.rng, padding=False)

    def add(self, accounts: Sequence[SimulatedAccount]) -> None:
        """Let accounts in. Raises ValueError for a name that is taken."""
        for account in accounts:
            if account.name in self.accounts:
                raise ValueError(f"there is an account {account.name!r} already")
            account.settle(self.seed)
            self.accounts[account.name] = account
            if account.kind == "oauth":
                self.oauth.sign_in(account, self.now())
            else:
                self.doors.admit_key(account.api_key, account)

    def remove(self, name: str) -> None:
        """Drop an account and its credentials. Raises KeyError when there is none."""
        self.doors.forget(self.accounts.pop(name))

    def _open_account(self, credential: bytes) -> SimulatedAccount:
        account = SimulatedAccount(f"open-{credential[-6:].decode('latin-1')}", api_key=credential.decode("latin-1"))
        account.settle(self.seed)
        return self.accounts.setdefault(account.name, account)
