"""What can go wrong, grouped by who must act.

Every error has a `status` (what an HTTP answer would say) and a stable `kind` (what a program may match on).
Foreign exceptions are turned into these where they enter. An expected upstream outcome is a value, not an error.
"""

from typing import ClassVar


class CcflareError(Exception):
    """Something ccflare reports in one clear line."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "internal_error"


# The operator must act: settings, files, ports.


class OperatorError(CcflareError):
    """The installation, its settings or its machine must be changed."""

    kind = "operator_error"


class InvalidSetting(OperatorError):
    """A setting has a value it cannot have, or is not a setting at all."""

    status = 400
    kind = "invalid_setting"


class RefusedSetting(InvalidSetting):
    """A setting cannot have the value that somebody wants it to have, and keeps the one that it has.

    `name` is the setting, `problem` what is wrong.
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name = name
        self.problem = problem


class StoreError(OperatorError):
    """The database cannot be created, opened, read or written."""

    status = 503
    kind = "store_error"


class StoreBusy(StoreError):
    """The database is locked or full for the moment; the same call may succeed later."""

    kind = "store_busy"


class DiskFull(StoreBusy):
    """There is no room for the database to be opened or written; the same call may succeed later."""


class KeyMismatch(StoreError):
    """The stored credentials are encrypted, and not with the key that is set."""

    kind = "key_mismatch"


class AddressInUse(OperatorError):
    """Another program listens on the port."""

    kind = "address_in_use"


# The caller must act: a person at the command line, or a program at the API.


class RequestError(CcflareError):
    """The request cannot be carried out as it was made."""

    status = 400
    kind = "invalid_request"


class NotFound(RequestError):
    """What the request names does not exist."""

    status = 404
    kind = "not_found"


class Conflict(RequestError):
    """The request clashes with what exists, for example a name that is taken."""

    status = 409
    kind = "conflict"


class InvalidCode(RequestError):
    """What was pasted is not the code of the sign-in. Nothing was sent, and the right code may still be given."""

    kind = "invalid_code"


class TokenRefused(RequestError):
    """The token endpoint has decided: the same request will not succeed later.

    `reason` is its error code (RFC 6749 §5.2), for example `invalid_grant`. The text never contains a secret.
    """

    kind = "token_refused"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


# Upstream, or the way to it, must recover.


class TokenEndpointError(CcflareError):
    """The token endpoint gave no usable answer; the same request may succeed later.

    `retry_after_s`: how long it asked to be left alone; None when it did not say. The text never contains a
    secret.
    """

    status = 502
    kind = "token_endpoint_error"

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TransportError(CcflareError):
    """An upstream exchange broke on the wire.

    `kind` is one of `connect_error`, `refused_address`, `connect_timeout`, `first_byte_timeout`, `idle_timeout`,
    `exchange_timeout`, `protocol_error` or `broken`. `reset` says that the peer ended the connection with a reset
    instead of closing it.
    The text never contains a header value or a body.
    """

    status = 502

    def __init__(self, kind: str, message: str, *, reset: bool = False) -> None:
        super().__init__(message)
        self.kind = kind  # type: ignore[misc]  # the class value is the default, the instance is more exact
        self.reset = reset
