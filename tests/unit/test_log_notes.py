"""What is logged for every exchange: it reads, counts and is heeded as any other message."""

import io
import logging
import time

import pytest

from ccflare import logs
from ccflare.logs.writer import CAPACITY
from log_kit import Start, blocked, written


def test_a_message_is_logged_as_a_call_of_its_logger_is(
    start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever listens: our file, the handlers of others beside it, or, where no log runs, they alone."""
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.25)
    logger, said = logs.logger("Proxy"), logs.Message("Proxy", "INFO", "%s took %d ms")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(funcName)s: %(message)s"))

    with caplog.at_level("INFO", "ccflare"):
        said("alone", 1)
    log = start()
    for owner in (None, logger, logging.getLogger("ccflare")):
        if owner is not None:
            owner.addHandler(handler)
        said("this", 2)
        logger.info("%s took %d ms", "this", 2)
        if owner is not None:
            owner.removeHandler(handler)

    (record,) = caplog.records
    assert (record.name, record.levelname, record.getMessage()) == ("ccflare.Proxy", "INFO", "alone took 1 ms")
    assert record.filename == "test_log_notes.py"
    assert written(log) == ["[2023-11-14T22:13:20.250Z] INFO: [Proxy] this took 2 ms"] * 6
    assert stream.getvalue() == "INFO ccflare.Proxy (unknown function): this took 2 ms\n" * 4


def test_a_message_heeds_filters(start: Start) -> None:
    """A logger's own filter drops it, and may look at it as a record."""
    log, logger = start(), logs.logger("Proxy")
    said = logs.Message("Proxy", "INFO", "%s")

    def unwanted(record: logging.LogRecord) -> bool:
        return record.getMessage() != "unwanted"

    logger.addFilter(unwanted)
    said("unwanted")
    said("wanted")
    logger.removeFilter(unwanted)

    assert [line.rsplit("] ")[-1] for line in written(log)] == ["wanted"]


def test_a_message_heeds_levels_at_once(start: Start) -> None:
    """The log's level, and one of its own logger, count for it from the next call on."""
    log, logger = start(level="WARN"), logs.logger("Proxy")
    said = logs.Message("Proxy", "INFO", "%s")

    said("no")
    log.set_level("INFO", debug=False)
    said("yes")
    logger.setLevel(logging.ERROR)
    said("no")
    logger.setLevel(logging.NOTSET)
    logging.disable(logging.INFO)
    said("no")
    logging.disable(logging.NOTSET)
    said("again")

    assert [line.rsplit("] ")[-1] for line in written(log)] == ["yes", "again"]


def test_messages_are_dropped_as_records_are(start: Start) -> None:
    """With the writer stuck they count against the same bound, and the loss is told."""
    log, said = start(), logs.Message("Proxy", "INFO", "%s")

    with blocked(log):
        for _ in range(CAPACITY + 50):
            said("info")
        assert log.lost == 50

    assert sum(line.endswith("] info") for line in written(log)) == CAPACITY
