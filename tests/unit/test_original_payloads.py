"""Credentials leave a stored payload, and nothing else does."""

import json
from typing import Any

import pytest

from ccflare.store.original.payloads import without_credentials


def cleaned(payload: Any) -> Any:
    """Return a payload after redaction; None when there was nothing to redact."""
    raw = without_credentials(json.dumps(payload).encode())
    return None if raw is None else json.loads(raw)


@pytest.mark.parametrize(
    "name",
    [
        "authorization", "Authorization", "X-API-Key", "x-api-key", "api-key", "apikey", "cookie", "Set-Cookie",
        "proxy-authorization", "x-goog-api-key", "x-auth-token", "x-amz-security-token", "access_token",
        "client_secret",
    ],
)  # fmt: skip
def test_headers_that_prove_who_one_is(name: str) -> None:
    """They are masked whatever their value looks like, in requests and in answers."""
    for part in ("request", "response"):
        assert cleaned({part: {"headers": {name: "hunter2"}}}) == {part: {"headers": {name: "***"}}}


@pytest.mark.parametrize(
    "name",
    [
        "content-type", "anthropic-ratelimit-tokens-limit", "anthropic-ratelimit-input-tokens-remaining", "x-scn",
        "idempotency-key", "anthropic-beta", "request-id", "x-stainless-lang", "output_tokens_per_second",
    ],
)  # fmt: skip
def test_headers_that_say_something_else(name: str) -> None:
    """They stay, and a payload without credentials is not rewritten."""
    assert cleaned({"request": {"headers": {name: "hunter2"}}}) is None


@pytest.mark.parametrize(
    ("value", "masked"),
    [
        ("sk-ant-api03-A_b-9", "sk-ant-***"),
        ("key=sk-ant-oat01-x; more", "key=sk-ant-***; more"),
        ("Bearer abc.def/ghi+j=", "Bearer ***"),
        ("bearer  x", "bearer  ***"),
    ],
)
def test_what_looks_like_a_credential_anywhere_outside_of_bodies(value: str, masked: str) -> None:
    """Keys and bearer tokens are masked in headers of any name, in lists, and in what is told about the exchange."""
    payload = {"request": {"headers": {"x-mine": value}}, "meta": {"errors": [value], "n": 1}}
    assert cleaned(payload) == {"request": {"headers": {"x-mine": masked}}, "meta": {"errors": [masked], "n": 1}}


def test_headers_in_other_forms() -> None:
    """Repeated values and lists of pairs are masked too."""
    assert cleaned({"headers": {"set-cookie": ["a=1", "b=2"]}}) == {"headers": {"set-cookie": ["***", "***"]}}
    pairs = [["x-api-key", "k"], ["accept", "json"]]
    assert cleaned({"request": {"headers": pairs}}) == {"request": {"headers": [["x-api-key", "***"], pairs[1]]}}


@pytest.mark.parametrize("body", ["c2stYW50LWFwaTAz", "sk-ant-api03-inside", {"x-api-key": "k"}, None, "\ud800", "ü"])
def test_bodies_stay(body: Any) -> None:
    """A body is the same afterwards, whatever it is and holds."""
    payload = {part: {"headers": {"cookie": "c"}, "body": body} for part in ("request", "response")}
    after = cleaned(payload)
    assert [after[part]["body"] for part in payload] == [body, body]
    assert [after[part]["headers"] for part in payload] == [{"cookie": "***"}] * 2


@pytest.mark.parametrize(
    ("raw", "masked"),
    [
        (b'{"request":{"headers":{"cookie":"a=\\"b\\"; c","n":"1', b'{"request":{"headers":{"cookie":"***","n":"1'),
        (b'{"authorization" : "Basic eA==', b'{"authorization" : "***'),
        (b"GET / authorization: Bearer x.y sk-ant-abc\xff", b"GET / authorization: Bearer *** sk-ant-***\xff"),
        (b'{"a":' * 100_000 + b'"sk-ant-deep"', b'{"a":' * 100_000 + b'"sk-ant-***"'),
        (b"[" + b"9" * 5_000 + b', "sk-ant-n"]', b"[" + b"9" * 5_000 + b', "sk-ant-***"]'),
    ],
)
def test_what_cannot_be_parsed(raw: bytes, masked: bytes) -> None:
    """Cut, nested too deeply or not JSON at all: every byte stays except those of credentials."""
    assert without_credentials(raw) == masked


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"null", b"1", b'"text"', b"\xff\xfe\x00", b"enc:v1:AAAA", b"{}", b"[]",
        b'{"body":"https://h\\n@decorator ssh://git@h/x',
    ],
)  # fmt: skip
def test_payloads_without_credentials_are_left_alone(raw: bytes) -> None:
    """Nothing is written for them."""
    assert without_credentials(raw) is None
