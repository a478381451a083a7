"""Log records as lines: for people (`[time] LEVEL: [Component] message`) or as JSON objects.

Runs on the writer's thread only. A message is always one line: what came in from outside cannot forge
another one or reach the terminal as a control sequence. Credentials are masked here once more, behind
everyone's care.
"""

import json
import logging
import re
import time
import traceback
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar, Literal, TypeAlias

import msgspec

Format = Literal["pretty", "json"]

ROOT = "ccflare"
LONGEST_MESSAGE = 16_384
LONGEST_TRACEBACK = 32_768

_API_KEY = re.compile(r"sk-ant-[A-Za-z0-9_-]+")
_CLIENT_KEY = re.compile(r"ccf_[A-Za-z0-9_-]{8,}")
_BEARER = re.compile(r"(bearer(?:\s|\\[nrt])+)[A-Za-z0-9._~+/=-]+", re.IGNORECASE)
_USER = re.compile(r'://[^\s/"?#<>\\]*@')
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Note(msgspec.Struct, frozen=True):
    """As much of a record as a line needs, for a message without anything beside its arguments."""

    created: float
    name: str
    levelno: int
    msg: str
    args: tuple[object, ...]
    exc_info: ClassVar[None] = None

    def getMessage(self) -> str:  # noqa: N802  # as records have it
        """Return the message with its arguments."""
        return self.msg % self.args if self.args else self.msg


Said: TypeAlias = logging.LogRecord | Note
Line: TypeAlias = Callable[[Said, bool], str]
"""Turns a record into a line with its newline; the second argument asks for tracebacks."""


def redacted(text: str) -> str:
    """Return the text with API keys, bearer tokens and the user part of URLs masked."""
    if "sk-ant-" in text:
        text = _API_KEY.sub("sk-ant-***", text)
    if "ccf_" in text:
        text = _CLIENT_KEY.sub("ccf_***", text)
    if "earer" in text or "EARER" in text:
        text = _BEARER.sub(r"\1***", text)
    if "@" in text and "://" in text:
        text = _USER.sub("://***@", text)
    return text


def escaped(text: str) -> str:
    """Return the text with everything escaped that a terminal or a reader of lines could act on."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def pretty(record: Said, traces: bool) -> str:
    """Return `[2024-01-20T10:30:45.123Z] INFO: [Proxy] message`; a traceback follows indented."""
    message = _message(record)
    trace = ""
    if record.exc_info and record.exc_info[1] is not None:
        message = f"{message}: {_cause(record.exc_info[1])}"
        if traces:
            lines = _traceback(record.exc_info[1]).splitlines()
            trace = "".join(f"    {escaped(line)}\n" for line in lines)
    head = f"[{_timestamp(record.created)}] {_level(record.levelno)}: [{_component(record.name)}] {message}"
    return redacted(f"{escaped(head)}\n{trace}")


def json_line(record: Said, traces: bool) -> str:
    """Return the record as one JSON object: `ts`, `level`, `component`, `message`, then what it adds."""
    fields: dict[str, Any] = {
        "ts": _timestamp(record.created),
        "level": _level(record.levelno),
        "component": _component(record.name),
        "message": _message(record),
    }
    for name, value in ({} if isinstance(record, Note) else vars(record)).items():
        if name not in _STANDARD:
            fields.setdefault(name, value)
    if record.exc_info and record.exc_info[1] is not None:
        fields["error"] = _cause(record.exc_info[1])
        if traces:
            fields["traceback"] = _traceback(record.exc_info[1])
    return redacted(_encoded(fields)) + "\n"


LINES: dict[Format, Line] = {"pretty": pretty, "json": json_line}


def _encoded(fields: dict[str, Any]) -> str:
    """Encode the fields; one that JSON cannot hold becomes its text."""
    try:
        return json.dumps(fields, default=str, allow_nan=False)
    except Exception:  # noqa: BLE001  # what callers add may do anything while it is turned into text
        return json.dumps({name: _text(value) for name, value in fields.items()})


def _message(record: Said) -> str:
    try:
        message = record.getMessage()
    except Exception as error:  # noqa: BLE001  # arguments may do anything while they are formatted
        message = f"{_text(record.msg):.200} (its arguments do not fit: {type(error).__name__})"
    if len(message) > LONGEST_MESSAGE:
        return f"{message[:LONGEST_MESSAGE]}... ({len(message)} characters)"
    return message


def _cause(error: BaseException) -> str:
    text = _text(error)[:LONGEST_MESSAGE]
    name = type(error).__name__
    return f"{name}: {text}" if text else name


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001  # foreign code
        return f"<{type(value).__name__}>"


def _traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-LONGEST_TRACEBACK:]


def _level(number: int) -> str:
    if number >= logging.ERROR:
        return "ERROR"
    if number >= logging.WARNING:
        return "WARN"
    return "INFO" if number >= logging.INFO else "DEBUG"


@lru_cache(maxsize=256)
def _component(name: str) -> str:
    return name.removeprefix(f"{ROOT}.")


def _timestamp(seconds: float) -> str:
    whole = int(seconds)
    return f"{_second(whole)}.{int((seconds - whole) * 1000):03d}Z"


@lru_cache(maxsize=4)
def _second(whole: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
