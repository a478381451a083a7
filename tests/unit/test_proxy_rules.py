"""Which outgoing proxy serves which origin, read from an environment given as a mapping."""

import pytest

from ccflare.transport.proxies import Proxy, ProxyRules
from ccflare.wire import Origin

API = Origin("https", "api.anthropic.com", 443)
PLAIN = Origin("http", "api.anthropic.com", 80)


def exempt(no_proxy: str, host: str, port: int = 443) -> bool:
    rules = ProxyRules.from_environment({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": no_proxy})
    return rules.proxy_for(Origin("https", host, port)) is None


def test_nothing_set_means_no_proxy() -> None:
    """Without variables every origin is direct."""
    rules = ProxyRules.from_environment({})
    assert rules == ProxyRules()
    assert (rules.proxy_for(API), rules.proxy_for(PLAIN)) == (None, None)


def test_each_scheme_has_its_variable() -> None:
    """HTTP_PROXY serves http origins and HTTPS_PROXY https ones."""
    rules = ProxyRules.from_environment({"HTTP_PROXY": "http://a:1", "HTTPS_PROXY": "https://b"})
    assert rules.proxy_for(PLAIN) == Proxy(Origin("http", "a", 1))
    assert rules.proxy_for(API) == Proxy(Origin("https", "b", 443))


def test_lower_case_wins_even_when_empty() -> None:
    """The lower-case spelling decides; an empty one switches the proxy off."""
    environ = {
        "HTTPS_PROXY": "http://upper",
        "https_proxy": "http://lower",
        "HTTP_PROXY": "http://upper",
        "http_proxy": "",
    }
    rules = ProxyRules.from_environment(environ)
    assert rules.proxy_for(API) == Proxy(Origin("http", "lower", 80))
    assert rules.proxy_for(PLAIN) is None


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("proxy:3128", Origin("http", "proxy", 3128)),
        ("http://proxy", Origin("http", "proxy", 80)),
        ("HTTP://Proxy:8080/", Origin("http", "proxy", 8080)),
        ("https://proxy", Origin("https", "proxy", 443)),
        ("http://[::1]:3128", Origin("http", "::1", 3128)),
    ],
)
def test_a_proxy_url_is_read(url: str, address: Origin) -> None:
    """A scheme may be left out and the port has the scheme's default."""
    assert Proxy.parse(url, "X") == Proxy(address)


@pytest.mark.parametrize(
    ("userinfo", "value"),
    [
        ("user:pass", b"Basic dXNlcjpwYXNz"),
        ("user", b"Basic dXNlcjo="),
        ("us%40er:p%3Aa%2Fss", b"Basic dXNAZXI6cDphL3Nz"),
        ("user:p:w", b"Basic dXNlcjpwOnc="),
    ],
)
def test_credentials_are_decoded_and_hidden(userinfo: str, value: bytes) -> None:
    """Percent-encoding is undone for basic authentication, and no repr shows the result."""
    proxy = Proxy.parse(f"http://{userinfo}@proxy:1", "X")
    assert proxy.authorization == value
    assert value.decode() not in repr(proxy)
    assert value.decode() not in repr(ProxyRules(http=proxy))


@pytest.mark.parametrize(
    "url",
    [
        "socks5://u:secret@proxy:1080",
        "http://u:secret@proxy:notaport",
        "http://u:secret@proxy:99999",
        "http://u:secret@",
        "http://u:secret@pro xy",
        "http://u:secret@[::1",
        "http://u%3Ax:secret@proxy",
        "ftp://secret",
    ],
)
def test_a_bad_proxy_url_is_an_error_that_keeps_the_secret(url: str) -> None:
    """What is no proxy URL is a ValueError that names the variable and does not repeat the value."""
    with pytest.raises(ValueError, match="HTTPS_PROXY") as caught:
        ProxyRules.from_environment({"HTTPS_PROXY": url})
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "direct"),
    [
        ("*", "anything.example", 443, True),
        ("a.example", "a.example", 443, True),
        ("A.Example", "a.EXAMPLE", 443, True),
        ("a.example", "b.a.example", 443, True),
        ("a.example", "ba.example", 443, False),
        ("a.example", "a.example.com", 443, False),
        (".a.example", "a.example", 443, True),
        (".a.example", "b.a.example", 443, True),
        ("*.a.example", "b.a.example", 443, True),
        ("a.example.", "a.example", 443, True),
        ("x.example, a.example", "a.example", 443, True),
        ("x.example a.example", "a.example", 443, True),
        ("a.example:443", "a.example", 443, True),
        ("a.example:8443", "a.example", 443, False),
        ("127.0.0.1", "127.0.0.1", 443, True),
        ("127.0.0.1", "127.0.0.10", 443, False),
        ("10.0.0.0/8", "10.9.8.7", 443, True),
        ("10.0.0.0/8", "11.0.0.1", 443, False),
        ("10.0.0.0/8", "ten.example", 443, False),
        ("10.1.2.3/8", "10.9.8.7", 443, True),
        ("10.0.0.0/8:8080", "10.9.8.7", 443, False),
        ("::1", "::1", 443, True),
        ("[::1]", "::1", 443, True),
        ("[::1]:443", "::1", 443, True),
        ("[::1]:80", "::1", 443, False),
        ("fd00::/8", "fd12::1", 443, True),
        ("fd00::/8", "10.0.0.1", 443, False),
        ("10.0.0.0/99", "10.0.0.1", 443, False),
        ("<local>,.,:,,*.", "a.example", 443, False),
        ("", "a.example", 443, False),
    ],
)
def test_exemptions(no_proxy: str, host: str, port: int, direct: bool) -> None:
    """NO_PROXY takes everything, hosts with what is below, addresses and networks, with or without port."""
    assert exempt(no_proxy, host, port) is direct
