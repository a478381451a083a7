"""The token endpoint: codes and refresh tokens go there, tokens come back.

Every call has a deadline and reads a bounded answer. `TokenRefused` is final; `TokenEndpointError` and
`TransportError` may pass.
"""

from collections.abc import Callable

from ccflare import __version__
from ccflare.clock import Clock
from ccflare.coding import decoder
from ccflare.errors import InvalidSetting, TokenEndpointError
from ccflare.limits import read_limits
from ccflare.oauth import (
    NO_CLIENT,
    OAuthSettings,
    Tokens,
    exchange_body,
    read_api_key,
    read_tokens,
    refresh_body,
    refusal,
)
from ccflare.providers.anthropic import Anthropic
from ccflare.records import Secret
from ccflare.transport import Response, Transport
from ccflare.wire import BaseUrl, Headers, OutgoingRequest, header

WITHIN_S = 30.0
"""For one call, connecting and reading the whole answer included."""
LONGEST_ANSWER_BYTES = 64 * 1024

_COMMON: Headers = [
    (b"accept", b"application/json"),
    (b"accept-encoding", b"identity"),
    (b"content-type", b"application/json"),
    (b"user-agent", f"ccflare/{__version__}".encode("ascii")),
]


class TokenEndpoint:
    """Where an OAuth client gets its tokens. `settings_of` gives the settings in force and may raise InvalidSetting."""

    def __init__(self, transport: Transport, settings_of: Callable[[], OAuthSettings], clock: Clock) -> None:
        self._transport = transport
        self._settings_of = settings_of
        self._clock = clock

    async def exchange(self, *, code: Secret, state: Secret, verifier: Secret) -> Tokens:
        """Return the tokens for an authorization code, which is spent whatever comes of it."""
        settings = self._settings_of()
        body = exchange_body(settings, code=code, state=state, verifier=verifier)
        answer = await self._post(settings.token_url, [], body, (code, state, verifier))
        return read_tokens(answer, self._now_ms())

    async def refresh(self, refresh_token: Secret) -> Tokens:
        """Return new tokens for a refresh token. TokenRefused with `invalid_grant`: it is dead."""
        try:
            settings = self._settings_of()
        except InvalidSetting:
            raise InvalidSetting(NO_CLIENT) from None
        answer = await self._post(settings.token_url, [], refresh_body(settings, refresh_token), (refresh_token,))
        return read_tokens(answer, self._now_ms())

    async def create_api_key(self, access_token: Secret) -> Secret:
        """Have an API key made for whom the token belongs to."""
        headers = [
            (b"authorization", b"Bearer " + access_token.reveal().encode("ascii")),
            (b"anthropic-beta", Anthropic.oauth_beta),
        ]
        return read_api_key(await self._post(self._settings_of().api_key_url, headers, b"{}", (access_token,)))

    async def _post(self, url: str, headers: Headers, body: bytes, secrets: tuple[Secret, ...]) -> bytes:
        """Return the body of a 200."""
        where = BaseUrl.parse(url)
        request = OutgoingRequest(b"POST", where.prefix or b"/", [*_COMMON, *headers], body, len(body))
        # A code and a refresh token work once: what may have arrived must not be sent again.
        response = await self._transport.open(
            where.origin, request, first_byte_s=WITHIN_S, exchange_s=WITHIN_S, once=True
        )
        try:
            answer = await _whole(response)
        finally:
            response.discard()
        if response.status == 200:
            return answer
        waiting_ms = read_limits(response.headers, self._now_ms()).retry_after_ms
        raise refusal(response.status, answer, secrets, None if waiting_ms is None else waiting_ms / 1000)

    def _now_ms(self) -> int:
        return int(self._clock.now() * 1000)


async def _whole(response: Response) -> bytes:
    """Return a body, decoded where it came coded although that was not asked for."""
    reader = decoder(header(response.headers, b"content-encoding"), LONGEST_ANSWER_BYTES)
    if reader is None:
        raise TokenEndpointError("the answer has a content coding that is not known here")
    answer = bytearray()
    while data := await response.read():
        answer += reader.feed(data)
        if reader.broken:
            raise TokenEndpointError("the answer is too long, or its content coding is broken")
    return bytes(answer)
