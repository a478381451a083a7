"""Client keys on the command line: who may use the server."""

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from ccflare.cli.context import opened_store
from ccflare.cli.output import instant, print_json, print_table, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ccflare.records import ClientKey, Role
    from ccflare.store.sums import Sums

_COLUMNS = ("name", "role", "state", "payloads", "requests", "cost", "last_used", "created_at")
_SPARE = ("created_at", "payloads", "last_used")


# What the commands do.


def create_key(name: str, *, role: "Role", store_payloads: bool, as_json: bool) -> None:
    """Make a key and print it, this once."""
    from ccflare.client_keys import digest_of, new_key
    from ccflare.errors import RequestError
    from ccflare.records import ClientKey, check_key_name

    try:
        check_key_name(name)
    except ValueError as error:
        raise RequestError(str(error)) from None
    now_ms, secret = _now_ms(), new_key()
    key = ClientKey(id=_new_id(now_ms), name=name, role=role, store_payloads=store_payloads, created_at_ms=now_ms)
    with opened_store() as store:
        before = _in_force(store.client_keys.all())
        store.client_keys.add(key, digest_of(secret))
    if as_json:
        print_json({"key": secret.reveal(), **_object(key, None)})
    else:
        print(secret.reveal())
    say(f"Made the key {name} ({role}). It is shown this once: only its hash is kept.")
    if not before:
        say("From now on every request needs a key: ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN of Claude Code and SDKs.")
    if role != "admin" and not any(each.role == "admin" for each in before):
        say("The dashboard and the API need an admin key: ccflare keys create NAME --role admin")


def list_keys(*, every: bool, as_json: bool) -> None:
    """Print the keys in force, or every key there was."""
    from ccflare.store.rollups import used_by_key

    with opened_store() as store, store.snapshot():
        keys, sums = store.client_keys.all(), used_by_key(store.rollups)
    shown = [_object(key, sums.get(key.id)) for key in (keys if every else _in_force(keys))]
    if as_json:
        print_json(shown)
    elif not shown:
        say("There is no key. ccflare keys create NAME makes one; from then on every request needs one.")
    else:
        print_table([_row(each) for each in shown], _COLUMNS, spare=_SPARE)


def revoke_key(name: str, *, ask: bool) -> None:
    """Let nobody in with a key any more; its requests keep its name."""
    from ccflare.errors import NotFound, RequestError

    with opened_store() as store:
        keys = _in_force(store.client_keys.all())
        key = next((each for each in keys if name in {each.name, each.id}), None)
        if key is None:
            known = ", ".join(sorted(each.name for each in keys)) or "none"
            raise NotFound(f"there is no key named {name!r} in force; there are: {known}")
        if ask and sys.stdin.isatty() and not click.confirm(f"Revoke the key {key.name}?", err=True):
            raise RequestError("the key was not revoked")
        store.client_keys.revoke(key.id, _now_ms())
    say(f"Revoked {key.name}. Its requests stay in the history under this name.")
    if len(keys) == 1:
        say("No key is left: nobody is let in until there is another, unless open_without_keys is set.")
    elif not any(each.role == "admin" for each in keys if each.id != key.id):
        say("No admin key is left: nobody can use the dashboard and the API.")


def key_id_of(keys: "Sequence[ClientKey]", name: str) -> str:
    """Return the id of a key by its name or id, of several the one in force; the empty name means no key."""
    from ccflare.errors import NotFound

    newest_first = sorted(keys, key=lambda each: (each.revoked_at_ms is not None, -each.created_at_ms))
    found = next((each.id for each in newest_first if name in {each.name, each.id}), None)
    if name and found is None:
        known = ", ".join(sorted({each.name for each in keys})) or "none"
        raise NotFound(f"there is no key named {name!r}; there are: {known}")
    return found or ""


def _in_force(keys: "Sequence[ClientKey]") -> "list[ClientKey]":
    return [key for key in keys if key.revoked_at_ms is None]


def _object(key: "ClientKey", sums: "Sums | None") -> dict[str, Any]:
    cost = None if sums is None else sums.cost_microusd
    return {
        "id": key.id,
        "name": key.name,
        "role": key.role,
        "state": "active" if key.revoked_at_ms is None else "revoked",
        "store_payloads": key.store_payloads,
        "created_at": instant(key.created_at_ms),
        "revoked_at": instant(key.revoked_at_ms),
        "last_used": instant(key.last_used_ms),
        "requests": 0 if sums is None else sums.requests,
        "cost_usd": None if cost is None else cost / 1_000_000,
    }


def _row(shown: dict[str, Any]) -> dict[str, Any]:
    return shown | {"payloads": "kept" if shown["store_payloads"] else "not kept", "cost": shown["cost_usd"]}


def _now_ms() -> int:
    return int(time.time() * 1000)


def _new_id(now_ms: int) -> str:
    import random

    from ccflare.records import new_id

    return new_id(now_ms, random.SystemRandom())


# The subcommands.


@click.group()
def keys() -> None:
    """Manage the keys that clients of this server need.

    Without any, everybody on this machine may use it. From the first key on every request needs one, as x-api-key or
    as a bearer token. A running server sees changes within a second.
    """


@keys.command("create")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["proxy", "admin"]),
    default="proxy",
    help="proxy: use the accounts (default); admin: also the dashboard and the API.",
)
@click.option("--no-store", is_flag=True, help="Record its requests without what was said in them.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def _create(name: str, role: "Role", no_store: bool, as_json: bool) -> None:
    """Make a key and print it. It is shown this once."""
    create_key(name, role=role, store_payloads=not no_store, as_json=as_json)


@keys.command("list")
@click.option("--all", "every", is_flag=True, help="Show revoked ones too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def _list(every: bool, as_json: bool) -> None:
    """Show the keys, and what was done with them."""
    list_keys(every=every, as_json=as_json)


@keys.command("revoke")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def _revoke(name: str, yes: bool) -> None:
    """Let nobody in with a key any more; its requests keep its name."""
    revoke_key(name, ask=not yes)
