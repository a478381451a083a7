"""Letting clients in to the proxy, or turning them away: then nothing of the request is read, sent or recorded."""

from dataclasses import dataclass, field

from ccflare import answers
from ccflare.client_keys import ClientKeys
from ccflare.records import ClientKey
from ccflare.slowdown import Slowdown
from ccflare.wire import Headers, Inbound

CHALLENGE: Headers = [(b"www-authenticate", b'Bearer realm="ccflare"')]
_HOW = (
    "send one as x-api-key or authorization: Bearer (ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN); ccflare keys makes them"
)


@dataclass(frozen=True, slots=True)
class Door:
    """Stands before the exchange when client keys are needed."""

    keys: ClientKeys = field(default_factory=ClientKeys)
    slowdown: Slowdown = field(default_factory=Slowdown)
    """Shared with whoever else refuses client keys."""

    async def admit(self, inbound: Inbound) -> ClientKey | None:
        """Return the key that a request came with. None: it had none, and was answered 401 as upstream would."""
        key = self.keys.of(inbound.fields)
        if key is None:
            why = self.keys.why_not(inbound.fields)
            await self.slowdown.failed(inbound.client, why)
            body = answers.error("authentication_error", f"{why}: {_HOW}")
            answers.send(inbound, 401, body, CHALLENGE)
        return key
