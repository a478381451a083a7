"""What upstream says about usage, field by field: the last value of each field counts, and nothing is added up."""

from typing import Any, Final

import msgspec

from ccflare.usage import Usage

MAX_COUNT = 1 << 48
"""More of anything is not a count but an error."""
MAX_TEXT = 200
"""Characters of a name; a longer one, or one that cannot be printed, is not a name."""

_NUMBERS: Final = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_input_tokens": "cache_read_input_tokens",
    "cache_creation_input_tokens": "cache_creation_input_tokens",
}
_NESTED: Final = {
    "cache_creation": {
        "ephemeral_5m_input_tokens": "cache_creation_5m_tokens",
        "ephemeral_1h_input_tokens": "cache_creation_1h_tokens",
    },
    "output_tokens_details": {"thinking_tokens": "thinking_tokens"},
    "server_tool_use": {
        "web_search_requests": "web_search_requests",
        "web_fetch_requests": "web_fetch_requests",
        "code_execution_requests": "code_execution_requests",
    },
}
_NAMES: Final = ("service_tier", "inference_geo", "speed")


class Document(msgspec.Struct, frozen=True, gc=False):
    """The parts of an event's data, or of a body, that matter here. Of any type: upstream may be anything."""

    type: Any = None
    message: Any = None
    delta: Any = None
    usage: Any = None
    model: Any = None
    stop_reason: Any = None
    error: Any = None


NOTHING: Final = Document()
_decoder = msgspec.json.Decoder(Document)


def read_document(data: bytes) -> Document | None:
    """Read a JSON object; None when it is none."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class Said:
    """Collects what was said, in the order in which it was."""

    __slots__ = ("_fields", "problem", "skipped")

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}
        self.problem: str | None = None
        """The first thing that could not be read."""
        self.skipped = 0
        """How many could not be."""

    def usage(self) -> Usage:
        """Return the last value of each field."""
        return Usage(**self._fields)

    def skip(self, problem: str) -> None:
        """Note something that could not be read."""
        self.skipped += 1
        if self.problem is None:
            self.problem = problem

    def take_message(self, model: object, stop_reason: object, usage: object) -> None:
        """Take the fields that a message, or a part of one, has."""
        self._name("model", model)
        self._name("stop_reason", stop_reason)
        if isinstance(usage, dict):
            self._usage(usage)
        elif usage is not None:
            self.skip("usage is not an object")

    def _usage(self, usage: dict[str, Any]) -> None:
        self._counts(usage, _NUMBERS)
        for key, fields in _NESTED.items():
            group = usage.get(key)
            if isinstance(group, dict):
                self._counts(group, fields)
            elif group is not None:
                self.skip(f"{key} is not an object")
        for key in _NAMES:
            self._name(key, usage.get(key))

    def _counts(self, said: dict[str, Any], fields: dict[str, str]) -> None:
        for key, field in fields.items():
            count = said.get(key)
            if count is None:
                continue
            if isinstance(count, int) and not isinstance(count, bool) and 0 <= count <= MAX_COUNT:
                self._fields[field] = count
            else:
                self.skip(f"{key} is not a count")

    def _name(self, field: str, name: object) -> None:
        if name is None:
            return
        if isinstance(name, str) and len(name) <= MAX_TEXT and name.isprintable():
            self._fields[field] = name
        else:
            self.skip(f"{field} is not a name")
