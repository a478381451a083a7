"""The command line in process: what a command leaves behind, and what is in the database it works on."""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from ccflare.records import Account, Credentials, Exchange, Secret
from ccflare.store import Batch, Store
from ccflare.store.tokens import Lease

KEY = "sk-ant-api03-very-secret"


class Said(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line on stderr."""
        assert self.err.count("\n") == 1, self.err
        assert "Traceback" not in self.err
        return self.err.rstrip("\n")


Run = Callable[..., Said]


def put(store: Store, name: str, **fields: Any) -> Account:
    """Add an account in whatever condition."""
    made = msgspec.structs.replace(Account(id=f"id-{name}", name=name, created_at_ms=1_000), **fields)
    secrets = {"api_key" if made.kind == "api_key" else "refresh_token": Secret(KEY)}
    store.add_account(made, Credentials(made.id, **secrets))
    store.write(Batch(accounts=[made]))
    if made.expired_reason is not None:
        assert store.tokens.expire(Lease(made.id, "kit", 0), Secret(KEY), made.expired_reason, 1_000)
    return made


def exchange(account_id: str | None, at_ms: int, **fields: Any) -> Exchange:
    """A request that an account has served."""
    plain = Exchange(
        id="1",
        timestamp_ms=at_ms,
        method="POST",
        path="/v1/messages",
        account_id=account_id,
        status_code=200,
        success=True,
        response_time_ms=1,
    )
    return msgspec.structs.replace(plain, **fields)
