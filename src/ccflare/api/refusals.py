"""How the API says no: `{"error": ...}`, with `details` where a part of the request is to blame."""

from collections.abc import Iterable
from difflib import get_close_matches

import msgspec
from starlette.responses import Response

from ccflare.api.json import JsonResponse
from ccflare.errors import CcflareError, RequestError, StoreBusy

RETRY_AFTER_S = 1


class Details(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which part of a request was refused."""

    field: str
    """A parameter, or a path into the body such as `windows[0].name`; empty for the body as a whole."""
    problem: str
    nearest: str | None = None
    """The known name that may have been meant."""


class Refusal(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a request was not carried out."""

    error: str
    details: Details | None = None


class InvalidRequest(RequestError):
    """A part of the request is not what the route takes."""

    def __init__(self, field: str, problem: str, nearest: str | None = None) -> None:
        hint = f"; did you mean {nearest}?" if nearest else ""
        super().__init__(f"{field}: {problem}{hint}" if field else f"{problem}{hint}")
        self.details = Details(field, problem, nearest)


def unknown(field: str, known: Iterable[str], what: str) -> InvalidRequest:
    """Return the refusal of a name that is not known. `what`: parameter or field."""
    names = sorted(known)
    near = get_close_matches(field.lower().replace("-", "_"), names, n=1)
    return InvalidRequest(shown(field), f"unknown {what}", near[0] if near else None)


def shown(text: str) -> str:
    """Return what a caller has sent, fit to be repeated: printable and short."""
    text = text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
    return text if len(text) <= 80 else f"{text[:80]}..."


def refusal_of(error: CcflareError) -> Response:
    """Return the answer for an error that was foreseen."""
    details = error.details if isinstance(error, InvalidRequest) else None
    headers = {"retry-after": str(RETRY_AFTER_S)} if isinstance(error, StoreBusy | TooMany) else {}
    if error.status == 401:  # RFC 9110 §11.6.1
        headers["www-authenticate"] = 'Bearer realm="ccflare"'
    return JsonResponse(Refusal(str(error), details), status_code=error.status, headers=headers)


class TooMany(RequestError):
    """More at once than there is room for; later there will be."""

    status = 503
    kind = "too_many"
