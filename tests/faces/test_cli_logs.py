"""`ccflare logs` and `--logs`: what they show, that they follow, and how they end."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli_kit import Run
from harness import COMMAND, START_S, Home

STAMP = "2026-01-20T10:30:45.123Z"


def line(message: str, level: str = "INFO", component: str = "Proxy") -> str:
    return f"[{STAMP}] {level}: [{component}] {message}\n"


@pytest.fixture
def app_log(home: Path) -> Path:
    """A log of 60 entries, the last of them with a traceback."""
    path = home / "logs" / "app.log"
    path.parent.mkdir()
    path.write_text(
        "".join(line(f"number {number}") for number in range(1, 60)) + line("broken", "ERROR") + "    why\n"
    )
    return path


# In process


def test_the_last_entries_are_shown_as_they_were_written(run: Run, app_log: Path) -> None:
    """50 unless a number says otherwise; a traceback goes with its entry; then the command ends."""
    whole = app_log.read_text().splitlines(keepends=True)
    assert run("logs") == (0, "".join(whole[-51:]), "")
    assert run("logs", "-n", "2").out == "".join(whole[-3:])
    assert run("logs", "-n", "0").out == ""


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--level", "warn"], ["broken\n    why"]),
        (["--level", "INFO", "--text", "NUMBER 3", "-n", "2"], ["number 38", "number 39"]),
        (["--text", "nowhere"], []),
    ],
)
def test_entries_are_chosen_by_level_and_text(
    run: Run, app_log: Path, options: Sequence[str], wanted: Sequence[str]
) -> None:
    """And with --json each is an object on a line of its own."""
    found = [json.loads(each) for each in run("logs", "--json", *options).out.splitlines()]
    assert [entry["message"] for entry in found] == wanted
    assert all(entry["ts"] == STAMP and entry["component"] == "Proxy" for entry in found)


def test_lines_of_other_programs_are_shown_harmlessly(run: Run, app_log: Path) -> None:
    """Masked, without what steers a terminal, and never as a failure."""
    app_log.write_bytes(b"\xff \x1b[2J sk-ant-api03-secret\n")
    said = run("logs")
    assert (said.status, said.out) == (0, "\ufffd \\x1b[2J sk-ant-***\n")


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_levels_have_colour_on_terminals_that_want_it(
    run: Run, app_log: Path, monkeypatch: pytest.MonkeyPatch, no_color: str, coloured: bool
) -> None:
    """A pipe never gets colour."""
    assert "\x1b" not in run("logs").out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", no_color)
    assert ("\x1b[31mERROR\x1b[0m: [Proxy] broken" in run("logs").out) == coloured


@pytest.mark.parametrize(
    ("arguments", "count"), [(["--logs"], 50), (["--logs", "2"], 2), (["--logs=3"], 3), (["logs", "-f", "-n", "4"], 4)]
)
def test_following_shows_the_last_entries_and_goes_on(
    run: Run, app_log: Path, monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str], count: int
) -> None:
    """What is added later comes too; Ctrl-C ends it without a word."""
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) > 1:
            raise KeyboardInterrupt
        app_log.write_text(app_log.read_text() + line("later"))

    monkeypatch.setattr("ccflare.cli.logs._wait", wait)
    said = run(*arguments)
    assert (said.status, said.err.strip()) == (130, "")
    shown = [each for each in said.out.splitlines() if each.startswith("[")]
    assert len(shown) == count + 1
    assert shown[-1].endswith("[Proxy] later")


def test_no_log_yet_is_said(run: Run, home: Path) -> None:
    """It is no failure, and says where a log would be."""
    said = run("logs")
    assert (said.status, said.out) == (0, "")
    assert f"There is no log in {home / 'logs'} yet" in said.line


def test_a_directory_without_a_log_is_no_log_yet(run: Run, home: Path) -> None:
    """As when the directory is missing; the entries of a file that was rotated are shown without a word."""
    (home / "logs").mkdir()
    said = run("logs")
    assert (said.status, said.out) == (0, "")
    assert said.line == f"There is no log in {home / 'logs'} yet."
    (home / "logs" / "app.log.1").write_text(line("before"))
    assert run("logs") == (0, line("before"), "")


@pytest.mark.parametrize("there", [True, False], ids=["directory", "nothing"])
@pytest.mark.parametrize("arguments", [["--logs"], ["logs", "-f"]])
def test_following_waits_for_a_log_that_has_not_begun(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str], there: bool
) -> None:
    """It says so, as `tail -F` does, and shows what comes then."""
    if there:
        (home / "logs").mkdir()

    def wait(_seconds: float) -> None:
        if (home / "logs" / "app.log").exists():
            raise KeyboardInterrupt
        (home / "logs").mkdir(exist_ok=True)
        (home / "logs" / "app.log").write_text(line("first"))

    monkeypatch.setattr("ccflare.cli.logs._wait", wait)
    said = run(*arguments)
    assert (said.status, said.out.strip()) == (130, line("first").strip())
    assert said.err.splitlines()[0] == f"There is no log in {home / 'logs'} yet; waiting for it to begin."


@pytest.mark.parametrize("arguments", [["logs"], ["logs", "-f"], ["--logs"]])
def test_a_log_that_cannot_be_read_is_one_line(run: Run, home: Path, arguments: Sequence[str]) -> None:
    """With the reason and the place."""
    (home / "logs" / "app.log").mkdir(parents=True)
    said = run(*arguments)
    assert said.status == 1
    assert said.line == f"ccflare: Cannot read the log: Is a directory ({home / 'logs' / 'app.log'})"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--logs", "many"], "'many' is not a valid"),
        (["--logs", "2000000"], "2000000 is not in the range"),
        (["logs", "-n", "x"], "'x' is not a valid integer; give a whole number from 0 to 1000000"),
        (["logs", "-n", "x"], "'x' is not a valid"),
        (["logs", "--level", "LOUD"], "'LOUD' is not one of"),
        (["--logs", "--port", "1"], "--port does not go with --logs"),
    ],
)
def test_wrong_numbers_and_levels_are_status_2(run: Run, arguments: Sequence[str], message: str) -> None:
    """One line that says what is allowed."""
    said = run(*arguments)
    assert (said.status, said.out) == (2, "")
    assert message in said.line


# As a program


@contextmanager
def following(home: Home, *arguments: str, **streams: int) -> Iterator["subprocess.Popen[bytes]"]:
    """A command that follows the log until it is ended."""
    with subprocess.Popen([*COMMAND, *arguments], env=home.environment(), stderr=subprocess.PIPE, **streams) as process:  # type: ignore[call-overload]  # streams are what they are
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def written(tmp_path: Path) -> Home:
    """A home with a log of one entry."""
    home = Home(tmp_path)
    home.app_log.parent.mkdir()
    home.app_log.write_text(line("first"))
    return home


def test_a_pipe_gets_each_entry_at_once(written: Home) -> None:
    """Nothing waits in a buffer; through a rotation it goes on; an interrupt ends it silently with status 130."""
    with following(written, "--logs", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == line("first").encode()
        with written.app_log.open("a") as file:
            file.write(line("second"))
        assert process.stdout.readline() == line("second").encode()
        written.app_log.rename(written.app_log.with_name("app.log.1"))
        written.app_log.write_text(line("third"))
        assert process.stdout.readline() == line("third").encode()
        process.send_signal(signal.SIGINT)
        assert process.wait(START_S) == 130
        assert process.stderr.read().strip() == b""


def test_it_ends_when_nobody_reads_any_more(written: Home) -> None:
    """As behind `| head -1`: silently and at once, though nothing is logged that would have to be written."""
    with following(written, "--logs", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(START_S) == 141
        assert process.stderr.read() == b""


@pytest.mark.parametrize("arguments", [["--logs", "5000"], ["logs", "-n", "5000"]])
def test_a_reader_that_goes_in_the_middle_ends_it(written: Home, arguments: Sequence[str]) -> None:
    """More than a pipe holds, of which one line is read."""
    written.app_log.write_text(line("x" * 100) * 5000)
    with following(written, *arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(START_S) == 141
        assert process.stderr.read() == b""


def test_an_output_that_knows_few_characters_gets_the_others_escaped(written: Home) -> None:
    """As under an old locale: it is no failure."""
    written.app_log.write_text(line("Grüße"))
    ascii_only = Home(written.path, {"PYTHONIOENCODING": "ascii"})
    assert ascii_only.ccflare("logs").stdout == line("Gr\\xfc\\xdfe")


def test_it_follows_a_real_server(tmp_path: Path) -> None:
    """What the server logs is there within a second, and what it logs at its end too."""
    from harness import running

    home = Home(tmp_path)
    with following(home, "--logs", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        with running(home):
            first = process.stdout.readline()
            assert b"] INFO: [" in first
        while b"Async DB writer queue flushed" not in (seen := process.stdout.readline()):
            assert seen
