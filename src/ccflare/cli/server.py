"""The commands that run a server, and the one that shows what it works with."""

from importlib import import_module

import click

from ccflare.cli.context import load_settings
from ccflare.cli.output import print_json, print_table, say


def run_server(port: int | None, workers: int | None = None) -> int:
    """Serve until a signal ends it; return the exit status."""
    flags = {"port": port, "workers": workers}
    loaded = load_settings(flags, create=True, tell=False)  # the server logs them
    if loaded.settings.workers > 1:
        from ccflare.supervisor import run
    else:
        from ccflare.serve import run
    return run(loaded, flags)


def show_settings(*, as_json: bool) -> None:
    """Print every setting with its value and where that comes from."""
    from ccflare.settings import rows
    from ccflare.settings.table import plain

    loaded = load_settings()
    settings = rows(loaded)
    if as_json:
        print_json(settings)
        return
    say(f"Settings file: {loaded.path}")
    shown = [{**row, "value": plain(row["value"]) or None} for row in settings]
    print_table(shown, ("name", "value", "origin"))


@click.command("serve")
@click.option("--port", type=int, metavar="N", help="Port to listen on (default 8080).")
@click.option("--workers", type=int, metavar="N", help="Processes that serve (default 1).")
def serve(port: int | None, workers: int | None) -> int:
    """Run the proxy."""
    return run_server(port, workers)


@click.command("demo")
@click.option("--once", is_flag=True, help="End after the table; so it does without a terminal.")
def demo(once: bool) -> int:
    """Show it working, without an account or a network."""
    return int(import_module("ccflare.demo.show").run(once=once))


@click.command("config")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def config(as_json: bool) -> None:
    """Show every setting and where its value comes from."""
    show_settings(as_json=as_json)
