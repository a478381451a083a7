"""Input from outside, as it should not be: whatever reads it says what is wrong in its own words, and nothing else.

Each target is one reader and what it may raise; it is given bytes that nobody meant, and text that is nearly right.
"""

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ccflare.addresses import class_of, read_url, trouble
from ccflare.api.accounts import NewAccount, Pause, Rename
from ccflare.api.reading import read_body, read_parameters
from ccflare.api.requests import RequestQuestion
from ccflare.api.settings import SettingsChange
from ccflare.errors import CcflareError, InvalidCode, InvalidSetting, StoreError, TokenEndpointError
from ccflare.limits import read_limits
from ccflare.oauth import read_api_key, read_code, read_tokens, refusal
from ccflare.pricing import BUNDLED, decode_table, merge
from ccflare.records import Secret, decode_attempts
from ccflare.settings import load
from ccflare.store import open_store
from ccflare.strategy import peek, session_key
from ccflare.wire import BaseUrl
from original_kit import DATABASE

SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20)
    | st.sampled_from(["", "https://a.example", "sk-ant-x", "null", "\0", "\ud800", "1e999", "-0", "a" * 2000])
)  # fmt: skip
NAMES = st.sampled_from(
    [
        "name", "api_key", "base_url", "priority", "tier", "reason", "confirm", "port", "retry_attempts",
        "upstream_url",
        "access_token", "refresh_token", "expires_in", "token_type", "raw_key", "error", "error_description", "type",
        "message", "model", "messages", "metadata", "user_id", "session_id", "system", "tools", "stream", "role",
        "content",
        "text", "anthropic", "models", "cost", "input", "output", "cache_read", "limit", "cursor", "status",
    ]
) | st.text(max_size=8)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=25
)
NEAR_JSON = VALUES.map(lambda value: json.dumps(value).encode())


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes] = NEAR_JSON) -> bytes:
    """Text with bytes lost, doubled or put in."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 4))] = draw(
            st.binary(max_size=3) | st.sampled_from([b'"', b"{", b"[[[[", b"\\u"])
        )
    return bytes(data)


HOSTILE = st.binary(max_size=200) | damaged()


@dataclass(frozen=True)
class Target:
    """A reader of bytes, and what it may raise."""

    name: str
    read: Callable[[bytes], Any]
    raises: tuple[type[Exception], ...] = ()


def _peeked(data: bytes) -> None:
    seen = peek(b"/v1/messages", None, data)
    assert seen.model is None or isinstance(seen.model, str)
    assert session_key(seen, "client")


def _refused(data: bytes) -> None:
    error = refusal(400, data, [Secret("the-secret")], None)
    assert isinstance(error, CcflareError)
    assert "the-secret" not in str(error)
    assert len(str(error)) < 1000
    assert str(error).isprintable()


def _located(data: bytes) -> None:
    text = data.decode("latin-1")
    class_of(text)
    place = read_url(text)
    assert all(trouble(place, reach) is None or trouble(place, reach) for reach in ("none", "loopback", "all"))
    assert BaseUrl.parse(text).origin.host == place.host


def _limited(data: bytes) -> None:
    lines = [line.partition(b":") for line in data.split(b"\n")]
    known = [b"retry-after", b"anthropic-ratelimit-unified-reset", b"anthropic-ratelimit-requests-reset"]
    reading = read_limits([(name, value) for name, _, value in lines] + [(name, data) for name in known], 10**12)
    assert reading.retry_after_ms is None or reading.retry_after_ms >= 0


TARGETS = [
    Target("a new account", lambda data: read_body(NewAccount, data), (CcflareError,)),
    Target("a pause", lambda data: read_body(Pause, data), (CcflareError,)),
    Target("a rename", lambda data: read_body(Rename, data), (CcflareError,)),
    Target("settings by the API", lambda data: read_body(SettingsChange, data), (CcflareError,)),
    Target("a query", lambda data: read_parameters(RequestQuestion, data, {}), (CcflareError,)),
    Target("the head of a request", _peeked),
    Target("tokens", lambda data: read_tokens(data, 0), (TokenEndpointError,)),
    Target("an API key", read_api_key, (TokenEndpointError,)),
    Target("a refusal of the token endpoint", _refused),
    Target("a pasted code", lambda data: read_code(data.decode("latin-1")), (InvalidCode,)),
    Target("prices", lambda data: merge(BUNDLED, data, "2026-01-01"), (ValueError,)),
    Target("kept prices", decode_table, (ValueError,)),
    Target("kept attempts", lambda data: decode_attempts(data.decode("latin-1")), (ValueError,)),
    Target("an address", _located, (ValueError,)),
    Target("limits", _limited),
]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@given(data=HOSTILE)
@example(data=b"[" * 100_000)
@example(data=b'{"a":' * 20_000)
@example(data=b'{"name": 1e999999999, "priority": ' + b"9" * 5000 + b"}")
@example(data=b'{"metadata": {"user_id": "{\\"session_id\\": [[[["}, "messages": [{"role": "user"}], "system": 7}')
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_read_is_understood_or_refused(target: Target, data: bytes) -> None:
    """No input ends in anything but a value or the reader's own refusal."""
    try:
        target.read(data)
    except target.raises:
        return


@given(data=HOSTILE)
@example(data=b'{"port": NaN}')
@example(data=b'{"port": 1, "port": "2"}')
@example(data=b"\xef\xbb\xbf{}")
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
def test_any_settings_file_leaves_a_server_that_starts(tmp_path: Path, data: bytes) -> None:
    """Whatever is in the file, there are settings, and each thing that is wrong is one printable line."""
    file = tmp_path / "ccflare.json"
    file.write_bytes(data)
    loaded = load({}, {"ccflare_CONFIG_PATH": str(file), "HOME": str(tmp_path)}, create=False)
    assert 0 <= loaded.settings.port <= 65535
    assert all("\n" not in str(problem) for problem in loaded.problems)
    assert file.read_bytes() == data


@given(text=st.text(max_size=40).filter(lambda text: "\0" not in text))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_variable_is_a_setting_or_one_line(tmp_path: Path, text: str) -> None:
    """A variable of any content sets its setting or is refused in one line."""
    for name in ("PORT", "CCFLARE_UPSTREAM_URL", "CCFLARE_ALLOWED_HOSTS", "RETRY_BACKOFF", "HTTPS_PROXY", "LOG_LEVEL"):
        try:
            load({}, {name: text, "HOME": str(tmp_path)}, create=False)
        except InvalidSetting as error:
            lines = str(error).splitlines()
        else:
            lines = [name]
        assert len(lines) == 1


ORIGINAL = DATABASE.read_bytes()


@given(
    damage=st.lists(st.tuples(st.integers(0, 2**31), st.binary(min_size=1, max_size=24)), max_size=6), cut=st.booleans()
)
@example(damage=[(105_213, b"\x80")], cut=False)  # SQLite's complaint quotes it, and is no text then
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_damaged_database_is_opened_or_refused(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[int, bytes]], cut: bool
) -> None:
    """Damage anywhere in a database of the original ends in a store that answers, or in one that says why not."""
    data = bytearray(ORIGINAL)
    for place, piece in damage:
        at = place % len(data)
        data[at : at + len(piece)] = piece
    path = tmp_path_factory.mktemp("damaged") / "ccflare.db"
    path.write_bytes(data[: len(data) * 3 // 4] if cut else data)
    with contextlib.suppress(StoreError), contextlib.closing(open_store(path)) as store:
        store.accounts()
        store.credentials()
