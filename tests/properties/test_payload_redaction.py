"""Redaction of payloads: of heads that are to be stored, and of whatever was stored."""

import json
import re
from typing import Any
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from ccflare import payload
from ccflare.journal.searched import SearchedBodies
from ccflare.payload import Captured, is_credential, masked, redacted
from ccflare.records import Secret
from ccflare.store.original.payloads import without_credentials
from ccflare.wire import ByteBudget, Headers, lines_of

TEXT = st.text(max_size=30)
SECRET = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", min_size=12, max_size=40)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(raw=st.binary(max_size=300))
def test_any_bytes_are_survived_and_done_with_after_once(raw: bytes) -> None:
    """Nothing raises, and what was redacted has nothing more to redact."""
    clean = without_credentials(raw)
    assert clean is None or without_credentials(clean) is None


@given(secret=SECRET, body=TEXT, meta=PLAIN, name=st.sampled_from(["x-api-key", "Cookie", "authorization"]))
def test_no_secret_stays_and_every_body_does(secret: str, body: str, meta: object, name: str) -> None:
    """Whatever else a payload has, its credentials go and its body is the same."""
    headers = {name: secret, "x-other": f"Bearer {secret}", "x-third": f"sk-ant-{secret}"}
    payload = {"request": {"headers": headers, "body": body}, "meta": meta}
    clean = without_credentials(json.dumps(payload).encode())
    assert clean is not None
    after = json.loads(clean)
    assert after["request"]["body"] == body
    assert secret not in json.dumps(after["request"]["headers"])


OWN, CLIENTS = b"account-0123456789abcdef", b"client-0123456789abcdef"
NAMES = [
    b"Set-Cookie", b"set-cookie", b"x-api-key", b"cookie2", b"x-token-count", b"server", b"request-id", b"cookie-law",
    b"content-encoding", b"Content-Encoding", b"x-\xe9", b"Authorization",
]  # fmt: skip
PIECES = [
    b"a=1; b", b"sk-ant-api03-x", b"ccf_" + b"k" * 43, b"Bearer abc", b"BEARER abc", b": ", b"set-cookie: c", OWN,
    CLIENTS, OWN[:10], b"caf\xe9", b"***",
]  # fmt: skip
HEADS = st.lists(
    st.tuples(st.sampled_from(NAMES), st.lists(st.sampled_from(PIECES), max_size=3).map(b"".join)), max_size=8
)


def _names(headers: Headers) -> tuple[bytes, ...]:
    return tuple(name for name, _ in headers)


def _field_by_field(headers: Headers, secrets: list[bytes]) -> bytes:
    """Return what may be kept of a head, one field after the other."""
    lines = b""
    for name, value in headers:
        kept = value
        for secret in sorted(secrets, key=len, reverse=True):
            kept = kept.replace(secret, b"***")
        kept = masked(kept.decode("latin-1")).encode("latin-1")
        if is_credential(name.decode("latin-1")):
            kept = b"***" if value else b""
        lines += b"%b: %b\n" % (name, kept)
    return lines


def _kept(request: Headers, lines: bytes, names: tuple[bytes, ...]) -> tuple[bytes, bytes]:
    captured = Captured(b"/v1/messages", request, ByteBudget(1 << 30))
    captured.secrets.append(Secret(OWN.decode()))
    captured.answered(200, lines, names)
    found = redacted(captured, lambda _coding, data: data, SearchedBodies())
    return found.request_head, found.response_head


@given(HEADS)
def test_a_head_is_kept_as_its_fields_are_one_by_one(headers: Headers) -> None:
    """Looked at as a whole, lines lose the same credentials as fields looked at one by one, and nothing else."""
    request = [(b"x-api-key", CLIENTS)]
    _, kept = _kept(request, lines_of(headers), _names(headers))
    assert kept == _field_by_field(headers, [OWN, CLIENTS])


@given(HEADS, HEADS)
def test_lines_of_our_own_change_nothing(headers: Headers, more: Headers) -> None:
    """Names that no line has, and lines whose harmless names are not told, make no difference."""
    own = [(b"server-timing", b"ccflare;dur=1.00"), (b"x-ccflare-attempts", b"2")]
    _, kept = _kept([], lines_of(headers + own), _names(headers + more))
    assert kept == _field_by_field(headers + own, [OWN])


@given(HEADS, st.integers(0, 8))
def test_a_request_head_is_kept_in_the_same_way(headers: Headers, at: int) -> None:
    """Its own credentials are masked wherever they stand, around a length that is written into it."""
    headers = [*headers[:at], (b"Content-Length", b"12"), *headers[at:], (b"x-api-key", CLIENTS)]
    credentials = [value for name, value in headers if is_credential(name.decode("latin-1"))]
    words = {word for value in credentials for word in payload._WORD.findall(value) if len(word) >= 16}
    kept, _ = _kept(headers, b"", ())
    assert kept == _field_by_field(headers, [OWN, *words])


def _turned(coding: bytes, body: bytes) -> bytes:
    """Decode a body that stands in the wrong order; with a coding that is masked nothing is known of it."""
    return b"" if b"***" in coding else body[::-1]


def _body_as_a_whole(headers: Headers, body: bytes) -> bytes:
    coding = next((value for name, value in headers if name.lower() == b"content-encoding"), None)
    plain = body if coding is None else _turned(_field_by_field([(b"x", coding)], [OWN, CLIENTS]), body)
    looked_for = re.compile(b"%b|%b|ccf_[A-Za-z0-9_-]{43}" % (OWN, CLIENTS))
    if coding is not None and body and (not plain or looked_for.search(plain)):
        return b""
    return looked_for.sub(lambda found: b"*" * len(found[0]), body)


BODIES = st.lists(st.sampled_from([*PIECES, *[piece[::-1] for piece in PIECES], b"ccf_short"]), max_size=4).map(
    b"".join
)


@given(HEADS, HEADS, BODIES, BODIES)
def test_a_body_is_kept_as_its_coding_says(request: Headers, answer: Headers, asked: bytes, said: bytes) -> None:
    """What has a credential in its readable form is not kept; whatever names stand where, in heads seen before too."""
    request = [field for field in request if not is_credential(field[0].decode("latin-1"))]
    request = [(b"x-api-key", CLIENTS), *request, (b"content-length", b"%d" % len(asked))]
    known: dict[object, Any] = {}
    for _ in range(2):
        captured = Captured(b"/v1/messages", request, ByteBudget(1 << 30), known)
        captured.secrets.append(Secret(OWN.decode()))
        captured.request.add(asked)
        captured.answered(200, lines_of(answer), _names(answer))
        captured.response.add(said)
        found = redacted(captured, _turned, SearchedBodies())
        assert found.request.data == _body_as_a_whole(request, asked)
        assert found.response.data == _body_as_a_whole(answer, said)


def test_what_is_remembered_of_names_is_bounded() -> None:
    """Endless other heads, and endlessly long ones, take no more memory; each is still read right."""
    known: dict[tuple[bytes, ...], object] = {}
    with patch.object(payload, "_known_names", known):
        for number in range(1000):
            headers = [(b"x-%d" % number, b"1"), (b"x-token", b"2")]
            assert _kept([], lines_of(headers), _names(headers))[1] == b"x-%d: 1\nx-token: ***\n" % number
        assert 0 < len(known) <= 256
        known.clear()
        long = b"x" * 5000 + b"-token"
        assert _kept([], long + b": 1\r\n", (long,))[1] == long + b": ***\n"
        assert list(known) == [()]
