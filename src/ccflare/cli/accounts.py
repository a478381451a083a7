"""The account commands: one function each, and the subcommands that call them."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import click

from ccflare.cli.context import account_named, check_address, load_settings, opened_store
from ccflare.cli.keys import ASK, read_key
from ccflare.cli.numbers import Between
from ccflare.cli.output import instant, print_json, print_table, say

if TYPE_CHECKING:
    from ccflare.forecast import AccountWindows, Outlook
    from ccflare.records import Account

_SPARE = (
    "provider",
    "priority",
    "session",
    "kind",
    "rate_limit_status",
    "expires_at",
    "windows",
    "requests",
    "rate_limit_reset",
)
_COLUMNS = (
    "name",
    "provider",
    "kind",
    "state",
    "priority",
    "expires_at",
    "rate_limit_status",
    "rate_limit_reset",
    "requests",
    "session",
)


# What the commands do.


def list_accounts(*, as_json: bool) -> None:
    """Print every account and what it is at this moment."""
    loaded = load_settings()
    now_ms = _now_ms()
    with opened_store(loaded) as store:
        accounts = store.accounts()
        sessions = store.session_counts(bound_since_ms=now_ms - loaded.settings.session_duration_ms)
        told = store.windows.all()
    rows = [
        _row(account, sessions.get(account.id, 0), now_ms) | _limits(told.get(account.id), now_ms)
        for account in accounts
    ]
    if as_json:
        print_json(rows)
        return
    if not rows:
        say("There are no accounts yet. Add one: ccflare --add-account NAME --api-key")
        return
    for row in rows:
        row["session"] = f"{row['session']} live" if row["session"] else None
        row["windows"] = ", ".join(_used(window) for window in row["windows"]) or None
        row["set_aside"] = ", ".join(f"{_aside(each)} until {each['until']}" for each in row["asides"]) or None
        row["rate_limit_reset"] = _comes_back(row, instant(now_ms) or "")
    columns = [*_COLUMNS, *(name for name in ("windows", "set_aside", "reason") if any(row[name] for row in rows))]
    spare = [name for name in _SPARE if name in columns]
    if any(row["state"] == "rate_limited" for row in rows):
        spare = [*spare[:-1], *(name for name in ("set_aside", "reason") if name in columns)]
    print_table(rows, columns, spare=spare)


def add_account(name: str, *, mode: Literal["max", "console"] | None, **options: Any) -> None:
    """Add an account by its API key, or by signing in when no key is given."""
    from ccflare.errors import RequestError

    if name.startswith("-"):
        raise RequestError(f"{name} looks like an option; an account's name does not begin with a dash")
    api_key, api_key_env = options.pop("api_key"), options.pop("api_key_env")
    if api_key is not None or api_key_env is not None:
        if mode is not None:
            raise RequestError("--mode is for signing in, which takes no key; give one of them")
        _add_by_key(name, api_key=api_key, api_key_env=api_key_env, **options)
        return
    from ccflare.cli.sign_in import add_by_sign_in

    add_by_sign_in(name, mode=mode, **options)


def _add_by_key(
    name: str, *, api_key: str | None, api_key_env: str | None, base_url: str | None, priority: int, tier: int
) -> None:
    from ccflare.errors import Conflict, RequestError
    from ccflare.records import Account, Credentials, check_account_name

    try:
        check_account_name(name)
    except ValueError as error:
        raise RequestError(str(error)) from None
    loaded = load_settings()
    check_address(loaded, base_url)
    with opened_store(loaded) as store:
        if any(account.name == name for account in store.accounts()):
            raise Conflict(f"there is already an account named {name!r}")
        key = read_key(name, api_key, api_key_env)
        now_ms = _now_ms()
        account = Account(
            id=_new_id(now_ms),
            name=name,
            base_url=base_url,
            priority=priority,
            tier=tier,
            created_at_ms=now_ms,
        )
        store.add_account(account, Credentials(account.id, api_key=key))
    say(f"Added {name}. A running server uses it within a second.")


def remove_account(name: str, *, ask: bool) -> None:
    """Remove an account and its secret; its requests stay in the history."""
    from ccflare.errors import RequestError

    with opened_store() as store:
        account = account_named(store, name)
        if ask and sys.stdin.isatty() and not click.confirm(f"Remove {name} and its key?", err=True):
            raise RequestError(f"{name} was not removed")
        store.remove_account(account.id)
    say(f"Removed {name}. Its requests stay in the history.")


def pause_account(name: str, *, reason: str | None = None) -> None:
    """Give an account no new requests until it is resumed."""
    from ccflare.store import AccountChange

    with opened_store() as store:
        account = account_named(store, name)
        if account.paused:
            say(f"{name} is paused already.")
            return
        change = AccountChange(paused=True, paused_by="cli", paused_reason=reason, paused_at_ms=_now_ms())
        store.update_account(account.id, change)
    say(f"Paused {name}.")


def resume_account(name: str) -> None:
    """Have an account be used again: one that is paused, refused, limited, or not asked for some model."""
    from ccflare.records import state_of
    from ccflare.store import resumed

    now_ms = _now_ms()
    with opened_store() as store:
        account = account_named(store, name)
        state = state_of(account, now_ms)
        known = store.windows.all().get(account.id)
        asides = known.asides_at(now_ms) if known is not None else ()
        store.update_account(account.id, resumed(now_ms))
    if state == "active":
        tried_again = ", ".join(_aside({"model": each.model, "family": each.family}) for each in asides)
        say(f"{name} is tried again for {tried_again}." if asides else f"{name} is not paused.")
        return
    tried = {
        "auth_failed": " Its refused credential is tried again.",
        "rate_limited": " Its limit is not waited for.",
    }
    say(f"Resumed {name}.{tried.get(state, '')}")


def rename_account(name: str, new_name: str) -> None:
    """Give an account another name; its history stays with it."""
    from ccflare.errors import RequestError
    from ccflare.records import check_account_name
    from ccflare.store import AccountChange

    try:
        check_account_name(new_name)
    except ValueError as error:
        raise RequestError(str(error)) from None
    with opened_store() as store:
        store.update_account(account_named(store, name).id, AccountChange(name=new_name))
    say(f"Renamed {name} to {new_name}.")


def set_priority(name: str, priority: int) -> None:
    """Say when an account is used: lower numbers first."""
    from ccflare.store import AccountChange

    with opened_store() as store:
        store.update_account(account_named(store, name).id, AccountChange(priority=priority))
    say(f"{name} has priority {priority}.")


def _row(account: "Account", sessions: int, now_ms: int) -> dict[str, Any]:
    from ccflare.records import state_of

    state = state_of(account, now_ms)
    reasons = {
        "paused": account.paused_reason,
        "expired": account.expired_reason,
        "auth_failed": account.auth_failed_reason,
        "rate_limited": account.limited_reason,
    }
    if (account.refresh_failed_at_ms or 0) > (account.last_refresh_at_ms or 0):
        reasons["active"] = f"Token refresh failed: {account.refresh_error}"
    return {
        "id": account.id,
        "name": account.name,
        "provider": account.provider,
        "kind": account.kind,
        "state": state,
        "reason": reasons.get(state),
        "base_url": account.base_url,
        "priority": account.priority,
        "tier": account.tier,
        "created_at": instant(account.created_at_ms),
        "expires_at": instant(account.expires_at_ms),
        "last_refresh": instant(account.last_refresh_at_ms),
        "refresh_failed_at": instant(account.refresh_failed_at_ms),
        "refresh_error": account.refresh_error,
        "paused_by": account.paused_by,
        "paused_at": instant(account.paused_at_ms),
        "rate_limited_until": instant(account.limited_until_ms),
        "rate_limit_status": account.rate_limit_status,
        "rate_limit_reset": instant(account.rate_limit_reset_ms),
        "rate_limit_remaining": account.rate_limit_remaining,
        "last_used": instant(account.last_used_ms),
        "requests": account.request_count,
        "session": sessions,
    }


def _comes_back(row: Mapping[str, Any], now: str) -> str | None:
    """Return what people look for in `rate_limit_reset`: when a limited account is back, else a reset that is to come.

    Upstream's own reset, which JSON has, may be another one: a pause asked for by `retry-after` has none.
    """
    if row["state"] == "rate_limited":
        return str(row["rate_limited_until"])
    reset: str | None = row["rate_limit_reset"]
    return reset if reset is None or reset > now else None


def _limits(told: "AccountWindows | None", now_ms: int) -> dict[str, Any]:
    """Return what is known of an account's windows, and of what it is not asked for at the moment."""
    if told is None:
        return {"windows": [], "asides": []}
    asides = [
        {"model": each.model, "family": each.family, "until": instant(each.until_ms), "reason": each.reason}
        for each in told.asides_at(now_ms)
    ]
    return {"windows": _windows(told.at(now_ms)), "asides": asides}


def _aside(aside: Mapping[str, Any]) -> str:
    return f"{aside['model']} models" if aside["family"] else str(aside["model"])


def _windows(windows: Sequence["Outlook"]) -> list[dict[str, Any]]:
    return [
        {
            "name": window.name,
            "utilization": window.utilization,
            "status": window.status,
            "reset": instant(window.reset_ms),
            "runs_out_at": instant(window.runs_out_at_ms),
        }
        for window in windows
    ]


def _used(window: Mapping[str, Any]) -> str:
    used = window["utilization"]
    return f"{window['name']} {'-' if used is None else f'{used:.0%}'}"


def _now_ms() -> int:
    return int(time.time() * 1000)


def _new_id(now_ms: int) -> str:
    import random

    from ccflare.records import new_id

    return new_id(now_ms, random.SystemRandom())


# The subcommands.

PRIORITY = Between(-1_000_000, 1_000_000)
TIER = Between(1, 1_000_000)
MODE = click.Choice(["max", "console"])


@click.group()
def accounts() -> None:
    """Manage the accounts that requests are balanced over."""


@accounts.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def _list(as_json: bool) -> None:
    """Show all accounts and their states."""
    list_accounts(as_json=as_json)


@accounts.command("add")
@click.argument("name")
@click.option("--api-key", is_flag=False, flag_value=ASK, metavar="[-]", help="Ask for the key; - reads it from stdin.")
@click.option("--api-key-env", metavar="VAR", help="Take the key from an environment variable.")
@click.option("--mode", type=MODE, help="Without a key: sign in for a plan (max), or a new key (console).")
@click.option("--base-url", metavar="URL", help="Where its requests go instead of the provider's address.")
@click.option("--priority", metavar="N", type=PRIORITY, default=0, help="Lower is used first (default 0).")
@click.option("--tier", metavar="N", type=TIER, default=1, help="Size of the plan, for your information (default 1).")
def _add(name: str, **options: Any) -> None:
    """Add an account by its API key, or by signing in."""
    add_account(name, **options)


@accounts.command("reauth")
@click.argument("name")
def _reauth(name: str) -> None:
    """Sign in to an account again; everything but its credentials stays."""
    from ccflare.cli.sign_in import sign_in_again

    sign_in_again(name)


@accounts.command("remove")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def _remove(name: str, yes: bool) -> None:
    """Remove an account; its requests stay in the history."""
    remove_account(name, ask=not yes)


@accounts.command("pause")
@click.argument("name")
@click.option("--reason", metavar="TEXT", help="Shown with the account.")
def _pause(name: str, reason: str | None) -> None:
    """Give an account no new requests."""
    pause_account(name, reason=reason)


@accounts.command("resume")
@click.argument("name")
def _resume(name: str) -> None:
    """Use a paused, refused or limited account again."""
    resume_account(name)


@accounts.command("rename")
@click.argument("name")
@click.argument("new_name")
def _rename(name: str, new_name: str) -> None:
    """Give an account another name."""
    rename_account(name, new_name)


@accounts.command("priority", context_settings={"ignore_unknown_options": True})  # so that -1 is a number
@click.argument("name")
@click.argument("priority", type=PRIORITY)
def _priority(name: str, priority: int) -> None:
    """Set when an account is used: lower numbers first."""
    set_priority(name, priority)
