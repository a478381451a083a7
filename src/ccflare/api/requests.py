"""The history: exchanges in pages, one of them with all that is known of it, and those that end now."""

import logging
import re
from typing import Annotated, Any, Literal, get_args
from urllib.parse import quote, unquote

import msgspec
from msgspec import Meta

from ccflare.api.instants import PATTERN, milliseconds
from ccflare.api.parts import Parts
from ccflare.api.reading import Body
from ccflare.api.refusals import InvalidRequest
from ccflare.api.request_view import AttemptView, PayloadView, RequestView, attempt_view, payload_view, request_view
from ccflare.api.streams import After, Stream
from ccflare.errors import NotFound, StoreBusy, StoreError
from ccflare.feed import Event
from ccflare.records import Account, Exchange, Outcome
from ccflare.store import Store
from ccflare.store.history import Cursor, Filter

log = logging.getLogger("ccflare.Server")

NO_ACCOUNT = "none"
"""Asks for the exchanges that no account served, unless an account has this name; with keys it is the same."""

_DAMAGED_LOGGED = 1000
_CURSOR = re.compile(r"(-?[0-9]{1,15})\.([!-~]+)", re.ASCII)
_STATUS = re.compile(r"[1-5][0-9]{2}", re.ASCII)
_STATUS_WORDS = ("success", "error", *(word for word in get_args(Outcome) if word != "success"))

InstantAsked = Annotated[
    str,
    Meta(
        description="ISO 8601 in its extended form (without an offset: UTC), or milliseconds since 1970.",
        extra_json_schema={"pattern": PATTERN},
        examples=["2026-01-31T12:00:00Z", "1769860800000"],
    ),
]
StatusAsked = Annotated[
    str,
    Meta(
        description="`error`, `success`, a status code, or what the outcome was.",
        extra_json_schema={"pattern": f"^({'|'.join(_STATUS_WORDS)}|[1-5][0-9]{{2}})$"},
    ),
]
AccountAsked = Annotated[str, Meta(description=f"An account's name or id; `{NO_ACCOUNT}`: served by none.")]
KeyAsked = Annotated[str, Meta(description=f"A client key's name or id; `{NO_ACCOUNT}`: it came without one.")]
CursorAsked = Annotated[
    str,
    Meta(
        description="`next_cursor` of the page before, with the same filters.",
        extra_json_schema={"pattern": r"^-?[0-9]{1,15}\.[!-~]+$"},
    ),
]
ModelAsked = Annotated[str, Meta(description="A model's id, or the family it begins with: `claude-opus-4`.")]


class RequestDetails(msgspec.Struct, frozen=True):
    """An exchange with all that is known of it."""

    request: RequestView
    attempts: list[AttemptView]
    payload: Annotated[PayloadView | None, Meta(description="null: it was not kept, or not for so long.")]
    payload_damaged: Annotated[bool, Meta(description="It was kept, and cannot be read any more.")]


class RequestPage(msgspec.Struct, frozen=True):
    """Exchanges, newest first."""

    requests: list[RequestView]
    next_cursor: Annotated[
        str | None, Meta(description="Pass it as `cursor` for the next page; null: this is the last.")
    ]


class RequestQuestion(msgspec.Struct, frozen=True):
    """Which exchanges."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 50
    status: StatusAsked | None = None
    account: AccountAsked | None = None
    model: ModelAsked | None = None
    client_key: KeyAsked | None = None
    from_: InstantAsked | None = msgspec.field(name="from", default=None)
    to: InstantAsked | None = None
    cursor: CursorAsked | None = None


class OneRequest(msgspec.Struct, frozen=True):
    """Which exchange."""

    id: str


class Listening(msgspec.Struct, frozen=True):
    """Where to begin."""

    after: After | None = None


class ClearConfirmation(Body, frozen=True):
    """The word that shows that it is meant."""

    confirm: Literal["clear"]


class Cleared(msgspec.Struct, frozen=True):
    """What was deleted."""

    requests: int


async def list_requests(parts: Parts, asked: RequestQuestion) -> RequestPage:
    """List requests, newest first, in pages.

    A page takes the same time however long the history is. `from` is included, `to` is not.
    """
    before = None if asked.cursor is None else _cursor(asked.cursor)

    def page(store: Store) -> RequestPage:
        period = asked.from_, asked.to
        wanted = filter_of(store, asked.account, asked.model, asked.status, period, asked.client_key)
        found = store.history.page(wanted, before=before, at_most=asked.limit + 1)
        names, keys = store.history.account_names(), store.client_keys.names()
        shown = found[: asked.limit]
        more = _written(shown[-1]) if len(found) > asked.limit else None
        return RequestPage([request_view(exchange, names, keys) for exchange in shown], more)

    return await parts.desk.ask(page)


async def show_request(parts: Parts, asked: OneRequest) -> RequestDetails:
    """Show one request: its attempts, and what client and upstream said as far as it was kept.

    Bodies are shown without their content coding, as text where they are text.
    """

    def details(store: Store) -> RequestDetails:
        exchange = store.history.get(asked.id)
        if exchange is None:
            raise NotFound("there is no request with this id")
        names = store.history.account_names()
        attempts = [attempt_view(attempt, names) for attempt in exchange.attempts]
        payload, damaged = _payload(parts, store, exchange.id)
        shown = request_view(exchange, names, store.client_keys.names())
        return RequestDetails(shown, attempts, payload, damaged)

    return await parts.desk.ask(details)


def _payload(parts: Parts, store: Store, exchange_id: str) -> tuple[PayloadView | None, bool]:
    """Return what was said in an exchange, and whether it is damaged: the rest is shown without it then."""
    try:
        payload = store.payloads.read(exchange_id)
    except StoreBusy:
        raise
    except StoreError as error:
        if exchange_id not in parts.damaged and len(parts.damaged) < _DAMAGED_LOGGED:
            parts.damaged.add(exchange_id)
            log.warning("The payload of request %s cannot be shown: %s", exchange_id, error)
        return None, True
    return None if payload is None else payload_view(payload), False


async def follow_requests(parts: Parts, asked: Listening) -> Stream[RequestView]:
    """Tell requests when they are in the history, each as an event `request`, and those that run.

    Events `running` have no id. They tell what `GET /api/requests/running` answers, at the beginning and when there is
    something new, a few times a second at most.
    """

    def shown(event: Event) -> RequestView:
        exchange = event.thing
        if not isinstance(exchange, Exchange):
            raise TypeError(f"the feed of exchanges tells of {type(exchange).__name__}")
        return request_view(exchange, parts.running.names.now(), parts.client_keys.names())

    return Stream(parts.exchanges, shown, asked.after, state=parts.running.state)


async def clear_requests(parts: Parts, body: ClearConfirmation) -> Cleared:
    """Delete the whole history, payloads and statistics included; accounts stay."""
    return Cleared(await parts.changes.ask(lambda store: store.clear_history()))


def filter_of(
    store: Store,
    account: str | None,
    model: str | None,
    status: str | None,
    period: tuple[str | None, str | None] = (None, None),
    client_key: str | None = None,
) -> Filter:
    """Return the filter that a caller means.

    Raises InvalidRequest, and NotFound for an account or a key that there never was.
    """
    return Filter(
        account_id=None if account is None else _account_id(store, account),
        model=model,
        status=None if status is None else _status(status),
        client_key_id=None if client_key is None else _key_id(store, client_key),
        from_ms=_instant("from", period[0]),
        to_ms=_instant("to", period[1]),
    )


def _account_id(store: Store, account: str) -> str:
    accounts: list[Account] = store.accounts()
    found = next((each.id for each in accounts if account in {each.name, each.id}), None)
    if found is None:
        names = store.history.account_names()
        found = account if account in names else next((key for key, name in names.items() if name == account), None)
    if found is None and account == NO_ACCOUNT:
        return ""
    if found is None:
        raise NotFound("there is no account with this name or id")
    return found


def _key_id(store: Store, name: str) -> str:
    """Return the id of a key by its name or id; of several of a name the one in force, else the newest."""
    keys = sorted(store.client_keys.all(), key=lambda key: (key.revoked_at_ms is not None, -key.created_at_ms))
    found = next((key.id for key in keys if name in {key.name, key.id}), None)
    if found is None and name == NO_ACCOUNT:
        return ""
    if found is None:
        raise NotFound("there is no client key with this name or id")
    return found


def _status(text: str) -> Any:
    if _STATUS.fullmatch(text):
        return int(text)
    if text not in _STATUS_WORDS:
        raise InvalidRequest("status", f"expected a status code or one of {', '.join(_STATUS_WORDS)}")
    return text


def _instant(name: str, text: str | None) -> int | None:
    try:
        return None if text is None else milliseconds(text)
    except ValueError as error:
        raise InvalidRequest(name, str(error)) from None


def _written(last: Exchange) -> str:
    """Return the cursor behind an exchange."""
    return f"{last.timestamp_ms}.{quote(last.id)}"


def _cursor(text: str) -> Cursor:
    found = _CURSOR.fullmatch(text)
    if found is None:
        raise InvalidRequest("cursor", "is not a cursor; begin with the first page again")
    return Cursor(int(found[1]), unquote(found[2]))
