"""Answers of a token endpoint: what is granted, what is refused for good, what may pass, and what is never repeated."""

import json
from typing import Any

import pytest

from ccflare.errors import TokenEndpointError, TokenRefused
from ccflare.oauth import LONGEST_LIFE_S, read_api_key, read_tokens, refusal
from ccflare.records import Secret

NOW_MS = 1_700_000_000_000
GRANTED: dict[str, Any] = {
    "token_type": "Bearer",
    "access_token": "sk-ant-oat01-a",
    "refresh_token": "sk-ant-ort01-r",
    "expires_in": 28_800,
    "scope": "user:profile user:inference",
    "account": {"uuid": "1"},
}


def answer(**changes: Any) -> bytes:
    """Return a granting answer with changes; what is changed to None is left out."""
    return json.dumps({key: value for key, value in (GRANTED | changes).items() if value is not None}).encode()


def test_a_whole_answer() -> None:
    """Tokens, their end and their scopes are taken; what else is said does not matter."""
    tokens = read_tokens(answer(), NOW_MS)
    assert (tokens.access_token, tokens.refresh_token) == (Secret("sk-ant-oat01-a"), Secret("sk-ant-ort01-r"))
    assert tokens.expires_at_ms == NOW_MS + 28_800_000
    assert tokens.scopes == ("user:profile", "user:inference")
    assert "sk-ant" not in repr(tokens)


@pytest.mark.parametrize(
    ("expires_in", "lifetime_ms"),
    [
        (0.5, 500),
        ("3600", 3_600_000),
        (0, 0),
        (-5, 0),
        (1e300, LONGEST_LIFE_S * 1000),
        (10**30, LONGEST_LIFE_S * 1000),
        (None, None),
        ("soon", None),
        ("9" * 400, None),
        ([1], None),
        (True, None),
    ],
)
def test_lifetimes(expires_in: object, lifetime_ms: int | None) -> None:
    """A lifetime that was not said, or cannot be read, is not known: nothing is assumed and no token is lost."""
    tokens = read_tokens(answer(expires_in=expires_in), NOW_MS)
    assert tokens.expires_at_ms == (None if lifetime_ms is None else NOW_MS + lifetime_ms)
    assert tokens.refresh_token is not None


@pytest.mark.parametrize("refresh_token", [None, ""])
def test_a_refresh_token_that_is_not_repeated(refresh_token: str | None) -> None:
    """An answer without one means that the old one stays good."""
    assert read_tokens(answer(refresh_token=refresh_token), NOW_MS).refresh_token is None


@pytest.mark.parametrize("changes", [{"token_type": None}, {"token_type": "bearer"}, {"scope": None}, {"scope": 1}])
def test_what_may_be_left_out(changes: dict[str, Any]) -> None:
    """The type is Bearer in any spelling or not said; scopes are only for information."""
    assert read_tokens(answer(**changes), NOW_MS).access_token == Secret("sk-ant-oat01-a")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>Just a moment...</html>", "not JSON"),
        (b"", "not JSON"),
        (b'{"access_token": "\xff"}', "not JSON"),
        (b"[" * 60_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"{}", "no access token"),
        (answer(access_token=""), "no access token"),
        (answer(access_token=5), "access_token that cannot be one"),
        (answer(access_token="very secret token"), "access_token that cannot be one"),
        (answer(access_token="tok\r\nX: y"), "access_token that cannot be one"),
        (answer(refresh_token="very secret token"), "refresh_token that cannot be one"),
        (answer(refresh_token=["r"]), "refresh_token that cannot be one"),
        (answer(token_type="mac"), "tokens of a type"),
        (answer(token_type=["Bearer"]), "tokens of a type"),
    ],
)
def test_answers_that_grant_nothing_usable(body: bytes, words: str) -> None:
    """Each says what is wrong with it, may be asked again, and shows no token."""
    with pytest.raises(TokenEndpointError, match=words) as refused:
        read_tokens(body, NOW_MS)
    assert "secret" not in str(refused.value)
    assert "sk-ant" not in str(refused.value)


def test_an_api_key_is_read() -> None:
    """`raw_key` is the key; without a usable one there is none."""
    assert read_api_key(b'{"raw_key": "sk-ant-api03-k"}') == Secret("sk-ant-api03-k")
    with pytest.raises(TokenEndpointError, match="no API key"):
        read_api_key(b'{"key": "sk-ant-api03-k"}')
    with pytest.raises(TokenEndpointError, match="raw_key that cannot be one"):
        read_api_key(b'{"raw_key": "a b"}')


@pytest.mark.parametrize(
    ("status", "body", "reason", "words"),
    [
        (400, {"error": "invalid_grant", "error_description": "gone"}, "invalid_grant", "invalid_grant: gone"),
        (401, {"error": "invalid_client"}, "invalid_client", "invalid_client (status 401)"),
        (400, {"error": "Bad Thing!"}, "refused", "Bad Thing!"),
        (
            403,
            {"type": "error", "error": {"type": "permission_error", "message": "scope"}},
            "permission_error",
            "permission_error: scope",
        ),
    ],
)
def test_a_named_client_error_is_final(status: int, body: object, reason: str, words: str) -> None:
    """OAuth's form and the API's are both understood; the reason is what programs go by."""
    error = refusal(status, json.dumps(body).encode(), (), None)
    assert isinstance(error, TokenRefused)
    assert error.reason == reason
    assert words in str(error)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, b'{"error": {"type": "rate_limit_error", "message": "slow down"}}'),
        (408, b'{"error": "timeout"}'),
        (500, b'{"error": "invalid_grant"}'),
        (503, b"<html>"),
        (403, b"<html>Just a moment...</html>"),
        (400, b""),
        (400, b'{"error": 5}'),
        (302, b'{"error": "invalid_grant"}'),
        (204, b""),
    ],
)
def test_everything_else_may_pass(status: int, body: bytes) -> None:
    """What is not a decision about this request is worth another try, after the time that was asked for."""
    error = refusal(status, body, (), 7.0)
    assert isinstance(error, TokenEndpointError)
    assert error.retry_after_s == 7
    assert str(status) in str(error)


def test_an_endpoint_that_repeats_secrets_is_not_repeated() -> None:
    """Neither what was sent nor what looks like a token shows, whole text or cut; what remains is one short line."""
    sent = Secret("the-code")
    said = {"error": "invalid_grant", "error_description": f"sk-ant-ort01-zz {'x' * 175}the-code\n\x1b[31m{'y' * 999}"}
    text = str(refusal(400, json.dumps(said).encode(), (sent,), None))
    assert "the-code"[:3] not in text.replace("x", "")
    assert "ort01" not in text
    assert text.isprintable()
    assert len(text) < 260
    assert isinstance(refusal(400, b'{"error": "the-code"}', (sent,), None), TokenRefused)
    reason = refusal(400, b'{"error": "the_code"}', (Secret("the_code"),), None)
    assert isinstance(reason, TokenRefused)
    assert "the_code" not in f"{reason} {reason.reason}"
