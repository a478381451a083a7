"""Letting clients in to the proxy, or turning them away: then nothing of the request is read, sent or recorded.

A key that let somebody in goes no further. The fields that are meant for it never go upstream anyway (`providers`);
others that hold a client key, as those of another gateway may, are taken off here, and a target with the key in it is
refused, because it would have to be rewritten.
"""

from dataclasses import dataclass, field

from ccflare import answers
from ccflare.client_keys import ClientKeys
from ccflare.records import CLIENT_KEY, CLIENT_KEY_PREFIX, ClientKey
from ccflare.slowdown import Slowdown
from ccflare.wire import HeadMemory, Inbound

CHALLENGE = b'www-authenticate: Bearer realm="ccflare"\r\n'
_HOW = (
    "send one as x-api-key or authorization: Bearer (ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN); ccflare keys makes them"
)
_IN_TARGET = "this address has a client key in it and would be sent on as it is"
_PREFIX = CLIENT_KEY_PREFIX.encode()
_MEANT = frozenset({b"x-api-key", b"authorization"})


@dataclass(frozen=True, slots=True)
class Door:
    """Stands before the exchange when client keys are needed."""

    keys: ClientKeys = field(default_factory=ClientKeys)
    slowdown: Slowdown = field(default_factory=Slowdown)
    """Shared with whoever else refuses client keys."""

    async def admit(self, inbound: Inbound) -> ClientKey | None:
        """Return the key that a request came with. None: it was answered, a 401 as upstream's when it had no key."""
        key = self.keys.of(inbound.fields)
        if key is None:
            why = self.keys.why_not(inbound.fields)
            await self.slowdown.failed(inbound.client, why)
            body = answers.error("authentication_error", f"{why}: {_HOW}")
            answers.send(inbound, 401, body, CHALLENGE)
        elif _PREFIX in inbound.target and key in map(self.keys.known, CLIENT_KEY.findall(inbound.target)):
            answers.send(inbound, 400, answers.error("invalid_request_error", f"{_IN_TARGET}: {_HOW}"))
            return None
        else:
            self._take_off(inbound)
        return key

    def _take_off(self, inbound: Inbound) -> None:
        """Remove fields that hold a client key and are not meant for one: nearly always there is none."""
        headers, fields = inbound.headers, inbound.fields
        if len(headers) == len(fields) and b"\n".join(fields.values()).count(_PREFIX) == 1:
            return
        inbound.headers = [
            pair
            for pair in headers
            if pair[0].lower() in _MEANT or not any(map(self.keys.known, CLIENT_KEY.findall(pair[1])))
        ]
        inbound.memory = HeadMemory()  # what is known of the head is of the one that came
