"""The command line. The flags of old and the subcommands are two ways to the same functions.

A command imports what it needs inside its function: `ccflare --list` has to answer in under 200 ms.
"""

import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from ccflare import __version__
from ccflare.cli import accounts, client_keys, doctor, history, logs, server, stats, transfer
from ccflare.cli.context import debugging
from ccflare.cli.keys import ASK
from ccflare.cli.output import complain
from ccflare.errors import CcflareError

_EPILOG = """\b
Add an account without showing its key, and start the server:
  printf %s "$KEY" | ccflare --add-account NAME --api-key -
  ccflare --serve
Then point your client at http://localhost:8080.
"""

_ADD_OPTIONS = ("api_key", "api_key_env", "mode", "base_url", "priority", "tier")

_ACTIONS: dict[str, tuple[tuple[str, ...], Callable[[dict[str, Any]], int | None]]] = {
    "serve": (("port", "workers"), lambda given: server.run_server(given["port"], given["workers"])),
    "add_account": (
        _ADD_OPTIONS,
        lambda given: accounts.add_account(given["add_account"], **{name: given[name] for name in _ADD_OPTIONS}),
    ),
    "list": (("json",), lambda given: accounts.list_accounts(as_json=given["json"])),
    "remove": ((), lambda given: accounts.remove_account(given["remove"], ask=False)),
    "pause": ((), lambda given: accounts.pause_account(given["pause"])),
    "resume": ((), lambda given: accounts.resume_account(given["resume"])),
    "reset_stats": ((), lambda _given: stats.reset_stats()),
    "clear_history": ((), lambda _given: history.clear_history(ask=False)),
    "stats": (("json",), lambda _given: stats.show_stats(as_json=True)),
    "logs": (("json",), lambda given: logs.show_logs(given["logs"], follow=True, as_json=given["json"])),
}
"""What each flag does, and which other options go with it."""


class _ReaderGone(Exception):
    """Nobody reads the output any more."""


class _Root(click.Group):
    """Tells a reader that has gone from a failure; click ends a program with status 1 for both."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise _ReaderGone from None


@click.group(cls=_Root, invoke_without_command=True, epilog=_EPILOG)
@click.option("--serve", is_flag=True, help="Run the proxy.")
@click.option("--port", type=int, metavar="N", help="With --serve: port to listen on (default 8080).")
@click.option("--workers", type=int, metavar="N", help="With --serve: processes that serve (default 1).")
@click.option("--add-account", metavar="NAME", help="Add an account by its API key, or by signing in.")
@click.option(
    "--api-key",
    is_flag=False,
    flag_value=ASK,
    metavar="[-]",
    help="With --add-account: ask for the key; - reads it from stdin.",
)
@click.option("--api-key-env", metavar="VAR", help="With --add-account: take the key from a variable.")
@click.option("--mode", type=accounts.MODE, help="With --add-account, without a key: sign in for a plan, or a new key.")
@click.option("--base-url", metavar="URL", help="With --add-account: where its requests go.")
@click.option(
    "--priority",
    metavar="N",
    type=accounts.PRIORITY,
    default=0,
    help="With --add-account: lower is used first.",
)
@click.option("--tier", metavar="N", type=accounts.TIER, default=1, help="With --add-account: size of its plan.")
@click.option("--list", is_flag=True, help="Show all accounts and their states.")
@click.option("--json", is_flag=True, help="With --list, --logs or --stats: print JSON.")
@click.option("--remove", metavar="NAME", help="Remove an account; its requests stay in the history.")
@click.option("--pause", metavar="NAME", help="Give an account no new requests.")
@click.option("--resume", metavar="NAME", help="Use a paused or refused account again.")
@click.option("--stats", is_flag=True, help="Show what there was so far, as JSON.")
@click.option("--reset-stats", is_flag=True, help="Set the accounts' counters to zero; the history stays.")
@click.option("--clear-history", is_flag=True, help="Delete all requests and what was captured; the accounts stay.")
@click.option(
    "--logs",
    is_flag=False,
    flag_value=logs.LAST,
    type=logs.NUMBER,
    metavar="[N]",
    help=f"Show the log's last N entries (default {logs.LAST}), then follow it until Ctrl-C.",
)
@click.version_option(__version__, prog_name="ccflare", message="%(prog)s %(version)s")
@click.pass_context
def root(context: click.Context, /, **given: Any) -> int | None:
    """Balance Claude API traffic over several accounts."""
    source = click.core.ParameterSource.COMMANDLINE
    named = [name for name in given if context.get_parameter_source(name) == source]
    if context.invoked_subcommand is not None:
        if named:
            raise click.UsageError(f"{_flag(named[0])} does not go before {context.invoked_subcommand}")
        return None
    actions = [name for name in named if name in _ACTIONS]
    if not named:
        click.echo(context.get_help())
        return None
    if len(actions) != 1:
        raise click.UsageError(_which(actions, named))
    options, action = _ACTIONS[actions[0]]
    stray = [name for name in named if name not in options and name != actions[0]]
    if stray:
        raise click.UsageError(f"{_flag(stray[0])} does not go with {_flag(actions[0])}")
    return action(given)


def _which(actions: Sequence[str], named: Sequence[str]) -> str:
    if actions:
        return f"{' and '.join(map(_flag, actions))} are two things to do; give one"
    *others, needed = [_flag(action) for action, (options, _) in _ACTIONS.items() if named[0] in options]
    alternatives = f"{', '.join(others)} or {needed}" if others else needed
    return f"{_flag(named[0])} only goes with {alternatives}"


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


@root.command("help")
@click.argument("commands", nargs=-1)
@click.pass_context
def _help(context: click.Context, commands: tuple[str, ...]) -> None:
    """Show what a command does."""
    command: click.Command = root
    path = click.Context(root, info_name="ccflare")
    for name in commands:
        found = command.get_command(path, name) if isinstance(command, click.Group) else None
        if found is None:
            raise click.UsageError(f"there is no command {' '.join(commands)}", context)
        command, path = found, click.Context(found, info_name=name, parent=path)
    click.echo(command.get_help(path))


for _command in (
    server.serve, accounts.accounts, client_keys.keys, history.history, stats.stats, stats.analytics, logs.logs,
    server.config, server.demo, doctor.doctor,
):  # fmt: skip
    root.add_command(_command)
for _command in (transfer.export_command, transfer.import_command):
    accounts.accounts.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 1 failed, 2 called wrongly, 130 Ctrl-C, 141 reader gone."""
    _have_streams()
    try:
        status = root.main(arguments, prog_name="ccflare", standalone_mode=False)
        sys.stdout.flush()
    except (click.Abort, KeyboardInterrupt):
        return 130
    except click.UsageError as error:
        return _called_wrongly(error)
    except _ReaderGone:
        return _cannot_print(BrokenPipeError())
    except OSError as error:
        return _cannot_print(error)
    except Exception as error:  # noqa: BLE001  # the last line of defence: one line for a person
        return _failed(error)
    return status if isinstance(status, int) else 0


def _called_wrongly(error: click.UsageError) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
    else:
        command = error.ctx.command_path if error.ctx else "ccflare"
        complain(f"{error.format_message()} ({command} --help shows what there is)")
    return 2


def _cannot_print(error: OSError) -> int:
    if debugging() and not isinstance(error, BrokenPipeError):
        raise error
    _forget_output()
    if isinstance(error, BrokenPipeError):
        return 141
    complain(error)
    return 1


def _have_streams() -> None:
    """Open /dev/null for a standard stream that whoever started this has closed; let no character be a failure."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # as long as the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _failed(error: Exception) -> int:
    if debugging():
        raise error
    if isinstance(error, CcflareError | click.ClickException):
        complain(error.format_message() if isinstance(error, click.ClickException) else error)
    else:
        complain(f"{type(error).__name__}: {error}. This is a mistake in ccflare; ccflare_DEBUG=1 shows where")
    return 1


def _forget_output() -> None:
    """Let the interpreter's last flush succeed: whoever read the output has gone."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
