"""Reading the log: its end across files, what is in it whatever it is, and what is added while it is followed."""

import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ccflare import logs
from ccflare.logs import LogEntry, follow_file, history
from ccflare.logs import file as log_file
from ccflare.logs import reading as log_reading
from ccflare.logs.file import LogFile


def line(message: str, level: str = "INFO", component: str = "Proxy") -> str:
    return f"[2026-01-20T10:30:45.123Z] {level}: [{component}] {message}\n"


def fail(error: Exception) -> None:
    raise error


def messages(entries: list[LogEntry]) -> list[str]:
    return [entry.message for entry in entries]


# Entries


def test_both_formats_give_the_same_entries(tmp_path: Path) -> None:
    """Whatever `LOG_FORMAT` said when it was written, an entry is the same: a cause and a traceback included."""
    found: dict[logs.Format, list[LogEntry]] = {}
    formats: tuple[logs.Format, ...] = ("pretty", "json")
    for name in formats:
        log = logs.start(tmp_path / name, level="DEBUG", line_format=name, debug=True)
        logs.logger("Proxy").info("Request completed for %s", "a")
        try:
            fail(OSError("no\x1b[2J\nroute to sk-ant-api03-secret"))
        except OSError:
            logs.logger("async-db-writer").exception("it \x07failed")
        log.close()
        found[name] = history(tmp_path / name)

    first, second = found["pretty"]
    assert (first.level, first.component, first.message) == ("INFO", "Proxy", "Request completed for a")
    assert first.ts is not None
    assert (second.level, second.component) == ("ERROR", "async-db-writer")
    cause, *trace = second.message.split("\n")
    assert cause == r"it \x07failed: OSError: no\x1b[2J\nroute to sk-ant-***"
    assert trace[0] == "    Traceback (most recent call last):"
    assert "sk-ant-***" in trace[-1]
    assert [entry.message for entry in found["json"]] == [first.message, second.message]
    assert [entry.component for entry in found["json"]] == ["Proxy", "async-db-writer"]


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\xfe",
        b"plain text",
        b"[2026] INFO: [x",
        b'{"ts": 3}',
        b"{" * 5000,
        b"[" * 5000,
        b'{"ts":"x"',
        b"\x00" * 9,
        b'{"x":' + b"[" * 9999,
    ],
)
def test_a_line_that_is_none_of_ours_is_an_entry_too(tmp_path: Path, garbage: bytes) -> None:
    """It is all message, without a level; what stands around it is read as ever, also its neighbour's format."""
    json_line = '{"ts": "2026-01-20T10:30:45.123Z", "level": "WARN", "component": "Pricing", "message": "m"}\n'
    (tmp_path / "app.log").write_bytes(line("before").encode() + garbage + b"\n" + json_line.encode())

    before, odd, after = history(tmp_path)

    assert (before.message, after) == ("before", LogEntry("2026-01-20T10:30:45.123Z", "WARN", "Pricing", "m"))
    assert (odd.ts, odd.level, odd.component) == (None, None, None)
    assert odd.message.isprintable()
    assert odd.message


def test_what_is_shown_is_masked_and_cannot_steer_a_terminal(tmp_path: Path) -> None:
    """Also when another program has written it, in whatever part of a line."""
    key, steer = "sk-ant-api03-secret", "\x1b]0;owned\x07"
    json_line = f'{{"ts": "\\u001b", "level": "INFO", "component": "\\u001b", "message": "{key} \\u001b[2J"}}\n'
    (tmp_path / "app.log").write_text(line(f"{key}{steer}") + f"  {key}{steer}\n" + f"{key}{steer}\n" + json_line)

    for entry in history(tmp_path):
        shown = f"{entry.ts} {entry.component} {entry.message}"
        assert "secret" not in shown
        assert shown.replace("\n", "").isprintable()


def test_an_unknown_level_is_none(tmp_path: Path) -> None:
    """A level that ccflare does not have is not invented into one that it has."""
    (tmp_path / "app.log").write_text(line("m", "FATAL"))
    assert [(entry.level, entry.message) for entry in history(tmp_path)] == [(None, "m")]


# History


@pytest.mark.parametrize("count", [0, 1, 3, 5, 100])
def test_the_last_entries_come_back_whole_and_in_order(
    tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the size of the steps in which the file is read."""
    wanted = [f"line {number} é" for number in range(5)]
    (tmp_path / "app.log").write_text("\n".join(wanted) + "\n")

    for step in range(1, 60):
        monkeypatch.setattr(log_reading, "_STEP_BYTES", step)
        assert messages(history(tmp_path, limit=count)) == (wanted[-count:] if count else [])


def test_a_traceback_belongs_to_its_entry(tmp_path: Path) -> None:
    """The limit counts entries, and an entry keeps all of its lines; one whose beginning is gone stands alone."""
    trace = "    Traceback\n      File x\n"
    (tmp_path / "app.log").write_text("    orphan\n" + line("one") + trace + line("two") + trace)

    assert messages(history(tmp_path, limit=1)) == ["two\n    Traceback\n      File x"]
    assert messages(history(tmp_path)) == [
        "    orphan",
        "one\n    Traceback\n      File x",
        "two\n    Traceback\n      File x",
    ]


def test_history_goes_back_into_rotated_files(tmp_path: Path) -> None:
    """Missing and empty files are skipped; no log at all has no entries."""
    (tmp_path / "app.log").write_text("c\n")
    (tmp_path / "app.log.1").write_text("")
    (tmp_path / "app.log.3").write_text("a\nb\n")

    assert messages(history(tmp_path, limit=2)) == ["b", "c"]
    assert messages(history(tmp_path)) == ["a", "b", "c"]
    assert history(tmp_path / "none") == []


def test_a_rotation_while_reading_shows_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that has got its next name meanwhile is known by what it is, not by its name."""
    (tmp_path / "app.log").write_text("b\n")
    (tmp_path / "app.log.1").write_text("a\n")
    opened = log_file.open_to_read

    def rotate_first(path: Path) -> object:
        file = opened(path)
        if path.name == "app.log":
            (tmp_path / "app.log.1").rename(tmp_path / "app.log.2")
            (tmp_path / "app.log").rename(tmp_path / "app.log.1")
            (tmp_path / "app.log").write_text("c\n")
        return file

    monkeypatch.setattr(log_reading, "open_to_read", rotate_first)
    assert messages(history(tmp_path)) == ["a", "b"]


def test_a_level_means_at_least_that_level(tmp_path: Path) -> None:
    """Lines without a level are not among them; the limit counts what is wanted."""
    levels = ("DEBUG", "INFO", "WARN", "ERROR")
    (tmp_path / "app.log").write_text("".join(line(level, level) for level in levels) + "garbage\n")

    assert messages(history(tmp_path, level="WARN")) == ["WARN", "ERROR"]
    assert messages(history(tmp_path, level="WARN", limit=1)) == ["ERROR"]
    assert messages(history(tmp_path, level="DEBUG")) == list(levels)


def test_text_is_looked_for_in_component_and_message(tmp_path: Path) -> None:
    """In whatever case, and in the lines of a traceback too."""
    text = line("a", component="TokenManager") + line("Rate Limited") + "    in token_x\n" + line("other")
    (tmp_path / "app.log").write_text(text)

    assert messages(history(tmp_path, text="TOKEN")) == ["a", "Rate Limited\n    in token_x"]
    assert messages(history(tmp_path, text="rate limited", level="INFO")) == ["Rate Limited\n    in token_x"]
    assert history(tmp_path, text="nowhere") == []


def test_reading_is_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long file is read only so far back, and whole lines come back; bad bytes are shown as such."""
    monkeypatch.setattr(log_reading, "_LONGEST_READ_BYTES", 100_005)
    (tmp_path / "app.log").write_bytes(b"".join(b"%06d \xff\n" % number for number in range(100_000)))
    (tmp_path / "app.log.1").write_text("too far\n")

    found = messages(history(tmp_path, limit=10**9))

    assert 5_000 < len(found) < 20_000
    assert found[-1] == "099999 \ufffd"
    assert {len(each) for each in found} == {8}


def test_reading_is_bounded_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When time is up, what was found so far is the answer."""
    (tmp_path / "app.log").write_text("".join(line(str(number)) for number in range(1000)))
    ticks = iter(number / 100 for number in range(10_000))
    monkeypatch.setattr("ccflare.logs.reading.time.monotonic", lambda: next(ticks))

    found = messages(history(tmp_path, limit=1000))

    assert 100 < len(found) < 300
    assert found[-1] == "999"


def test_endless_lines_and_entries_are_cut(tmp_path: Path) -> None:
    """What is shown is the beginning, and megabytes without an end do not fill the memory."""
    trace = b" " + b"y" * 999 + b"\n"
    (tmp_path / "app.log").write_bytes(b"begin" + b"x" * 10_000_000 + b"\n" + line("m").encode() + trace * 10_000)
    tracemalloc.start()
    try:
        endless, traced = history(tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert endless.message.startswith("beginxxx")
    assert traced.message.startswith("m\n yyy")
    assert max(len(endless.message), len(traced.message)) <= 100_000
    assert peak < 8_000_000


def no_directory(directory: Path) -> str:
    directory.write_text("")
    return "Not a directory"


def a_link(directory: Path) -> str:
    directory.mkdir()
    (directory / "app.log").symlink_to("/etc/passwd")
    return "it is a symbolic link"


def a_pipe(directory: Path) -> str:
    directory.mkdir()
    os.mkfifo(directory / "app.log")
    return "it is not a regular file"


def a_directory(directory: Path) -> str:
    (directory / "app.log").mkdir(parents=True)
    return "Is a directory"


@pytest.mark.parametrize("trap", [no_directory, a_link, a_pipe, a_directory])
def test_what_cannot_be_a_log_is_an_error_at_once(tmp_path: Path, trap: Callable[[Path], str]) -> None:
    """Nothing is waited for, and nothing else is shown in the log's stead."""
    why = trap(tmp_path / "logs")

    with pytest.raises(OSError, match=why):
        history(tmp_path / "logs")
    with pytest.raises(OSError, match=why):
        next(follow_file(tmp_path / "logs", last=5))


# Following


class Enough(Exception):
    """Ends a follower."""


def follow(directory: Path, *steps: Callable[[], object], last: int = 0, level: logs.Level | None = None) -> list[str]:
    """What a follower sees when every time it has nothing to read the next step happens, and then it is enough."""
    left = iter(steps)

    def wait(seconds: float) -> None:
        assert 0 < seconds <= 1
        step = next(left, None)
        if step is None:
            raise Enough
        step()

    return list(_until_enough(follow_file(directory, last=last, level=level, wait=wait)))


def _until_enough(entries: Iterator[LogEntry]) -> Iterator[str]:
    try:
        for entry in entries:
            yield entry.message
    except Enough:
        return


@pytest.fixture
def app_log(tmp_path: Path) -> Path:
    """A log with two entries."""
    path = tmp_path / "app.log"
    path.write_text(line("old") + line("last"))
    return path


def added(path: Path, text: str) -> Callable[[], object]:
    def add() -> None:
        with path.open("a") as file:
            file.write(text)

    return add


def test_following_begins_at_the_end(app_log: Path) -> None:
    """Only what is added is shown, each entry once, with its traceback."""
    more = added(app_log, line("one") + "    trace\n" + line("two"))
    assert follow(app_log.parent, more, added(app_log, line("three"))) == ["one\n    trace", "two", "three"]


def test_following_can_begin_with_the_last_entries(app_log: Path) -> None:
    """Between what was there and what is added nothing is lost or shown twice."""
    assert follow(app_log.parent, added(app_log, line("new")), last=1) == ["last", "new"]
    assert follow(app_log.parent, last=9) == ["old", "last", "new"]


def test_what_comes_between_looking_back_and_looking_on_is_shown_once(
    app_log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that is added, and a rotation, in that very moment."""
    rotated = app_log.with_name("app.log.1")

    def history_later(*arguments: object, **options: object) -> list[LogEntry]:
        added(app_log, line("meanwhile"))()
        app_log.rename(rotated)
        app_log.write_text(line("in the new file"))
        return history(*arguments, **options)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(log_reading, "history", history_later)
    assert follow(app_log.parent, last=9) == ["old", "last", "meanwhile", "in the new file"]


def test_half_a_line_is_waited_for(app_log: Path) -> None:
    """A line is shown when it is whole, also when half of it was there at the beginning."""
    whole = line("whole")
    added(app_log, whole[:20])()
    assert follow(app_log.parent, added(app_log, whole[20:40]), added(app_log, whole[40:]), last=1) == ["last", "whole"]


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_following_goes_through_rotations(tmp_path: Path, at_once: int) -> None:
    """Nothing is lost or shown twice, also when the file was rotated several times since it was looked at."""
    file = LogFile(tmp_path, rotate_at_bytes=30)
    numbers = iter(range(100))

    def write() -> None:
        for _ in range(3 * at_once):
            file.append(f"line {next(numbers):03d}\n".encode())

    write()
    seen = follow(tmp_path, *[write] * 5, last=1000)
    file.close()

    assert seen[-15 * at_once :] == [f"line {number:03d}" for number in range(3 * at_once, 18 * at_once)]


def test_a_rotation_while_the_next_file_is_opened_loses_nothing(app_log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name under which it was looked for is that of another file then."""
    names = [app_log, *(app_log.with_name(f"app.log.{number}") for number in (1, 2))]
    opened = log_file.open_to_read
    rotations = iter(("second", "third"))

    def rotate() -> None:
        for newer, older in ((names[1], names[2]), (names[0], names[1])):
            if newer.exists():
                newer.rename(older)
        app_log.write_text(line(next(rotations)))

    def rotate_first(path: Path) -> object:
        if names[1].exists() and not names[2].exists():
            rotate()
        return opened(path)

    monkeypatch.setattr(log_reading, "open_to_read", rotate_first)
    assert follow(app_log.parent, rotate, lambda: None) == ["second", "third"]


def test_the_rest_of_a_rotated_file_is_read_first(app_log: Path) -> None:
    """Lines that were written just before a rotation come before those of the new file."""

    def rotate() -> None:
        added(app_log, line("before") + "half a line")()
        app_log.rename(app_log.with_name("app.log.1"))
        app_log.write_text(line("after"))

    assert follow(app_log.parent, rotate) == ["before", "half a line", "after"]


def test_a_file_that_is_removed_and_made_again_is_followed(app_log: Path) -> None:
    """The new one from its beginning, whenever it comes; also when there was none at first."""
    new = added(app_log, line("new"))
    assert follow(app_log.parent, app_log.unlink, lambda: None, new) == ["new"]
    app_log.unlink()
    assert follow(app_log.parent, new, last=5) == ["new"]


def test_a_file_that_is_cut_is_followed(app_log: Path) -> None:
    """Its new beginning is read, and half a line from before is forgotten."""
    added(app_log, "half")()
    cut = [lambda: os.truncate(app_log, 0), added(app_log, line("new"))]
    assert follow(app_log.parent, *cut) == ["new"]


def test_a_directory_that_comes_later_is_followed(tmp_path: Path) -> None:
    """The first start of a server makes it."""

    def begin() -> None:
        (tmp_path / "logs").mkdir()
        added(tmp_path / "logs" / "app.log", line("first"))()

    assert follow(tmp_path / "logs", begin) == ["first"]


def test_following_can_be_for_a_level(app_log: Path) -> None:
    """Of what was there and of what is added."""
    added(app_log, line("e", "ERROR"))()
    assert follow(app_log.parent, added(app_log, line("w", "WARN") + line("i")), last=1, level="WARN") == ["e", "w"]


def test_a_flood_is_read_in_pieces(app_log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many lines were added at once, entries come whole: the end of a piece does not cut a traceback off."""
    monkeypatch.setattr(log_reading, "_PIECE_BYTES", 100)
    entry = line("x" * 20) + "    trace\n" * 2
    wanted = "x" * 20 + "\n    trace" * 2
    assert follow(app_log.parent, added(app_log, entry * 50)) == [wanted] * 50
