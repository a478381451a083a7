"""What every command begins with: the settings in force and the open store."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ccflare.cli.output import complain

if TYPE_CHECKING:
    import click

    from ccflare.addresses import Place, Reach
    from ccflare.records import Account
    from ccflare.settings import Loaded
    from ccflare.store import Store


_LOOK_UP_S = 2.0
"""How long it is waited for a name that somebody writes."""


def load_settings(flags: Mapping[str, object] | None = None, *, create: bool = False, tell: bool = True) -> "Loaded":
    """Return the settings in force; what is wrong with the file is said on stderr, or by whoever does not `tell`.

    Raises InvalidSetting.
    """
    from ccflare.settings import load

    loaded = load(flags or {}, os.environ, create=create)
    for problem in loaded.problems if tell else ():
        complain(problem)
    return loaded


def check_address(loaded: "Loaded", url: str | None) -> None:
    """Raise RequestError for an address of an account that may not be connected."""
    from ccflare.addresses import read_url, trouble
    from ccflare.errors import RequestError

    if url is None:
        return
    reach = loaded.settings.private_upstreams
    try:
        place = read_url(url)
    except ValueError as error:
        raise RequestError(str(error)) from None
    reason = trouble(place, reach)
    if reason is None and not (loaded.settings.https_proxy or loaded.settings.http_proxy):  # a proxy looks names up
        reason = _led_inside(place, reach)
    if reason is not None:
        raise RequestError(f"{url} may not be connected: {reason}")


def _led_inside(place: "Place", reach: "Reach") -> str | None:
    """Say why none of the addresses that a name leads to now may be connected; None also when nobody knows in time."""
    import socket
    import threading

    from ccflare.addresses import class_of, peer_trouble

    reasons: list[str | None] = []

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return  # it is said when it is connected
        reasons.extend([peer_trouble(place.scheme, place.host, str(each[4][0]), reach) for each in found])

    if class_of(place.host) is None:
        looking = threading.Thread(target=look_up, daemon=True)
        looking.start()
        looking.join(_LOOK_UP_S)
    return None if None in reasons else next(iter(reasons), None)


@contextmanager
def opened_store(loaded: "Loaded | None" = None) -> Iterator["Store"]:
    """Open the database that the settings name; what is noteworthy about it is said on stderr. Raises StoreError."""
    from ccflare.store import open_store
    from ccflare.vault import Keys

    with _telling("ccflare.store"):
        settings = (loaded or load_settings()).settings
        store = open_store(settings.db_path, keys=Keys(settings.secret_key))
        try:
            yield store
        finally:
            store.close()


@contextmanager
def _telling(name: str) -> Iterator[None]:
    """Say a logger's warnings on stderr, one line each."""
    import logging

    class Talk(logging.Handler):
        """Says what it is given."""

        def emit(self, record: logging.LogRecord) -> None:
            complain(record.getMessage())

    log, talk = logging.getLogger(name), Talk(logging.WARNING)
    log.addHandler(talk)
    try:
        yield
    finally:
        log.removeHandler(talk)


def debugging() -> bool:
    """Say whether the environment asks for tracebacks."""
    from ccflare.settings import TABLE

    row = next(row for row in TABLE if row.name == "debug")
    text = next((os.environ[name] for name in row.variables if os.environ.get(name)), "")
    try:
        return bool(text) and bool(row.kind.from_text(text))
    except ValueError:
        return False


def refuse_options_before(context: "click.Context") -> None:
    """Raise UsageError for an option that stands before a subcommand, where it would do nothing."""
    import click

    for option in context.command.params:
        if context.get_parameter_source(option.name or "") == click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{option.opts[0]} does not go before {context.invoked_subcommand}")


def account_named(store: "Store", name: str) -> "Account":
    """Return the account of that name. Raises NotFound, with the nearest name there is."""
    from ccflare.errors import NotFound

    accounts = {account.name: account for account in store.accounts()}
    if name in accounts:
        return accounts[name]
    from difflib import get_close_matches

    by_lower = {each.lower(): each for each in accounts}
    near = get_close_matches(name.lower(), by_lower, n=1)
    hint = f"; did you mean {by_lower[near[0]]!r}?" if near else "; ccflare --list shows those there are"
    raise NotFound(f"there is no account named {name!r}{hint}")
