"""OAuth values: PKCE, the address a person is sent to, what is pasted back, what is sent to the token endpoint."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from ccflare.errors import InvalidCode, InvalidSetting, TokenRefused
from ccflare.oauth import (
    Mode,
    OAuthSettings,
    authorize_url,
    challenge_of,
    exchange_body,
    hash_of,
    random_text,
    read_code,
    refresh_body,
)
from ccflare.records import Secret
from ccflare.settings import Settings

STATE = "S" * 43
VERIFIER = Secret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
SETTINGS = OAuthSettings.of(Settings(client_id="mine", oauth_scopes=" a:b   c "))


def test_pkce_is_that_of_the_standard() -> None:
    """RFC 7636 Appendix B: the octets, their verifier and its challenge."""
    octets = bytes(
        [
            *(116, 24, 223, 180, 151, 153, 224, 37, 79, 250, 96, 125, 216, 173, 187, 186),
            *(22, 212, 37, 77, 105, 214, 191, 240, 91, 88, 5, 88, 83, 132, 141, 121),
        ]
    )
    assert random_text(octets) == VERIFIER
    assert challenge_of(VERIFIER) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


@pytest.mark.parametrize("text", ["short", "v" * 42, "v" * 129, "v" * 42 + "+"])
def test_what_cannot_be_a_verifier_is_named(text: str) -> None:
    """A damaged verifier is refused in the words users know, and is not repeated."""
    with pytest.raises(TokenRefused, match="Invalid code_verifier"):
        exchange_body(SETTINGS, code=Secret("c"), state=Secret(STATE), verifier=Secret(text))


@pytest.mark.parametrize(
    ("mode", "where"),
    [
        ("max", "https://claude.ai/oauth/authorize"),
        ("console", "https://console.anthropic.com/oauth/authorize"),
    ],
)
def test_the_address_asks_for_a_code_with_pkce(mode: Mode, where: str) -> None:
    """Each mode has its own address; the verifier is not in it, only its challenge."""
    url = authorize_url(SETTINGS, mode, state=Secret(STATE), verifier=VERIFIER)
    assert url.partition("?")[0] == where
    assert parse_qs(urlsplit(url).query) == {
        "code": ["true"],
        "client_id": ["mine"],
        "response_type": ["code"],
        "redirect_uri": ["https://console.anthropic.com/oauth/code/callback"],
        "scope": ["a:b c"],
        "code_challenge": [challenge_of(VERIFIER)],
        "code_challenge_method": ["S256"],
        "state": [STATE],
    }
    assert VERIFIER.reveal() not in url


def test_without_an_oauth_client_there_is_no_sign_in() -> None:
    """There is no default client; the error says what to set and what else can be done."""
    with pytest.raises(InvalidSetting, match=r"CLIENT_ID.*--api-key"):
        OAuthSettings.of(Settings())


@pytest.mark.parametrize(
    ("pasted", "code"),
    [
        (f"abc#{STATE}", "abc"),
        (f"  abc#{STATE}\r\n", "abc"),
        (f"a#b#{STATE}", "a#b"),
        (f"http://localhost:1455/cb?code=a%23b&state={STATE}", "a#b"),
        (f"https://host/cb?x=1&state={STATE}&code=abc", "abc"),
    ],
)
def test_a_complete_code_is_read(pasted: str, code: str) -> None:
    """Blanks around it do not matter; the address the browser ended up at says the same."""
    read = read_code(pasted)
    assert (read.code.reveal(), read.state.reveal()) == (code, STATE)
    assert STATE not in repr(read)


def test_every_truncation_of_a_code_is_refused() -> None:
    """However much is missing at the end, or all before the state, it is noticed here."""
    whole = f"some-code#{STATE}"
    for length in range(len(whole)):
        with pytest.raises(InvalidCode, match="code#state"):
            read_code(whole[:length])
    with pytest.raises(InvalidCode, match="not complete"):
        read_code(f"#{STATE}")


@pytest.mark.parametrize(
    ("pasted", "words"),
    [
        (f"two words#{STATE}", "blanks"),
        (f"two\nlines#{STATE}", "blanks"),
        (f"schl\u00fcssel#{STATE}", "characters"),
        (f"nul\0#{STATE}", "characters"),
        ("x" * 5000, "too long"),
        ("https://host/cb?code=abc", "not complete"),
        (f"https://host/cb?error=access_denied&state={STATE}", "not complete"),
        (f"https://[::1/cb?code=abc&state={STATE}", "not complete"),
        ("https://host/cb?" + "a=1&" * 100, "not complete"),
    ],
)
def test_what_is_no_code_is_refused_without_being_repeated(pasted: str, words: str) -> None:
    """The refusal says what is wrong in words of its own."""
    with pytest.raises(InvalidCode, match=words) as refused:
        read_code(pasted)
    assert STATE not in str(refused.value)
    assert "schl" not in str(refused.value)


def test_the_exchange_says_everything_the_endpoint_checks() -> None:
    """Code, state, verifier, client and redirect go as JSON."""
    body = exchange_body(SETTINGS, code=Secret("c"), state=Secret(STATE), verifier=VERIFIER)
    assert json.loads(body) == {
        "grant_type": "authorization_code",
        "code": "c",
        "state": STATE,
        "client_id": "mine",
        "redirect_uri": "https://console.anthropic.com/oauth/code/callback",
        "code_verifier": VERIFIER.reveal(),
    }


def test_a_refresh_names_token_and_client() -> None:
    """Nothing else is asked for: the scopes stay."""
    assert json.loads(refresh_body(SETTINGS, Secret("r"))) == {
        "grant_type": "refresh_token",
        "refresh_token": "r",
        "client_id": "mine",
    }


def test_of_a_state_only_a_hash_is_kept() -> None:
    """SHA-256 in hexadecimal: the same for the same state, and nothing to read the state from."""
    assert hash_of(Secret("abc")) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
