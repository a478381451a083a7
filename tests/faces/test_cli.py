"""The command line in process: every command, every refusal, one line for each."""

import json
import sys
import time
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ccflare import __version__
from ccflare.records import Binding, Secret
from ccflare.store import AccountChange, Batch, Store
from cli_kit import KEY, Run, exchange, put


def listed(run: Run) -> dict[str, Mapping[str, Any]]:
    """What `--list --json` says, by name."""
    return {row["name"]: row for row in json.loads(run("--list", "--json").out)}


# Adding.


@pytest.mark.parametrize("command", [["--add-account"], ["accounts", "add"]])
def test_a_key_comes_from_standard_input(run: Run, store: Store, command: Sequence[str]) -> None:
    """Both spellings take the key from a pipe, with or without a newline at its end, and every option."""
    options = ("--api-key", "-", "--base-url", "http://127.0.0.1:9/x", "--priority", "-3", "--tier", "20")
    said = run(*command, "my account", *options, stdin=f"{KEY}\r\n")
    assert (said.status, said.out) == (0, "")
    assert "Added my account" in said.line
    account = store.accounts()[0]
    found = (account.name, account.base_url, account.priority, account.tier)
    assert found == ("my account", "http://127.0.0.1:9/x", -3, 20)
    assert store.credentials()[account.id].api_key == Secret(KEY)


def test_a_key_comes_from_the_environment(run: Run, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--api-key-env` names the variable that holds the key."""
    monkeypatch.setenv("MY_KEY", KEY)
    assert run("--add-account", "a", "--api-key-env", "MY_KEY").status == 0
    assert store.credentials()[store.accounts()[0].id].api_key == Secret(KEY)


@pytest.mark.parametrize("argument", ["--api-key", "--api-key=-"])
def test_a_key_is_asked_for_on_a_terminal(
    run: Run, store: Store, monkeypatch: pytest.MonkeyPatch, argument: str
) -> None:
    """On a terminal nothing that is typed may be seen, also when standard input was named."""
    monkeypatch.setattr("getpass.getpass", lambda prompt, stream: KEY if "a:" in prompt else "")
    assert run("--add-account", "a", argument, terminal=True).status == 0
    assert store.credentials()[store.accounts()[0].id].api_key == Secret(KEY)


@pytest.mark.parametrize(
    ("options", "stdin", "message"),
    [
        (["--api-key", KEY], "", "a key on the command line can be read by every program"),
        (["--api-key", "-"], "", "the key is empty"),
        (["--api-key", "-"], "two\nlines", "not a key"),
        (["--api-key", "-"], "schl\u00fcssel", "not ASCII"),
        (["--api-key", "-"], "x" * 70_000, "too long"),
        (["--api-key"], "", "no terminal to ask"),
        (["--api-key-env", "NOT_SET_ANYWHERE"], "", "no environment variable NOT_SET_ANYWHERE"),
        (["--api-key-env", "X", "--api-key", "-"], "", "give one"),
        ([], "", "needs an OAuth client of yours (CLIENT_ID)"),
        (["--api-key", "-", "--base-url", "ftp://x"], KEY, "must look like https://"),
    ],
)
def test_what_cannot_be_added(run: Run, store: Store, options: Sequence[str], stdin: str, message: str) -> None:
    """Each refusal is one line that says why, never shows the key, and adds nothing."""
    said = run("--add-account", "a", *options, stdin=stdin)
    assert said.status == 1
    assert message in said.line
    assert KEY not in said.err + said.out
    assert store.accounts() == []


def test_bad_and_taken_names_are_refused_before_the_key_is_asked_for(run: Run, store: Store) -> None:
    """Nobody types a key for a name that cannot be had."""
    assert "1 to 100 letters" in run("--add-account", "a/b", "--api-key", "-").line
    put(store, "a")
    assert "already an account named 'a'" in run("--add-account", "a", "--api-key", "-").line


# Listing.


def test_an_empty_list_says_how_to_begin(run: Run) -> None:
    """stdout stays empty for programs; the hint is talk."""
    said = run("--list")
    assert (said.status, said.out) == (0, "")
    assert "--add-account" in said.line
    assert json.loads(run("--list", "--json").out) == []


def test_the_list_shows_every_state_with_its_reason(run: Run, store: Store) -> None:
    """Name, kind, state, limits, counters and sessions stand in the columns people look for."""
    put(store, "fine")
    put(store, "refused", auth_failed_reason="401 invalid x-api-key")
    far = 4_000_000_000_000
    limits = {"rate_limit_status": "rejected", "rate_limit_reset_ms": far, "limited_reason": "5h window"}
    limited = put(store, "limited", limited_until_ms=far, **limits)
    put(store, "resting", paused=True, paused_by="cli", paused_reason="holiday", paused_at_ms=5)
    now_ms = int(time.time() * 1000)
    served = exchange(limited.id, now_ms)
    bindings = [Binding("new", limited.id, now_ms, now_ms), Binding("old", limited.id, 5, 5)]
    store.write(Batch(exchanges=[served], bindings=bindings))
    rows = listed(run)
    states = {name: (row["state"], row["reason"]) for name, row in rows.items()}
    assert states == {
        "fine": ("active", None),
        "refused": ("auth_failed", "401 invalid x-api-key"),
        "limited": ("rate_limited", "5h window"),
        "resting": ("paused", "holiday"),
    }
    row = rows["limited"]
    assert (row["rate_limit_status"], row["rate_limit_reset"]) == ("rejected", "2096-10-02T07:06:40Z")
    assert (row["requests"], row["session"], row["kind"], row["expires_at"]) == (1, 1, "api_key", None)
    head, *lines = run("accounts", "list").out.splitlines()
    columns = "name provider kind state priority expires_at rate_limit_status rate_limit_reset requests session"
    assert head.split() == [*columns.split(), "reason"]
    line = next(line for line in lines if line.startswith("limited"))
    shown = "limited anthropic api_key rate_limited 0 - rejected 2096-10-02T07:06:40Z 1 1 live 5h window"
    assert line.split() == shown.split()


def test_the_list_contains_no_secret(run: Run, store: Store) -> None:
    """No form of the list shows a credential."""
    put(store, "a")
    shown = run("--list").out + run("--list", "--json").out + run("accounts", "list", "--json").out
    assert '"name": "a"' in shown
    assert "secret" not in shown


def test_what_upstream_said_cannot_steer_the_terminal(run: Run, store: Store) -> None:
    """Control characters from outside are shown as question marks."""
    put(store, "a", rate_limit_status="\x1b]0;owned\x07")
    assert "?]0;owned?" in run("--list").out


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colour_is_for_terminals_that_want_it(
    run: Run, store: Store, monkeypatch: pytest.MonkeyPatch, no_color: str, coloured: bool
) -> None:
    """A pipe never gets colour; a terminal does unless NO_COLOR says otherwise."""
    put(store, "a")
    assert "\x1b" not in run("--list").out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", no_color)
    assert ("\x1b[32mactive\x1b[0m" in run("--list").out) == coloured


def test_each_account_is_one_line_of_a_narrow_terminal(run: Run, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """80 columns are enough for what one wants to know; a pipe gets everything."""
    far = 4_000_000_000_000
    put(store, "jane.doe@example.com", expires_at_ms=far, rate_limit_status="allowed_warning", rate_limit_reset_ms=far)
    put(store, "b", auth_failed_reason="401 invalid x-api-key: " + "x" * 200)
    whole = run("--list").out
    assert whole.split()[:4] == ["name", "provider", "kind", "state"]
    assert "x" * 200 in whole
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    head, *lines = run("--list").out.splitlines()
    assert len(lines) == 2
    assert max(map(len, (head, *lines))) <= 80
    assert {"name", "state", "rate_limit_reset", "reason"} <= set(head.split())
    assert any("jane.doe@example.com" in line for line in lines)


def test_the_list_says_when_a_limited_account_is_back(run: Run, store: Store) -> None:
    """Whatever upstream's own reset is: none, over by then, or another one. A reset that is over says nothing."""
    far, farther = 4_000_000_000_000, 4_100_000_000_000
    put(store, "asked", limited_until_ms=far, limited_reason="retry-after")
    put(store, "early", limited_until_ms=far, rate_limit_status="rejected", rate_limit_reset_ms=2_000)
    put(store, "later", limited_until_ms=far, rate_limit_reset_ms=farther)
    put(store, "over", limited_until_ms=2_000, rate_limit_reset_ms=2_000)
    put(store, "fine", rate_limit_reset_ms=farther)
    head, *lines = run("--list").out.splitlines()
    at = head.index("rate_limit_reset")
    shown = {line.split()[0]: line[at : at + 20].strip() for line in lines}
    back, reset = "2096-10-02T07:06:40Z", "2099-12-03T16:53:20Z"
    assert shown == {"asked": back, "early": back, "later": back, "over": "-", "fine": reset}
    told = {name: (row["rate_limited_until"], row["rate_limit_reset"]) for name, row in listed(run).items()}
    assert told["asked"] == (back, None)
    assert told["early"] == (back, "1970-01-01T00:00:02Z")
    assert told["later"] == (back, reset)


@pytest.mark.parametrize(("columns", "whole"), [("80", True), ("60", False)])
def test_a_narrow_terminal_has_room_for_when_an_account_is_back(
    run: Run, store: Store, monkeypatch: pytest.MonkeyPatch, columns: str, whole: bool
) -> None:
    """It goes before everything but the name and the state: before the reason, too."""
    put(store, "jane.doe@example.com", limited_until_ms=4_000_000_000_000, limited_reason="5h window " * 9)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("NO_COLOR", "1")
    head, line = run("--list").out.splitlines()
    assert max(len(head), len(line)) <= int(columns)
    assert line.startswith("jane.doe@example.com  rate_limited  2096-10-02T07:06:40Z")
    assert ("reason" in head.split()) == whole


# Changing.


def test_pausing_and_resuming(run: Run, store: Store) -> None:
    """Flags and subcommands set the same state; doing it twice changes nothing more."""
    put(store, "a")
    assert run("--pause", "a").line == "Paused a."
    first = store.accounts()[0]
    assert (first.paused, first.paused_by) == (True, "cli")
    assert run("accounts", "pause", "a", "--reason", "later").line == "a is paused already."
    assert store.accounts()[0] == first
    assert run("--resume", "a").line == "Resumed a."
    assert run("accounts", "resume", "a").line == "a is not paused."
    run("accounts", "pause", "a", "--reason", "holiday")
    assert listed(run)["a"]["reason"] == "holiday"


def test_resuming_tries_a_refused_credential_again(run: Run, store: Store) -> None:
    """The operator can say that a key works again without typing it again."""
    put(store, "a", auth_failed_reason="401")
    assert "tried again" in run("--resume", "a").line
    assert listed(run)["a"]["state"] == "active"


def test_renaming_and_priority(run: Run, store: Store) -> None:
    """A negative priority is a number, not an option."""
    put(store, "a")
    put(store, "b")
    assert run("accounts", "rename", "a", "c").status == 0
    assert run("accounts", "priority", "c", "-2").status == 0
    assert listed(run)["c"]["priority"] == -2
    assert "already an account named 'b'" in run("accounts", "rename", "c", "b").line
    assert "1 to 100 letters" in run("accounts", "rename", "c", "").line


def test_removing(run: Run, store: Store) -> None:
    """The flag does not ask; the subcommand asks on a terminal, and a no leaves everything."""
    for name in ("a", "b", "c", "d"):
        put(store, name)
    assert run("--remove", "a", terminal=True).status == 0
    refused = run("accounts", "remove", "b", terminal=True, stdin="n\n")
    assert (refused.status, "b was not removed" in refused.err) == (1, True)
    assert run("accounts", "remove", "b", terminal=True, stdin="y\n").status == 0
    assert run("accounts", "remove", "c", "--yes", terminal=True).status == 0
    assert list(listed(run)) == ["d"]


@pytest.mark.parametrize(
    "command",
    [["--remove"], ["--pause"], ["--resume"], ["accounts", "remove"], ["accounts", "priority", "Mian", "1"]],
)
def test_an_unknown_name_suggests_the_nearest(run: Run, store: Store, command: list[str]) -> None:
    """Nothing is claimed to have worked, and a typing mistake is pointed out."""
    put(store, "main")
    said = run(*command, *([] if "Mian" in command else ["Mian"]))
    assert said.status == 1
    assert said.line == "ccflare: there is no account named 'Mian'; did you mean 'main'?"


@pytest.mark.parametrize("command", [["--reset-stats"], ["stats", "reset"]])
def test_resetting_counters_keeps_the_history(run: Run, store: Store, command: Sequence[str]) -> None:
    """Counters are zero, rows are all there."""
    account = put(store, "a")
    store.write(Batch(exchanges=[exchange(account.id, 1)]))
    assert listed(run)["a"]["requests"] == 1
    assert run(*command).status == 0
    assert listed(run)["a"]["requests"] == 0
    assert store.counts().requests == 1


# Settings and the server.


def test_every_setting_is_shown_with_its_origin(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`config` says what is in force and who says so, as a table and as JSON, and makes no file."""
    monkeypatch.setenv("PORT", "1234")
    rows = {row["name"]: row for row in json.loads(run("config", "--json").out)}
    assert (rows["port"]["value"], rows["port"]["origin"]) == (1234, "environment PORT")
    assert rows["retry_attempts"]["origin"] == "default"
    said = run("config")
    assert "ccflare.json" in said.line
    assert ["port", "1234", "environment", "PORT"] in [line.split() for line in said.out.splitlines()]
    assert not (home / ".config").exists()


def test_a_broken_settings_file_is_said_and_survived(run: Run, home: Path) -> None:
    """The command works on the defaults, and the problem is one line on stderr."""
    (home / ".config" / "ccflare").mkdir(parents=True)
    (home / ".config" / "ccflare" / "ccflare.json").write_text("{")
    said = run("--list", "--json")
    assert (said.status, json.loads(said.out)) == (0, [])
    assert "Failed to parse config file" in said.line


def test_a_bad_variable_ends_the_command(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that cannot be is one line and a failure."""
    monkeypatch.setenv("LB_STRATEGY", "dice")
    said = run("--list")
    assert said.status == 1
    assert "Invalid strategy: dice" in said.line


@pytest.mark.parametrize("command", [["--serve", "--port", "0"], ["serve", "--port", "0"]])
def test_serving_hands_the_flags_over(run: Run, monkeypatch: pytest.MonkeyPatch, command: Sequence[str]) -> None:
    """Both spellings start the server with the port that was given, and end with its status."""
    seen: list[tuple[Any, Mapping[str, object]]] = []

    def serve(loaded: Any, flags: Mapping[str, object]) -> int:
        seen.append((loaded, flags))
        return 7

    server = types.ModuleType("ccflare.serve")
    vars(server)["run"] = serve
    monkeypatch.setitem(sys.modules, "ccflare.serve", server)
    assert run(*command).status == 7
    loaded, flags = seen[0]
    assert (loaded.settings.port, str(loaded.origins["port"]), flags) == (
        0,
        "flag --port",
        {"port": 0, "workers": None},
    )


# Being called wrongly.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lits"], "--list"),
        (["--list", "--serve"], "--list and --serve are two things to do"),
        (["--port", "1"], "--port only goes with --serve"),
        (["--json"], "--json only goes with --list, --stats or --logs"),
        (["--list", "--port", "1"], "--port does not go with --list"),
        (["--serve", "--port", "many"], "'many' is not a valid integer"),
        (["--add-account", "a", "--tier", "0"], "0 is not in the range; give a whole number from 1 to 1000000"),
        (
            ["accounts", "priority", "a", "x"],
            "'x' is not a valid integer; give a whole number from -1000000 to 1000000",
        ),
        (["--remove"], "requires an argument"),
        (["--json", "accounts", "list"], "--json does not go before accounts"),
        (["acounts"], "No such command 'acounts'"),
        (["accounts", "frobnicate"], "No such command 'frobnicate'"),
        (["accounts", "rename", "a"], "Missing argument"),
        (["help", "nonsense"], "there is no command nonsense"),
        ([f"--{KEY}"], "sk-ant-***"),
    ],
)
def test_wrong_calls_are_one_line_and_status_2(run: Run, arguments: Sequence[str], message: str) -> None:
    """What is wrong and where help is, on stderr; nothing on stdout."""
    said = run(*arguments)
    assert (said.status, said.out) == (2, "")
    assert message in said.line
    assert "--help" in said.line
    assert KEY not in said.line


def test_help_and_version(run: Run) -> None:
    """Help is data: it goes to stdout, in every spelling, with all there is; 80 columns are enough for it."""
    assert run("--version").out == f"ccflare {__version__}\n"
    text = run("--help").out
    assert text == run().out == run("help").out
    flags = ("serve", "port", "add-account", "list", "remove", "pause", "resume", "reset-stats", "clear-history")
    assert all(f"--{flag}" in text for flag in (*flags, "stats", "logs [N]", "help", "version"))
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "With --list, --logs or --stats: print JSON." in text
    assert "--reason" in run("help", "accounts", "pause").out
    assert run("help", "accounts", "pause").out == run("accounts", "pause", "--help").out


# Failing.


def test_a_database_that_cannot_be_made(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the guide's words, and status 1."""
    (home / "file").write_text("")
    monkeypatch.setenv("ccflare_DB_PATH", str(home / "file" / "ccflare.db"))
    said = run("--list")
    assert said.status == 1
    assert said.line.startswith("ccflare: Cannot create database: ")


def test_tracebacks_are_for_debugging(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under ccflare_DEBUG=1 the exception itself comes out."""
    monkeypatch.setenv("ccflare_DB_PATH", str(home))
    monkeypatch.setenv("ccflare_DEBUG", "1")
    with pytest.raises(Exception, match="is a directory"):
        run("--list")


def test_a_mistake_of_the_program_is_one_line_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception nobody expected names itself and the way to see more."""

    def broken(*_arguments: object, **_options: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr("ccflare.store.open_store", broken)
    said = run("--list")
    assert said.status == 1
    assert "KeyError: 'oops'. This is a mistake in ccflare; ccflare_DEBUG=1 shows where" in said.line


def test_a_change_is_committed_when_the_command_ends(run: Run, store: Store) -> None:
    """Another connection sees it at once, which is what a running server watches."""
    put(store, "a")
    assert not store.changed()
    run("--pause", "a")
    assert store.changed()
    store.update_account("id-a", AccountChange(paused=False))
    assert listed(run)["a"]["state"] == "active"
