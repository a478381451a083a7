"""What differs between upstreams: paths, credentials, error wordings. One file per provider, one line in the
table."""

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Protocol

from ccflare.limits import Outcome, Verdict
from ccflare.providers.anthropic import Anthropic
from ccflare.records import Account, Kind, Secret
from ccflare.wire import Headers, Inbound, Outgoing, Serialized


class Provider(Protocol):
    """How to speak to one kind of upstream. Everything here is pure."""

    @property
    def name(self) -> str:
        """The name accounts refer to it by."""
        ...

    @property
    def base_url(self) -> str:
        """Where its accounts go unless they say otherwise."""
        ...

    def can_serve(self, path: bytes) -> bool:
        """Whether a raw path (no query) may be sent upstream."""
        ...

    def feeds_usage(self, path: bytes) -> bool:
        """Whether answers to a path report token usage."""
        ...

    def outgoing_headers(self, headers: Headers, account_kind: Kind, credential: Secret) -> tuple[Headers, bool]:
        """Return the client's end-to-end fields with the account's credential instead of the client's.

        True says that something else than credentials was changed.
        """
        ...

    def anonymous_headers(self, headers: Headers) -> Headers:
        """Return the client's end-to-end fields, credentials included: for forwarding without an account.

        What is meant for ccflare itself, its client keys and cookies, is left out.
        """
        ...

    def has_own_credential(self, headers: Headers) -> bool:
        """Whether the client brought something that upstream itself might accept."""
        ...

    def verdict(self, outcome: Outcome) -> Verdict:
        """Say what an outcome means."""
        ...

    def read_error(self, body: bytes | bytearray) -> tuple[str | None, str | None, str | None]:
        """Return type, message and code of an error body; None for what it does not have. Never raises."""
        ...

    def object_finder(self, method: bytes, path: bytes) -> Callable[[bytes], list[str]] | None:
        """Return how the ids of an account's objects are found in the text of an answer; None: not at all.

        No match is longer than `meter.MATCH_BYTES`, so that it is found wherever the text is split.
        """
        ...

    def objects_named(self, target: bytes, body: bytes | bytearray | None, kinds: Collection[str]) -> list[str]:
        """Return the ids of some kinds that a request names, those in its path first."""
        ...

    def object_deleted(self, method: bytes, path: bytes) -> str | None:
        """Return the id of the object that a request deletes when it succeeds."""
        ...

    def pool_limited_answer(
        self, retry_after_s: int, reset_ms: int | None, unified: bool, *, owned: bool = False
    ) -> tuple[int, Headers, bytes]:
        """Return status, headers and body of the answer when every account is rate limited.

        `owned`: only the owner of what the request names could have served it, and it is rate limited.
        """
        ...


PROVIDERS: Mapping[str, Provider] = MappingProxyType({"anthropic": Anthropic()})
"""Every provider by its name."""


_KEPT = 8
"""For so many accounts what is sent with one head is remembered."""


def outgoing_of(inbound: Inbound, provider: Provider, account: Account, credential: Secret) -> Outgoing:
    """Return the fields to send; those of the last request with the same head, when there was one."""
    known = inbound.memory.outgoing
    outgoing = known.get(account.id)
    if outgoing is None or outgoing.credential is not credential:
        made = provider.outgoing_headers(inbound.headers, account.kind, credential)
        if len(known) >= _KEPT:
            known.clear()
        outgoing = known[account.id] = Outgoing(credential, *made, Serialized())
    return outgoing
