"""Logs: what a line looks like, what can never be in one, and that writing them stops nobody."""

import io
import json
import logging
import re
import threading
import time
from pathlib import Path

import pytest

from ccflare import logs
from ccflare.logs.writer import CAPACITY, RESERVE
from log_kit import Start, blocked, written

PRETTY = re.compile(r"\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\] (DEBUG|INFO|WARN|ERROR): \[[^\]]+\] .*")


def fail(error: Exception) -> None:
    raise error


# Lines


def test_a_pretty_line_is_the_one_that_scripts_know(start: Start) -> None:
    """`[time] LEVEL: [Component] message`, the level names WARN and ERROR included."""
    log = start(level="DEBUG")
    logger = logs.logger("Proxy")

    logger.info("Request completed for %s: %d in %dms", "account1", 200, 1234)
    logger.debug("d")
    logger.warning("w")
    logger.error("e")
    logger.critical("c")
    logging.getLogger("ccflare.async-db-writer").info("flushed")

    lines = written(log)
    assert all(PRETTY.fullmatch(line) for line in lines)
    assert [line.split("] ", 1)[1] for line in lines] == [
        "INFO: [Proxy] Request completed for account1: 200 in 1234ms",
        "DEBUG: [Proxy] d",
        "WARN: [Proxy] w",
        "ERROR: [Proxy] e",
        "ERROR: [Proxy] c",
        "INFO: [async-db-writer] flushed",
    ]


def test_the_time_of_a_line_is_the_time_of_the_call(start: Start) -> None:
    """The stamp is UTC with milliseconds and says when something happened, not when it was written."""
    log = start(line_format="json")
    before = time.time()
    logs.logger("Proxy").info("now")
    after = time.time()

    stamp = json.loads(written(log)[0])["ts"]

    seconds = time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S")
    at = (time.mktime(seconds) - time.timezone) + float(stamp[19:-1])
    assert before - 0.002 <= at <= after
    assert stamp.endswith("Z")


def test_a_json_line_carries_what_the_call_adds(start: Start) -> None:
    """Every line is one object with ts, level, component, message and the call's extra fields."""
    log = start(line_format="json")

    logs.logger("Proxy").warning("slow: %s", "é\n", extra={"account": "a", "ms": 3, "path": Path("/x"), "ts": "mine"})

    line = json.loads(written(log)[0])
    assert line.pop("ts") != "mine"
    assert line == {
        "level": "WARN", "component": "Proxy", "message": "slow: é\n", "account": "a", "ms": 3, "path": "/x",
    }  # fmt: skip


def test_named_arguments_work(start: Start) -> None:
    """One mapping as the argument fills `%(name)s`, as with the standard records."""
    log = start()

    logs.logger("Proxy").info("%(a)s and %(b)d", {"a": "x", "b": 2})

    assert written(log)[0].endswith("[Proxy] x and 2")


@pytest.mark.parametrize("line_format", ["pretty", "json"])
@pytest.mark.parametrize(
    "text",
    [
        "\n[2024-01-20T10:30:45.123Z] ERROR: [Proxy] forged",
        "\r\n",
        "\x1b[2J",
        "\x9b1m",
        "\u2028",
        "\u202e",
        "\ud800",
        "\0",
    ],
)
def test_nothing_forges_a_line_or_commands_a_terminal(start: Start, line_format: str, text: str) -> None:
    """Control characters of every kind come out as escapes; one call stays one line."""
    log = start(line_format=line_format)

    logs.logger("Proxy").info("name %s", text)

    assert log.flush(10)
    content = log.path.read_text()
    assert content.endswith("\n")
    assert content[:-1].isprintable()


@pytest.mark.parametrize("line_format", ["pretty", "json"])
@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("key sk-ant-api03-abc_DEF-123 used", "abc_DEF"),
        ("{'authorization': 'Bearer abc.DEF-123=='}", "abc.DEF"),
        ("authorization: bearer\tabcdef", "abcdef"),
        ("via http://user:hunter2@proxy:3128/", "hunter2"),
        ("via http://user:p@hunter2@proxy", "hunter2"),
    ],
)
def test_a_credential_that_slips_through_is_masked(start: Start, line_format: str, text: str, secret: str) -> None:
    """Keys, tokens and URL passwords are masked in messages, arguments, extra fields and exceptions."""
    log = start(line_format=line_format, debug=True)
    logger = logs.logger("Proxy")

    logger.info(text)
    logger.info("%s", text, extra={"note": text})
    try:
        fail(ValueError(text))
    except ValueError:
        logger.exception("failed")

    assert log.flush(10)
    content = log.path.read_text()
    assert secret not in content
    assert "***" in content
    if line_format == "json":
        assert [json.loads(line)["level"] for line in content.splitlines()] == ["INFO", "INFO", "ERROR"]


def test_an_exception_is_one_line_and_a_traceback_under_debug_only(start: Start) -> None:
    """Without debug an exception is its type and text; with debug its traceback follows, indented."""
    log = start()
    logger = logs.logger("Proxy")

    def log_failure() -> None:
        try:
            fail(ValueError("first\n[2024-01-20T10:30:45.123Z] ERROR: [Proxy] forged"))
        except ValueError:
            logger.exception("Failed")

    log_failure()
    plain = written(log)
    log.set_level("INFO", debug=True)
    log_failure()
    traced = written(log)[len(plain) :]

    assert len(plain) == 1
    assert "[Proxy] Failed: ValueError: first\\n" in plain[0]
    assert traced[1] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") for line in traced[1:])


def test_a_json_traceback_is_a_field(start: Start) -> None:
    """Under debug the traceback stays inside the object."""
    log = start(line_format="json", debug=True)

    try:
        fail(KeyError("x"))
    except KeyError:
        logs.logger("Proxy").exception("Failed")

    line = json.loads(written(log)[0])
    assert line["error"] == "KeyError: 'x'"
    assert line["traceback"].startswith("Traceback (most recent call last):")


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("line_format", ["pretty", "json"])
def test_a_wrong_log_call_is_still_a_line(start: Start, line_format: str) -> None:
    """Arguments that do not fit, objects without text and values that JSON lacks do not lose a line."""
    log = start(line_format=line_format)
    logger = logs.logger("Proxy")

    logger.info("%d", "x")
    logger.info("%s", Hostile())
    logger.info(Hostile())
    logger.info("odd", extra={"a": float("nan"), "b": Hostile(), "c": {1: {2}}})
    logger.error("failed", exc_info=(RuntimeError, RuntimeError(Hostile()), None))

    lines = written(log)
    assert len(lines) == 5
    assert "its arguments do not fit: TypeError" in lines[0]
    assert "odd" in lines[3]


def test_a_message_has_a_longest_length(start: Start) -> None:
    """A message of a megabyte becomes a line of about 16 KiB that says so."""
    log = start()

    logs.logger("Proxy").info("x" * 1_000_000)

    (line,) = written(log)
    assert len(line) < 17_000
    assert line.endswith("x... (1000000 characters)")


def test_other_handlers_can_format_our_records(start: Start) -> None:
    """A handler of another package finds every attribute that the standard formatters know."""
    start()
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    names = sorted(vars(logging.makeLogRecord({})))
    handler.setFormatter(logging.Formatter(" ".join(f"%({name})s" for name in names)))
    logger = logs.logger("Proxy")
    logger.addHandler(handler)

    logger.info("hello %s", "x")
    logger.removeHandler(handler)

    assert "hello %s" in stream.getvalue()


# Levels and whose records


def test_levels_change_while_running(start: Start) -> None:
    """What is below the level is not written; a new level counts from the next call."""
    log = start(level="WARN")
    logger = logs.logger("Proxy")

    logger.info("no")
    log.set_level("INFO", debug=False)
    logger.info("yes")
    logger.debug("no")
    log.set_level("ERROR", debug=True)
    logger.debug("debug outdoes the level")

    assert [line.rsplit("] ")[-1] for line in written(log)] == ["yes", "debug outdoes the level"]


def test_other_packages_warnings_are_in_the_log(start: Start) -> None:
    """A library's warning, such as asyncio's about a lost exception, is in the file; its chatter is not."""
    log = start(debug=True)

    logging.getLogger("asyncio").error("Task exception was never retrieved")
    logging.getLogger("asyncio").info("chatter")

    assert [line.split("] ", 1)[1] for line in written(log)] == ["ERROR: [asyncio] Task exception was never retrieved"]


def test_closing_leaves_logging_as_it_was(start: Start) -> None:
    """After `close` no handler, level, record factory or switch of ours is left in the standard module."""
    root, ours = logging.getLogger(), logging.getLogger("ccflare")

    def state() -> tuple[object, ...]:
        factory, source = logging.getLogRecordFactory(), logging._srcfile
        return list(root.handlers), list(ours.handlers), ours.level, ours.propagate, factory, source

    before = state()
    log = start()
    during = state()

    assert log.close()
    assert log.close()

    assert during != before
    assert state() == before


# Not waiting, not losing


def test_closing_writes_everything(start: Start) -> None:
    """Records logged right before `close` are in the file."""
    log = start()
    for number in range(3000):
        logs.logger("Proxy").info("%d", number)

    assert log.close()

    assert [line.rsplit(" ")[-1] for line in log.path.read_text().splitlines()] == [str(n) for n in range(3000)]


def test_closing_writes_what_came_after_the_threads_last_look(start: Start) -> None:
    """A record that arrives while the writer's thread ends is not left in the queue."""
    log = start()
    log._queue.append(logging.makeLogRecord({"name": "ccflare.Proxy", "msg": "late", "levelno": logging.INFO}))

    assert log.close()

    assert log.path.read_text().endswith("INFO: [Proxy] late\n")


def test_an_idle_log_sleeps(start: Start) -> None:
    """Once everything is written, nothing wakes the writer's thread before the next record."""
    log = start()
    logs.logger("Proxy").info("x")
    assert log.flush(10)
    assert not log._wake.is_set()


def test_lines_appear_without_a_flush(start: Start) -> None:
    """The writer's thread wakes up by itself, again and again."""
    log = start()
    for count in range(1, 4):
        logs.logger("Proxy").info("x")
        deadline = time.monotonic() + 10
        while len(log.path.read_text().splitlines()) < count:
            assert time.monotonic() < deadline
            time.sleep(0.005)


def test_a_stuck_disk_stops_nobody_and_loses_the_least(start: Start) -> None:
    """With the writer stuck, calls return; INFO is dropped first, WARN has a reserve; the loss is told."""
    log = start()
    logger = logs.logger("Proxy")

    with blocked(log):
        for _ in range(CAPACITY + 50):
            logger.info("info")
        for _ in range(RESERVE + 7):
            logger.warning("warn")
        assert not log.flush(0.01)
        assert log.lost == 57

    lines = written(log)
    assert sum(line.endswith("] info") for line in lines) == CAPACITY
    assert sum(line.endswith("] warn") for line in lines) == RESERVE
    told = [line.split("] ", 1)[1] for line in lines if "dropped" in line]
    assert told == ["WARN: [Logs] 57 log records were dropped because writing them could not keep up"]
    assert log.lost == 57


def test_closing_has_a_deadline(start: Start) -> None:
    """A stuck disk delays a shutdown by the deadline and no more."""
    log = start()

    with blocked(log):
        began = time.monotonic()
        assert not log.close(0.05)
        assert time.monotonic() - began < 5


def test_many_threads_lose_nothing(start: Start) -> None:
    """Records of several threads are all written, each thread's in its order."""
    log = start()

    def work(name: str) -> None:
        for number in range(500):
            logs.logger(name).info("%d", number)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    lines = written(log)
    for name in "abcd":
        assert [int(line.rsplit(" ")[-1]) for line in lines if f"[{name}]" in line] == list(range(500))


# When the file is gone or cannot be written


def test_a_place_that_cannot_be_written_is_told_once(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a place for the file, one line says why and the log goes to standard error."""
    (tmp_path / "victim").touch()
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "app.log").symlink_to(tmp_path / "victim")

    log = start()
    for _ in range(3):
        logs.logger("Proxy").warning("heard")
        assert log.flush(10)

    err = capsys.readouterr().err.splitlines()
    assert err[0].startswith(f"Cannot write logs to {tmp_path / 'logs' / 'app.log'}: it is a symbolic link; ")
    assert [line.split("] ")[-1] for line in err[1:]] == ["heard"] * 3
    assert (tmp_path / "victim").read_text() == ""


@pytest.mark.parametrize("remove", ["file", "directory"])
def test_a_removed_log_comes_back(start: Start, remove: str) -> None:
    """Removing the file or its directory while running loses nothing that is logged afterwards."""
    log = start()
    logs.logger("Proxy").info("one")
    assert log.flush(10)
    log.path.unlink()
    if remove == "directory":
        log.path.parent.rmdir()

    logs.logger("Proxy").info("two")

    assert [line.split("] ")[-1] for line in written(log)] == ["two"]


def test_a_full_disk_is_told_once_and_healed(
    start: Start, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While writing fails lines go to standard error under one explanation; afterwards the file goes on."""
    log = start()
    append = log._file.append

    def full(data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(log._file, "append", full)
    for text in ("one", "two"):
        logs.logger("Proxy").info(text)
        assert log.flush(10)
        log._reopen_at = 0.0  # the file is tried again, and fails again
    monkeypatch.setattr(log._file, "append", append)
    logs.logger("Proxy").info("three")

    assert [line.split("] ")[-1] for line in written(log)] == ["three"]
    err = capsys.readouterr().err.splitlines()
    assert "No space left on device" in err[0]
    assert [line.split("] ")[-1] for line in err[1:]] == ["one", "two"]


def test_the_console_gets_the_same_lines(start: Start) -> None:
    """With a console, lines go to both; a console that is gone harms nothing."""
    console = io.StringIO()
    log = start(console=console)
    logs.logger("Proxy").info("one")
    assert log.flush(10)
    seen = console.getvalue()
    console.close()
    logs.logger("Proxy").info("two")

    lines = written(log)
    assert seen.splitlines() == lines[:1]
    assert len(lines) == 2
