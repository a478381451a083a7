"""`GET /ready`: is this server to be sent requests?

What only concerns the accounts or the history does not make a server unready: another one of the same accounts fares
no better, and an answer with the true reason and a `retry-after` is worth more to a client than no server at all.
"""

from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta

from ccflare.api.health import Health, status


@dataclass(slots=True)
class Readiness:
    """How far the server's life has come; `serve` and the loading of accounts note it here."""

    listening: bool = False
    accounts_loaded: bool = False
    draining: bool = False
    """It was asked to stop, or to go on without new requests."""


class ReadyView(msgspec.Struct, frozen=True):
    """Whether requests are to be sent here."""

    ready: bool
    reasons: Annotated[list[str], Meta(description="Why they are not; empty when it is ready.")]
    warnings: Annotated[
        list[str], Meta(description="What ails it without making it unready, `no usable account` for example.")
    ]

    def __bool__(self) -> bool:
        return self.ready


def ready(life: Readiness, now: Health) -> ReadyView:
    """Return the answer."""
    reasons = [
        *([] if life.listening else ["not listening yet"]),
        *([] if now.writer.opened else ["the database is not open yet"]),
        *([] if life.accounts_loaded else ["accounts are not loaded yet"]),
        *(["draining"] if life.draining else []),
    ]
    found = status(now.states)
    warnings = [] if found == "ok" else [f"no usable account: {found}"]
    if now.writer.trouble is not None:
        warnings.append(f"the history cannot be written: {now.writer.trouble}")
    return ReadyView(not reasons, reasons, warnings)
