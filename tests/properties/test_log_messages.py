"""A log line says the same whichever way it has come."""

import logging
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ccflare.logs.intake import Record
from ccflare.logs.lines import LINES, Format, Note

_MESSAGES = (
    st.sampled_from(["%s completed for %s: %d in %dms", "%s", "no argument", "100 %", "%d", "%(name)s"]) | st.text()
)
_NAME = "ccflare.Proxy"
_ARGUMENTS = st.lists(st.text() | st.integers() | st.none() | st.binary(), max_size=4).map(tuple)


@given(
    line_format=st.sampled_from(["pretty", "json"]),
    level=st.sampled_from([logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL]),
    at=st.floats(0, 4e9),
    message=_MESSAGES,
    arguments=_ARGUMENTS,
    traces=st.booleans(),
)
def test_a_note_becomes_the_line_of_its_record(
    line_format: Format, level: int, at: float, message: str, arguments: tuple[Any, ...], traces: bool
) -> None:
    """Whatever is logged, with arguments that fit or not: the same line, masked and escaped alike."""
    record = Record(_NAME, level, "", 0, message, arguments, None)
    record.created = at

    line = LINES[line_format]

    assert line(Note(at, _NAME, level, message, arguments), traces) == line(record, traces)
