"""Followers of the running log: they get what is written, in a bounded amount, and cannot disturb it."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ccflare import logs
from ccflare.logs import Log, LogEntry
from ccflare.logs import live as live_log
from ccflare.logs import writer as log_writer
from ccflare.logs.live import MOST_AT_ONCE


@pytest.fixture(params=["pretty", "json"])
def log(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Log]:
    """A running log."""
    running = logs.start(tmp_path, line_format=request.param)
    yield running
    running.close()


class Heard:
    """A follower that keeps what it gets."""

    def __init__(self) -> None:
        self.entries: list[LogEntry] = []
        self.missed = 0
        self.threads: set[str] = set()

    def __call__(self, entries: list[LogEntry], missed: int) -> None:
        self.entries += entries
        self.missed += missed
        self.threads.add(threading.current_thread().name)

    @property
    def messages(self) -> list[str]:
        return [entry.message for entry in self.entries]


def test_followers_get_what_reading_the_file_gives(log: Log) -> None:
    """The same entries, masked and escaped, in the writer's thread; from when they began until they end."""
    one, two = Heard(), Heard()
    logs.logger("Proxy").info("before")
    assert log.flush()
    end = log.follow(one)
    log.follow(two)
    logs.logger("Proxy").info("key %s \x1b[2J", "sk-ant-api03-secret")
    logs.logger("Server").warning("w")
    assert log.flush()
    end()
    logs.logger("Server").error("later")
    assert log.flush()

    written = logs.history(log.path.parent)
    assert one.entries == written[1:3]
    assert two.entries == written[1:]
    assert one.messages == [r"key sk-ant-*** \x1b[2J", "w"]
    assert one.threads == {"ccflare-log"}


def test_a_flood_reaches_followers_in_a_bounded_amount(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a batch the newest entries come, and the number of the others."""
    monkeypatch.setattr(log_writer, "_GATHER_S", 5)
    heard = Heard()
    log.follow(heard)
    for number in range(1000):
        logs.logger("X").info("%d", number)
    assert log.flush()

    assert heard.messages == [str(number) for number in range(1000 - MOST_AT_ONCE, 1000)]
    assert heard.missed == 1000 - MOST_AT_ONCE


def test_a_follower_that_fails_is_dropped_and_said_once(log: Log) -> None:
    """The log is written all the same, and other followers get everything, that line included."""

    def broken(_entries: list[LogEntry], _missed: int) -> None:
        raise RuntimeError("secret")

    heard = Heard()
    log.follow(broken)
    log.follow(heard)
    for number in range(3):
        logs.logger("X").info("%d", number)
        assert log.flush()
    assert log.flush()

    said = "A follower of the log has failed and is not told any more: RuntimeError"
    assert sorted(heard.messages) == ["0", "1", "2", said]
    assert heard.entries == logs.history(log.path.parent)


def test_followers_hear_what_the_disk_did_not_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """While the file cannot be written, those who watch still see what happens."""
    (tmp_path / "file").write_text("")
    log = logs.start(tmp_path / "file" / "logs")
    heard = Heard()
    log.follow(heard)
    logs.logger("X").warning("unwritten")
    log.close()

    assert heard.messages == ["unwritten"]
    assert "unwritten" in capsys.readouterr().err


def test_without_followers_nothing_is_made_for_them(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries are only made when someone wants them."""
    made: list[str] = []
    monkeypatch.setattr(live_log, "entry_of", made.append)
    logs.logger("X").info("nobody listens")
    assert log.flush()
    assert made == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_followers_stay_with_the_process_that_follows(log: Log) -> None:
    """What a forked child logs is its own affair: nobody there waits for it."""
    heard = Heard()
    log.follow(heard)
    child = os.fork()
    if child == 0:
        logs.logger("X").info("child")
        os._exit(0 if log.flush() and not heard.entries else 1)
    assert os.waitpid(child, 0)[1] == 0
