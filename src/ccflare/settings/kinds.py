"""What a setting's value can be, and how it is read from text (variables, flags) and from JSON (the file).

Every kind says what it takes in a phrase that completes "is not ..."; the same phrase is the documentation.
Reading raises a bare ValueError: the loader knows the key, the value and where it came from.
"""

import re
from collections.abc import Mapping
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

import msgspec

from ccflare.addresses import read_url

_WHOLE = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.ASCII | re.IGNORECASE)
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?", re.ASCII)
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


class Kind(Protocol):
    """The values one setting can have."""

    @property
    def allowed(self) -> str:
        """What is allowed, as a phrase that completes "is not ..."."""
        ...

    def from_text(self, text: str) -> Any:
        """Read a variable's or a flag's text, without blanks around it. Raises ValueError."""
        ...

    def from_json(self, value: object) -> Any:
        """Read a decoded JSON value. Raises ValueError."""
        ...


class Whole(msgspec.Struct, frozen=True):
    """A whole number within bounds; `unit` is a plural such as `milliseconds`."""

    low: int
    high: int
    unit: str = ""

    @property
    def allowed(self) -> str:
        """See `Kind`."""
        of_unit = f" of {self.unit}" if self.unit else ""
        return f"a whole number{of_unit} from {self.low} to {self.high}"

    def from_text(self, text: str) -> int:
        """See `Kind`."""
        if not _WHOLE.fullmatch(text):
            raise ValueError
        return self.from_json(int(text))

    def from_json(self, value: object) -> int:
        """See `Kind`. JSON does not tell 3 from 3.0, so neither does this."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            raise ValueError
        if value != int(value):
            raise ValueError
        return int(value)


class Number(msgspec.Struct, frozen=True):
    """A number within bounds; neither NaN nor an infinity is within any."""

    low: float
    high: float

    @property
    def allowed(self) -> str:
        """See `Kind`."""
        return f"a number from {self.low:g} to {self.high:g}"

    def from_text(self, text: str) -> float:
        """See `Kind`."""
        if not _NUMBER.fullmatch(text):
            raise ValueError
        return self.from_json(float(text))

    def from_json(self, value: object) -> float:
        """See `Kind`."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            raise ValueError
        return float(value)


class Switch(msgspec.Struct, frozen=True):
    """True or false."""

    allowed: str = "true or false (in a variable also 1, 0, yes, no, on, off)"

    def from_text(self, text: str) -> bool:
        """See `Kind`."""
        word = text.lower()
        if word not in _TRUE | _FALSE:
            raise ValueError
        return word in _TRUE

    def from_json(self, value: object) -> bool:
        """See `Kind`."""
        if not isinstance(value, bool):
            raise ValueError  # noqa: TRY004  # one exception means "not allowed", whatever is wrong with the value
        return value


class _Words:
    """What all kinds share that are strings in JSON."""

    __slots__ = ()

    def from_text(self, text: str) -> Any:
        """See `Kind`."""
        raise NotImplementedError

    def from_json(self, value: object) -> Any:
        """See `Kind`."""
        if not isinstance(value, str):
            raise ValueError  # noqa: TRY004  # one exception means "not allowed", whatever is wrong with the value
        return self.from_text(value.strip())


class Choice(_Words, msgspec.Struct, frozen=True):
    """One of some words in any case; `words` maps each spelling (lower case) to the value it stands for."""

    words: Mapping[str, str]

    @property
    def allowed(self) -> str:
        """See `Kind`."""
        names = dict.fromkeys(self.words.values())
        return f"one of {', '.join(names)}" if len(names) > 1 else ", ".join(names)

    def from_text(self, text: str) -> str:
        """See `Kind`."""
        try:
            return self.words[text.lower()]
        except KeyError:
            raise ValueError from None


class Text(_Words, msgspec.Struct, frozen=True):
    """Any printable text; empty means none."""

    allowed: str = "printable text"

    def from_text(self, text: str) -> str:
        """See `Kind`."""
        if not text.isprintable():
            raise ValueError
        return text


class FilePath(_Words, msgspec.Struct, frozen=True):
    """A path of a file or a directory; the loader makes it absolute. `default` says in words where it is."""

    default: str
    allowed: str = "a path"

    def from_text(self, text: str) -> Path:
        """See `Kind`."""
        if not text or "\0" in text:
            raise ValueError
        return Path(text)


def _host(text: str) -> str:
    """Return a host name or an IP address in lower case, without brackets. Raises ValueError."""
    host = text.lower()
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if ":" in host:
        IPv6Address(host)
        return host
    if len(host) > 253 or not _HOST.fullmatch(host):
        raise ValueError
    return host


class Host(_Words, msgspec.Struct, frozen=True):
    """A host name or an IP address; empty means none."""

    allowed: str = "a host name or an IP address"

    def from_text(self, text: str) -> str:
        """See `Kind`."""
        return _host(text) if text else ""


class Hosts(msgspec.Struct, frozen=True):
    """Several host names or IP addresses."""

    allowed: str = "a list of host names or IP addresses without ports (in a variable separated by commas)"

    def from_text(self, text: str) -> tuple[str, ...]:
        """See `Kind`."""
        return tuple(dict.fromkeys(_host(part.strip()) for part in text.split(",") if part.strip()))

    def from_json(self, value: object) -> tuple[str, ...]:
        """See `Kind`."""
        if isinstance(value, str):
            return self.from_text(value)
        if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
            raise ValueError
        return tuple(dict.fromkeys(_host(part.strip()) for part in value))


class UpstreamUrl(_Words, msgspec.Struct, frozen=True):
    """The address of an API, as text. What it may reach is asked by a rule, and when it is connected."""

    allowed: str = "an address like https://host[:port][/path] without user name, query or fragment"

    def from_text(self, text: str) -> str:
        """See `Kind`."""
        read_url(text)
        return text


class CollectorUrl(_Words, msgspec.Struct, frozen=True):
    """The address of something that is sent to, as text; empty means that nothing is sent."""

    allowed: str = "an address like http://host[:port][/path] without user name, query or fragment, or nothing"

    def from_text(self, text: str) -> str:
        """See `Kind`."""
        if text:
            read_url(text)
        return text


class SecretKeys(_Words, msgspec.Struct, frozen=True):
    """A key that seals what is stored, and behind a comma the one before it; empty means none. Never shown."""

    allowed: str = "a key of at least 8 characters, or the new and the old one separated by a comma"

    def from_text(self, text: str) -> str:
        """See `Kind`."""
        keys = [part.strip() for part in text.split(",")] if text else []
        if len(keys) > 2 or any(len(key) < 8 or not key.isprintable() for key in keys):
            raise ValueError
        return ",".join(keys)


class ProxyUrl(_Words, msgspec.Struct, frozen=True):
    """The address of an outgoing proxy, possibly with a user name and a password; empty means none."""

    allowed: str = "an address like http://[user:password@]host[:port]"

    def from_text(self, text: str) -> str:
        """See `Kind`. As in other programs, an address without a scheme is taken for http."""
        if not text:
            return ""
        url = text if "://" in text else f"http://{text}"
        parts, port = _split(url)
        _host(parts.hostname or "")
        if port == 0 or parts.path not in {"", "/"}:
            raise ValueError
        return url


def _split(url: str) -> tuple[SplitResult, int | None]:
    """Return an http or https URL's parts and its port. Raises ValueError when it is none or has a query."""
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError
    return parts, parts.port


def without_user(text: str) -> str:
    """Return a URL with the user name and password masked, however badly it is written."""
    head, at, tail = text.rpartition("@")
    scheme, separator, _ = head.partition("://")
    return f"{scheme}{separator}***@{tail}" if separator else f"***@{tail}" if at else text
