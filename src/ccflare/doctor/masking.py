"""What makes a report safe to paste in public: secrets always, and who and where somebody is unless asked for.

Names of accounts, hosts and people become `account-1`, `host-1` and `<e-mail>`, the same one each time, so that a
reader can still tell them apart.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ccflare.logs import redacted

PUBLIC_HOSTS: Final = frozenset({"api.anthropic.com", "console.anthropic.com", "claude.ai"})
SHORTEST_SECRET: Final = 6
"""Shorter values are words; masking them everywhere would hide the report."""
MASKED: Final = "***"

_NO_SECRETS = ("CCFLARE_OAUTH_", "OAUTH_")
"""Addresses and scopes, whose names have the words of secrets in them."""
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH|COOKIE|CLIENT_ID", re.IGNORECASE)
_KEY = re.compile(r"\bsk-[A-Za-z0-9_-]{6,}")
_ASSIGNED = re.compile(
    # What follows `Failed to refresh access token: ` is the reason.
    r"""((?:api[-_]?key|(?<!refresh access )[a-z_]*token|secret|passw(?:or)?d|authorization|cookie)"""
    r"""["']?\s*[:=]\s*["']?)[^\s"',;&]+""",
    re.IGNORECASE,
)
_URL = re.compile(r"""([a-z][a-z0-9+.-]*)://([^\s"'<>|]+)""", re.IGNORECASE)
_EMAIL = re.compile(r"[A-Za-z0-9_.+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_ADDRESS = re.compile(
    r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])|(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){3,7}[0-9A-Fa-f]{0,4}"
)
_PEER = re.compile(r"(?<![\w.-])(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}(?=:\d)")
_OTHERS_HOME = re.compile(r"(/home/|/Users/|[A-Z]:\\Users\\)[^/\\\s:'\"]+")
_ACCOUNT = re.compile(r"\b([Aa]ccount (?:named )?)(?!account-\d|rate.limited)(?:'[^']*'|\S.*?)(?= is | was |: | \(|$)")
_COMPLETED = re.compile(r"( for )(?!account-\d)(\S.*?)(?=: \d{3} in )")


def secret_name(variable: str) -> bool:
    """Say whether a variable's name promises a secret."""
    return bool(_SECRET_NAME.search(variable)) and not variable.upper().startswith(_NO_SECRETS)


class Mask:
    """Knows what must not be read. `names`: who and where may be shown."""

    def __init__(self, environ: Mapping[str, str], home: Path, *, names: bool) -> None:
        self._names = names
        self._home = str(home) if len(str(home)) > 1 else None
        self._secrets = {value for name, value in environ.items() if secret_name(name)}
        self._secrets |= {word for value in environ.values() if (word := _password(value))}
        self._accounts: dict[str, str] = {}
        self._hosts: dict[str, str] = {}

    def know_secrets(self, secrets: Iterable[str]) -> None:
        """Add values that must never be shown."""
        self._secrets.update(secrets)

    def account(self, name: str) -> str:
        """Return what an account is called in the report."""
        if self._names:
            return name
        return self._accounts.setdefault(name, f"account-{len(self._accounts) + 1}")

    def host(self, host: str) -> str:
        """Return what a host is called in the report."""
        plain = host.strip("[]").lower()
        if self._names or not plain or plain in PUBLIC_HOSTS or _is_own(plain):
            return host
        return self._hosts.setdefault(plain, f"host-{len(self._hosts) + 1}")

    def url(self, url: str) -> str:
        """Return an address without user and query, and without host and path where these are not public."""
        return _URL.sub(self._shown_url, url) if "://" in url else MASKED

    def text(self, text: str) -> str:
        """Return free text, from a log or an error, without secrets, names, hosts and people."""
        text = _URL.sub(self._shown_url, self.secrets(text))
        if self._names:
            return text
        for names in (self._accounts, self._hosts):
            for name in sorted(names, key=len, reverse=True):
                text = re.sub(rf"(?<![\w@.+-]){re.escape(name)}(?![\w@+-])", names[name], text, flags=re.IGNORECASE)
        text = _COMPLETED.sub(rf"\1{MASKED}", _ACCOUNT.sub(rf"\1{MASKED}", text))
        text = _PEER.sub(lambda found: self.host(found[0]), _EMAIL.sub("<e-mail>", text))
        return _ADDRESS.sub(_shown_address, text)

    def secrets(self, text: str) -> str:
        """Return a text without secrets and without the name in the home directory's path."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            if len(secret) >= SHORTEST_SECRET:
                text = text.replace(secret, MASKED)
        text = _ASSIGNED.sub(rf"\1{MASKED}", _KEY.sub(f"sk-{MASKED}", redacted(text)))
        if self._home:
            text = re.sub(rf"{re.escape(self._home)}(?![\w.-])", "~", text)
        return text if self._names else _OTHERS_HOME.sub(rf"\1{MASKED}", text)

    def everything(self, value: Any) -> Any:
        """Return a report's facts with `secrets` applied to every text in them."""
        match value:
            case str():
                return self.secrets(value)
            case dict():
                return {key: self.everything(each) for key, each in value.items()}
            case list():
                return [self.everything(each) for each in value]
        return value

    def _shown_url(self, found: re.Match[str]) -> str:
        authority, slash, path = found[2].partition("/")
        host, colon, port = authority.rpartition("@")[2].partition("?")[0].rpartition(":")
        if not port.isdigit():
            host, colon, port = host + colon + port, "", ""
        shown = self.host(host)
        path = path.partition("?")[0].partition("#")[0]
        if shown != host and path:
            path = MASKED
        return f"{found[1]}://{shown}{colon}{port}{slash}{path}"


def _password(value: str) -> str | None:
    """Return the password in a URL."""
    try:
        return urlsplit(value).password if "://" in value and "@" in value else None
    except ValueError:
        return None


def _is_own(host: str) -> bool:
    """Say whether a host is this machine, or none in particular."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _shown_address(found: re.Match[str]) -> str:
    try:
        ipaddress.ip_address(found[0])
    except ValueError:
        return found[0]
    return found[0] if _is_own(found[0]) else "<address>"
