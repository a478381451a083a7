"""What a caller has sent, as the struct that a route takes: or a refusal that names the part to blame.

Everything here is hostile until it is parsed: repeated and unknown names, text that is not UTF-8, NUL characters,
numbers beyond all bounds. All of it ends in one exception, `InvalidRequest`.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin
from urllib.parse import unquote_to_bytes

import msgspec

from ccflare.api.refusals import InvalidRequest, shown, unknown
from ccflare.records import Secret

T = TypeVar("T", bound=msgspec.Struct)

MOST_PARAMETERS = 32
CONTROLS = "\\u0000-\\u001f\\u007f-\\u009f"
"""Characters that no parameter has, as a part of a regular expression."""
LONGEST_PARAMETER = 1024
"""In characters."""

_PLACE = re.compile(r"(?P<problem>.*?)(?: - at `(?P<place>[^`]*)`)?", re.DOTALL)
_CONTROL = re.compile(f"[{CONTROLS}]")
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller says in the body of a request."""


class NoWords(Body, frozen=True):
    """Nothing need be said: an empty object."""


def read_parameters(kind: type[T], query: bytes, path: Mapping[str, str]) -> T:
    """Return the parameters of a query string and a path. Raises InvalidRequest."""
    known = names_of(kind)
    given: dict[str, str] = dict(path)
    for name, value in _pairs(query):
        if name not in known or name in path:
            raise unknown(name, known - path.keys(), "parameter")
        if name in given:
            raise InvalidRequest(name, "given more than once")
        given[name] = value
    for name, value in given.items():
        _check_text(name, value)
    found = _converted(kind, given)
    for field in msgspec.structs.fields(kind):
        if field.encode_name in given and getattr(found, field.name) is None:  # the word `null`
            raise InvalidRequest(field.encode_name, "is not a value; leave it out instead")
    return found


def read_body(kind: type[T], body: bytes) -> T:
    """Return the JSON object of a body; an empty body is an empty object. Raises InvalidRequest."""
    try:
        found = msgspec.json.decode(body or b"{}")
    except _UNREADABLE as error:
        raise InvalidRequest("", f"the body is not JSON: {shown(str(error))}") from None
    if not isinstance(found, dict):
        raise InvalidRequest("", "the body is not a JSON object")
    known = names_of(kind)
    for name in found:
        if name not in known:
            raise unknown(name, known, "field")
    return _converted(kind, {name: _whole(value) for name, value in found.items()}, strict=True)


def names_of(kind: type[msgspec.Struct]) -> frozenset[str]:
    """Return the names that a struct has in JSON."""
    return frozenset(field.encode_name for field in msgspec.structs.fields(kind))


def _converted(kind: type[T], given: Mapping[str, Any], *, strict: bool = False) -> T:
    try:
        return msgspec.convert(given, kind, strict=strict, dec_hook=_decoded)
    except msgspec.ValidationError as error:
        raise _refusal(str(error), kind) from None


def _whole(value: Any) -> Any:
    """Return a number without a fraction as an integer: JSON does not tell 3 from 3.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _decoded(kind: type[Any], value: Any) -> Any:
    """Make a credential; its text is in no message."""
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise ValueError(f"expected {'text' if kind is Secret else kind.__name__}")


def _refusal(message: str, kind: type[msgspec.Struct]) -> InvalidRequest:
    """Turn msgspec's words, "Expected `int` <= 1000 - at `$.limit`", into ours."""
    found = _PLACE.fullmatch(message)
    place, problem = ("", message) if found is None else (found["place"] or "", found["problem"])
    missing = re.fullmatch(r"Object missing required field `(.*)`", problem)
    if missing:
        place, problem = f"{place}.{missing[1]}", "is required"
    place, problem = place.removeprefix("$").removeprefix("."), problem.replace("`", "")
    words = _words(next((field.type for field in msgspec.structs.fields(kind) if field.encode_name == place), None))
    if words and not missing:
        return InvalidRequest(place, f"expected {'one of ' if len(words) > 1 else ''}{', '.join(words)}")
    return InvalidRequest(place, shown(problem[:1].lower() + problem[1:]))


def _words(kind: Any) -> tuple[str, ...]:
    """Return the words that a value of a type can be; none when it is more than words."""
    inside = get_args(kind)
    return inside if get_origin(kind) is Literal else tuple(word for each in inside for word in _words(each))


def _pairs(query: bytes) -> list[tuple[str, str]]:
    parts = [part for part in query.split(b"&") if part]
    if len(parts) > MOST_PARAMETERS:
        raise InvalidRequest("", f"more than {MOST_PARAMETERS} parameters")
    return [(_text(name), _text(value)) for name, _, value in (part.partition(b"=") for part in parts)]


def _text(raw: bytes) -> str:
    try:
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidRequest("", "a parameter is not UTF-8 text") from None


def _check_text(name: str, value: str) -> None:
    """Refuse what no parameter can be. Raises InvalidRequest."""
    if not value:
        raise InvalidRequest(name, "is empty; leave it out instead")
    if len(value) > LONGEST_PARAMETER:
        raise InvalidRequest(name, f"is longer than {LONGEST_PARAMETER} characters")
    if _CONTROL.search(value):
        raise InvalidRequest(name, "has control characters")
