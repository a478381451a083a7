"""The history on the command line: which requests there were, what became of one, and how to forget them."""

import sys
from typing import TYPE_CHECKING, Any

import click

from ccflare.cli.client_keys import key_id_of
from ccflare.cli.context import opened_store, refuse_options_before
from ccflare.cli.instants import instant_option
from ccflare.cli.numbers import Between
from ccflare.cli.output import instant, print_fields, print_json, print_table, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ccflare.records import Attempt, Exchange
    from ccflare.store import Store

_COLUMNS = ("id", "time", "status", "account", "model", "in", "out", "cost", "ms")
_SPARE = ("id", "cost", "in", "out", "key", "model", "ms", "account")
_FOR_PROGRAMS = {"timestamp_ms", "account_id", "client_key_id", "cost_microusd", "usage", "attempts"}
_ATTEMPT_COLUMNS = ("account", "why", "verdict", "status", "wait_ms", "duration_ms", "reason")


# What the commands do.


def list_exchanges(limit: int, *, account: str | None, key: str | None, as_json: bool, **wanted: Any) -> None:
    """Print the newest exchanges of those that are wanted."""
    from ccflare.store.history import Filter

    with opened_store() as store:
        names, keys = store.history.account_names(), store.client_keys.names()
        account_id = None if account is None else account_id_of(names, account)
        key_id = None if key is None else key_id_of(store.client_keys.all(), key)
        exchanges = store.history.page(Filter(account_id=account_id, client_key_id=key_id, **wanted), at_most=limit)
    if as_json:
        print_json([exchange_object(each, names, keys) for each in exchanges])
    elif not exchanges:
        say("There are no such requests in the history.")
    else:
        rows = [_row(each, names, keys) for each in exchanges]
        told = [name for name in ("key", "error") if any(row[name] for row in rows)]
        print_table(rows, [*_COLUMNS, *told], spare=_SPARE)


def show_exchange(exchange_id: str, *, payload: bool, as_json: bool) -> None:
    """Print all that is known of one exchange, with what was said in it when that is asked for."""
    from ccflare.cli import captured

    with opened_store() as store:
        exchange = _found(store, exchange_id)
        names, keys = store.history.account_names(), store.client_keys.names()
        said = store.payloads.read(exchange.id) if payload else None
    shown = exchange_object(exchange, names, keys)
    if as_json:
        print_json(shown | ({"payload": said and captured.payload_object(said)} if payload else {}))
        return
    print_fields({name: value for name, value in shown.items() if name not in _FOR_PROGRAMS} | shown["usage"])
    if shown["attempts"]:
        print()
        print_table(shown["attempts"], _ATTEMPT_COLUMNS)
    if said is not None:
        captured.print_payload(said)
    elif payload:
        say("What was said is not kept: capturing was off, or it has been forgotten since.")


def clear_history(*, ask: bool) -> None:
    """Delete all requests, what was captured of them and their sums; the accounts stay."""
    from ccflare.errors import RequestError

    with opened_store() as store:
        if ask and sys.stdin.isatty():
            question = f"Delete the history of {store.counts().requests} requests?"
            if not click.confirm(question, err=True):
                raise RequestError("the history was not deleted")
        count = store.clear_history()
    say(f"Deleted the history of {count} requests. The accounts are as they were.")


def exchange_object(exchange: "Exchange", names: "Mapping[str, str]", keys: "Mapping[str, str]") -> dict[str, Any]:
    """Return an exchange as JSON has it, with the names of its accounts and its client key."""
    import msgspec

    fields = msgspec.to_builtins(exchange)
    first = ("id", "timestamp_ms", "account_id")
    attempts = [_attempt_object(each, names) for each in exchange.attempts]
    return {
        **{name: fields[name] for name in first},
        "timestamp": instant(exchange.timestamp_ms),
        "account": _name(names, exchange.account_id),
        **{name: value for name, value in fields.items() if name not in first},
        "client_key": _name(keys, exchange.client_key_id),
        "cost_usd": _usd(exchange.cost_microusd),
        "attempts": attempts,
    }


def _attempt_object(attempt: "Attempt", names: "Mapping[str, str]") -> dict[str, Any]:
    """Return an attempt with the values that its JSON leaves out, and why it went where it went."""
    import msgspec

    from ccflare.choice import in_words

    choice = attempt.choice
    why = None if choice is None else in_words(choice, names)
    if choice is not None and choice.until_ms is not None:
        why = f"{why}, back at {instant(choice.until_ms)}"
    fields = msgspec.structs.asdict(attempt) | {"choice": choice and msgspec.structs.asdict(choice)}
    return {"account": _name(names, attempt.account_id), "why": why, **fields}


def _usd(microusd: int | None) -> float | None:
    return None if microusd is None else microusd / 1_000_000


def _row(exchange: "Exchange", names: "Mapping[str, str]", keys: "Mapping[str, str]") -> dict[str, Any]:
    return {
        "id": exchange.id,
        "time": instant(exchange.timestamp_ms),
        "status": exchange.status_code,
        "account": _name(names, exchange.account_id),
        "model": exchange.model,
        "in": exchange.usage.prompt_tokens,
        "out": exchange.usage.output_tokens,
        "cost": _usd(exchange.cost_microusd),
        "ms": exchange.response_time_ms,
        "key": _name(keys, exchange.client_key_id),
        "error": exchange.error_message,
    }


def _found(store: "Store", exchange_id: str) -> "Exchange":
    from ccflare.errors import NotFound
    from ccflare.store.history import Filter

    if exchange_id == "last":
        found = next(iter(store.history.page(Filter(), at_most=1)), None)
    else:
        found = store.history.get(exchange_id)
    if found is None:
        raise NotFound(f"there is no request {exchange_id!r} in the history; ccflare history shows those there are")
    return found


def account_id_of(names: "Mapping[str, str]", account: str) -> str:
    """Return the id of an account, a removed one too; the empty name means that no account was used."""
    from ccflare.errors import NotFound

    by_name = {name: account_id for account_id, name in names.items()}
    if account and account not in by_name:
        known = ", ".join(sorted(by_name)) or "none"
        raise NotFound(f"there is no account named {account!r} in the history; there are: {known}")
    return by_name[account] if account else ""


def _name(names: "Mapping[str, str]", account_id: str | None) -> str | None:
    return None if account_id is None else names.get(account_id, account_id)


# The subcommands.


def status_option(_context: click.Context, _option: click.Parameter, text: str | None) -> int | str | None:
    """Be the callback of an option that says how an exchange ended."""
    from typing import get_args

    from ccflare.records import Outcome

    if text is not None and text.isascii() and text.isdecimal() and 100 <= int(text) <= 599:
        return int(text)
    words = ("error", *get_args(Outcome))
    if text is not None and text not in words:
        raise click.BadParameter(f"{text!r} is neither a code from 100 to 599 nor one of {', '.join(words)}")
    return text


@click.group("history", invoke_without_command=True)
@click.option("--limit", metavar="N", type=Between(1, 10_000), default=20, help="How many (default 20).")
@click.option("--status", metavar="S", callback=status_option, help="error, success, a code like 429, or how it ended.")
@click.option("--account", metavar="NAME", help='Served by this account; "" for those that none served.')
@click.option("--model", metavar="M", help="A model, or a family like claude-3-opus.")
@click.option("--key", metavar="NAME", help='Came with this client key; "" for those without one.')
@click.option(
    "--from", "from_ms", metavar="T", callback=instant_option, help="Since a time: 2026-01-31T12:00:00Z, 2h, 3d."
)
@click.option("--to", "to_ms", metavar="T", callback=instant_option, help="Before a time.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def history(context: click.Context, /, **given: Any) -> None:
    """Show the latest requests, newest first.

    Times are UTC, costs US dollars. A terminal that is too narrow shows fewer columns; --json has everything.
    """
    if context.invoked_subcommand is None:
        list_exchanges(given.pop("limit"), **given)
    else:
        refuse_options_before(context)


@history.command("show")
@click.argument("exchange_id", metavar="ID")
@click.option("--payload", is_flag=True, help="With headers and bodies, as far as they were captured.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def _show(exchange_id: str, payload: bool, as_json: bool) -> None:
    """Show one request with its attempts and usage. ID may be the word last."""
    show_exchange(exchange_id, payload=payload, as_json=as_json)


@history.command("clear")
@click.option("--yes", is_flag=True, help="Do not ask.")
def _clear(yes: bool) -> None:
    """Delete all requests, captures and sums; the accounts stay."""
    clear_history(ask=not yes)
