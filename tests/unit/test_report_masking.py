"""A report that can be pasted in public: no secret ever, nobody and no place unless asked for."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccflare.doctor.masking import Mask

HOME = Path("/home/jane")


def mask_of(*accounts: str, names: bool = False, **environ: str) -> Mask:
    made = Mask(environ, HOME, names=names)
    for name in accounts:
        made.account(name)
    return made


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Account jane@corp.example is rate limited until 10:30", "Account account-1 is rate limited until 10:30"),
        ("Failed to process request with account work (max)", "Failed to process request with account account-2"),
        ("Failed to process request with account removed", "Failed to process request with account ***"),
        ("Request completed for removed one: 200 in 12ms", "Request completed for ***: 200 in 12ms"),
        ("Account gone: rate_limited status", "Account ***: rate_limited status"),
        ("429 account rate limited (five_hour)", "429 account rate limited (five_hour)"),
        (
            "Failed to refresh access token: api_error: Internal server error (status 500)",
            "Failed to refresh access token: api_error: Internal server error (status 500)",
        ),
        ("invited by joe@example.com today", "invited by <e-mail> today"),
        (
            "connect to 10.1.2.3:443 failed, 127.0.0.1:8080 works",
            "connect to <address>:443 failed, 127.0.0.1:8080 works",
        ),
        ("from fe80::1:2:3:4 and ::1", "from <address> and ::1"),
        ("cannot reach gw.corp.example:3128", "cannot reach host-1:3128"),
        ("GET https://gw.corp.example/team-x/v1?key=1 failed", "GET https://host-1/*** failed"),
        ("GET https://u:pw@api.anthropic.com/v1/messages?beta=1", "GET https://api.anthropic.com/v1/messages"),
        ("open /home/jane/.config/x and /home/joe/y", "open ~/.config/x and /home/***/y"),
        ("at 2024-01-20T10:30:45.123Z in 12ms with 3.11.7", "at 2024-01-20T10:30:45.123Z in 12ms with 3.11.7"),
    ],
)
def test_who_and_where_is_not_told(text: str, shown: str) -> None:
    assert mask_of("jane@corp.example", "work (max)").text(text) == shown


def test_with_names_only_secrets_are_masked() -> None:
    text = "Account jane@corp.example at https://gw.corp.example/x uses sk-ant-api03-abcdef"
    assert mask_of("jane@corp.example", names=True).text(text) == (
        "Account jane@corp.example at https://gw.corp.example/x uses sk-ant-***"
    )


SECRET = st.from_regex(r"[A-Za-z0-9_-]{12,40}", fullmatch=True)
AROUND = st.text("abc :/@=&?\n\"'.", max_size=20)


@given(SECRET, AROUND, AROUND, st.booleans())
def test_a_known_secret_is_never_shown(secret: str, before: str, after: str, names: bool) -> None:
    text = f"{before}{secret}{after}"
    for mask in (mask_of(names=names, SOME_API_KEY=secret), mask_of(names=names, HTTPS_PROXY=f"http://u:{secret}@p:1")):
        assert secret not in mask.text(text)
        assert secret not in str(mask.everything({"a": [{"b": text}]}))
    known = mask_of(names=names)
    known.know_secrets([secret])
    assert secret not in known.text(text)


@pytest.mark.parametrize(
    "text",
    [
        "x-api-key: SECRETVALUE",
        '{"access_token": "SECRETVALUE"}',
        "password=SECRETVALUE&x=1",
        "a refresh token: SECRETVALUE",
        "Authorization: Bearer SECRETVALUE",
        "sk-proj-SECRETVALUE",
        "http://SECRETVALUE@proxy/",
        "https://host/?x=SECRETVALUE",
    ],
)
def test_what_looks_like_a_secret_is_never_shown(text: str) -> None:
    assert "SECRETVALUE" not in mask_of().text(f"it said {text} and ended")


def test_the_same_host_has_the_same_name() -> None:
    mask = mask_of()
    assert mask.url("https://a.example:8443/x") == "https://host-1:8443/***"
    assert mask.url("http://B.example") == "http://host-2"
    assert mask.host("a.example") == "host-1"
    assert mask.url("http://localhost:9/x") == "http://localhost:9/x"
