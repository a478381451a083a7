"""What there was: the totals, a period by model and account, and the accounts' counters set to zero."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from ccflare.cli.client_keys import key_id_of
from ccflare.cli.context import opened_store, refuse_options_before
from ccflare.cli.history import account_id_of, status_option
from ccflare.cli.output import instant, print_fields, print_json, print_table, say

if TYPE_CHECKING:
    from ccflare.analytics import Measures
    from ccflare.store import Store

RANGES = ("1h", "6h", "24h", "7d", "30d", "90d", "365d")
_SPARE = ("tok/s", "cache_hits", "failovers", "in", "p95_ms", "out", "p50_ms", "success", "cost")


# What the commands do.


def show_stats(*, as_json: bool) -> None:
    """Print the totals since the beginning."""
    import msgspec

    from ccflare.analytics import totals

    with opened_store() as store:
        found = totals(store, _now_ms())
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    since = {"since": instant(found.since_ms), "usable_accounts": f"{found.active_accounts} of {found.accounts}"}
    print_fields(since | _fields(found))
    _print_by("model", found.top_models)
    _print_by("account", found.by_account)


def show_analytics(*, account: str | None, key: str | None, as_json: bool, **wanted: Any) -> None:
    """Print what there was in a period that ends now."""
    import msgspec

    from ccflare.analytics import Question, analyse

    def ask(store: "Store") -> Any:
        account_id = None if account is None else account_id_of(store.history.account_names(), account)
        key_id = None if key is None else key_id_of(store.client_keys.all(), key)
        return analyse(store, Question(account_id=account_id, client_key_id=key_id, **wanted), _now_ms())

    with opened_store() as store:
        found = ask(store)
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    print_fields({"from": instant(found.from_ms), "to": instant(found.to_ms)} | _fields(found.overview))
    _print_by("model", found.models)
    _print_by("account", found.accounts)
    if any(each.id for each in found.client_keys):
        _print_by("key", found.client_keys)


def reset_stats() -> None:
    """Set the accounts' counters to zero; the history stays."""
    with opened_store() as store:
        store.reset_stats()
    say("The accounts' counters are zero. The history is as it was.")


def _print_by(what: str, each: "Sequence[Any]") -> None:
    """Print a table of measures, if there are any."""
    name: Callable[[Any], Any] = (lambda one: one.model) if what == "model" else (lambda one: one.name or one.id)
    rows = [{what: name(one) or "(none)"} | _row(one) for one in each]
    if rows:
        print()
        print_table(rows, list(rows[0]), spare=_SPARE)


def _fields(measures: "Measures") -> dict[str, object]:
    tokens = {name: value for name, value in _counts(measures).items() if value}
    return {
        "requests": measures.requests,
        "successful": _percent(measures.success_rate),
        "rate_limited": measures.rate_limited_requests,
        "failover_attempts": measures.failover_attempts,
        "response_time_ms": _times(measures),
        **tokens,
        "cache_hits": _percent(measures.cache_hit_rate),
        "output_tokens_per_second": _rounded(measures.output_tokens_per_second),
        "cost_usd": measures.cost_usd,
        "without_known_price": measures.unpriced or None,
    }


def _row(measures: "Measures") -> dict[str, object]:
    return {
        "requests": measures.requests,
        "success": _percent(measures.success_rate),
        "failovers": measures.failover_attempts,
        "in": _prompt_tokens(measures),
        "out": measures.tokens.output_tokens,
        "cache_hits": _percent(measures.cache_hit_rate),
        "cost": measures.cost_usd,
        "p50_ms": _rounded(measures.p50_response_time_ms),
        "p95_ms": _rounded(measures.p95_response_time_ms),
        "tok/s": _rounded(measures.output_tokens_per_second),
    }


def _counts(measures: "Measures") -> dict[str, int | None]:
    import msgspec

    return msgspec.structs.asdict(measures.tokens)


def _prompt_tokens(measures: "Measures") -> int | None:
    """Return the whole input, cached or not."""
    tokens = measures.tokens
    return None if tokens.total_tokens is None else tokens.total_tokens - (tokens.output_tokens or 0)


def _times(measures: "Measures") -> str | None:
    times = {
        "mean": measures.avg_response_time_ms,
        "p50": measures.p50_response_time_ms,
        "p95": measures.p95_response_time_ms,
        "p99": measures.p99_response_time_ms,
    }
    known = [f"{name} {value:.0f}" for name, value in times.items() if value is not None]
    return ", ".join(known) or None


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.1%}"


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)


def _now_ms() -> int:
    return int(time.time() * 1000)


# The subcommands.


@click.group("stats", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def stats(context: click.Context, as_json: bool) -> None:
    """Show what there was in all. (ccflare --stats is the same as ccflare stats --json.)"""
    if context.invoked_subcommand is None:
        show_stats(as_json=as_json)
    else:
        refuse_options_before(context)


@stats.command("reset")
def _reset() -> None:
    """Set the accounts' counters to zero; the history stays."""
    reset_stats()


@click.command("analytics")
@click.option("--range", type=click.Choice(RANGES), default="24h", help="How far back (default 24h).")
@click.option("--model", metavar="M", help="A model, or a family like claude-3-opus.")
@click.option("--account", metavar="NAME", help='Served by this account; "" for those that none served.')
@click.option("--status", metavar="S", callback=status_option, help="error, success, a code like 429, or an outcome.")
@click.option("--key", metavar="NAME", help='Came with this client key; "" for those without one.')
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with series over time.")
def analytics(**given: Any) -> None:
    """Show what there was in a period, by model, account and client key."""
    show_analytics(**given)
