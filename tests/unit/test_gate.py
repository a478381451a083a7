"""The gate: programs on this machine come in, web pages do not."""

from dataclasses import dataclass, field

import pytest

from ccflare.gate import Gate, Refusal

Pairs = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Asked:
    """A request's head."""

    headers: Pairs
    method: bytes = b"POST"
    target: bytes = b"/v1/messages"
    http_version: str = "1.1"
    fields: dict[bytes, bytes] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", {name.lower(): value for name, value in self.headers})


def ask(
    *headers: tuple[str, str], gate: Gate | None = None, method: str = "POST", target: str = "/v1/m"
) -> Refusal | None:
    pairs = [(name.encode(), value.encode()) for name, value in headers]
    return (gate or Gate()).refusal(Asked(pairs, method.encode(), target.encode()))


def status(refusal: Refusal | None) -> int | None:
    return refusal and refusal[0]


LOCAL = ("Host", "localhost:8080")


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "localhost:8080", "LocalHost:80", "app.localhost:8080", "127.0.0.1:8080", "127.0.0.1", "10.1.2.3",
        "[::1]:8080", "[::1]", "[fe80::1]:80",
    ],
)  # fmt: skip
def test_our_own_hosts(host: str) -> None:
    """Loopback names and IP addresses are served, with any port: an address cannot be rebound."""
    assert ask(("Host", host)) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "evillocalhost", "",
        ":8080", "localhost:80a", "localhost:8080:8080", "[::1", "::1]", "[127.0.0.1]", "[evil.example]", "[]", "127.1",
        "0x7f000001", "2130706433", "user@localhost", "localhost/",
        "localhost,evil.example", "1.2.3.4.5", "\u0661.1.1.1",
    ],
)  # fmt: skip
def test_foreign_hosts(host: str) -> None:
    """A name that nobody configured is DNS rebinding, and what is no host name or address is refused as well."""
    refusal = ask(("Host", host))
    assert status(refusal) == 403
    assert refusal is not None
    assert "allowed_hosts" in refusal[1]


def test_allowed_names() -> None:
    """Configured names are served, whatever their case, with any port; names below them are not."""
    gate = Gate(["Proxy.Example"])
    assert ask(("Host", "proxy.example:9000"), gate=gate) is None
    assert ask(("Host", "PROXY.example"), gate=gate) is None
    assert ask(("Host", "localhost"), gate=gate) is None
    assert status(ask(("Host", "sub.proxy.example"), gate=gate)) == 403


def test_many_spellings() -> None:
    """However many hosts were seen, our own are served, foreign ones are not, and few are remembered."""
    gate = Gate()
    for number in range(500):
        assert ask(("Host", f"a{number}.localhost"), gate=gate) is None
        assert status(ask(("Host", f"a{number}.example"), gate=gate)) == 403
    assert len(gate._known) <= 64


def test_exactly_one_host() -> None:
    """Two hosts, the same or not, leave open which one is meant; none is against the protocol."""
    assert status(ask(LOCAL, LOCAL)) == 400
    assert status(ask(LOCAL, ("host", "evil.example"))) == 400
    assert status(ask()) == 400
    assert ask(LOCAL, ("X-Twice", "1"), ("x-twice", "2")) is None


def test_no_host_in_http_1_0() -> None:
    """HTTP/1.0 needs no host (health checks send none); a browser would never speak it."""
    assert Gate().refusal(Asked([], b"GET", b"/health", "1.0")) is None
    assert status(Gate().refusal(Asked([(b"Origin", b"http://localhost")], b"GET", b"/", "1.0"))) == 400


@pytest.mark.parametrize("target", ["/v1/messages", "/api/accounts"])
@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:8080", True),
        ("HTTP://LOCALHOST:8080", True),
        ("http://localhost", False),
        ("http://localhost:8081", False),
        ("https://evil.example", False),
        ("http://evil.example/localhost:8080", False),
        ("null", False),
        ("", False),
        ("localhost:8080", False),
        ("file://", False),
        ("vscode-webview://0123", False),
    ],
)
def test_origins(target: str, origin: str, allowed: bool) -> None:
    """A page comes in only when it was itself loaded from here; a sandboxed one (`null`) does not."""
    refusal = ask(LOCAL, ("Origin", origin), ("Content-Type", "application/json"), target=target)
    assert status(refusal) == (None if allowed else 403)


def test_two_origins() -> None:
    """A second origin cannot hide the first."""
    foreign, own = ("Origin", "http://evil.example"), ("Origin", "http://localhost:8080")
    assert status(ask(LOCAL, foreign, own)) == 400


@pytest.mark.parametrize("target", ["/v1/messages", "/api/requests"])
@pytest.mark.parametrize(
    ("site", "allowed"),
    [("none", True), ("same-origin", True), ("same-site", False), ("cross-site", False), ("", False)],
)
def test_fetch_metadata(target: str, site: str, allowed: bool) -> None:
    """A browser that says that another site made it ask gets neither upstream nor to the API, even by GET."""
    refusal = ask(LOCAL, ("Sec-Fetch-Site", site), method="GET", target=target)
    assert status(refusal) == (None if allowed else 403)


def test_links_to_the_dashboard() -> None:
    """Following a link from another site to a page of ours is no attack."""
    assert ask(LOCAL, ("Sec-Fetch-Site", "cross-site"), method="GET", target="/") is None


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "QUERY"])
@pytest.mark.parametrize(
    ("content_type", "allowed"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/json ;x", True),
        ("text/plain", False),
        ("application/x-www-form-urlencoded", False),
        ("multipart/form-data; boundary=application/json", False),
        ("application/jsonp", False),
        ("text/plain, application/json", False),
        ("", False),
    ],
)
def test_state_changing_calls(method: str, content_type: str, allowed: bool) -> None:
    """A call that may change something says that it is JSON: no form on a web page can."""
    refusal = ask(LOCAL, ("Content-Type", content_type), method=method, target="/api/accounts")
    assert status(refusal) == (None if allowed else 415)


def test_a_state_changing_call_without_a_type() -> None:
    """No content type is no JSON."""
    assert status(ask(LOCAL, target="/api/accounts")) == 415


@pytest.mark.parametrize("second", ["application/json", "text/plain"])
def test_a_state_changing_call_with_two_types(second: str) -> None:
    """Two content types, the same or not, leave open which one is meant."""
    types = ("Content-Type", "text/plain"), ("content-type", second)
    assert status(ask(LOCAL, *types, target="/api/accounts")) == 400
    assert status(ask(LOCAL, *reversed(types), target="/api/accounts")) == 400


@pytest.mark.parametrize("types", [(), ("text/plain",), ("text/plain", "application/json")])
def test_a_call_that_nobody_owns_is_not_found(types: tuple[str, ...]) -> None:
    """What it would need is not said of a call that there is not; it is refused all the same, foreign pages first."""
    gate = Gate(owned=lambda method, target: (method, target) != (b"PUT", b"/api/accounts?x=1"))
    headers = [LOCAL, *(("Content-Type", each) for each in types)]
    assert ask(*headers, gate=gate, method="PUT", target="/api/accounts?x=1") == (404, "Not Found")
    assert status(ask(*headers, gate=gate, method="POST", target="/api/accounts?x=1")) == (400 if types[1:] else 415)
    foreign = ("Sec-Fetch-Site", "cross-site")
    assert status(ask(*headers, foreign, gate=gate, method="PUT", target="/api/accounts?x=1")) == 403


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_reading_calls(method: str) -> None:
    """Reading needs no content type."""
    assert ask(LOCAL, method=method, target="/api/accounts") is None


def test_proxied_calls_have_any_type() -> None:
    """What goes upstream may be of any type, or say none."""
    assert ask(LOCAL, ("Content-Type", "multipart/form-data; boundary=x"), target="/v1/files") is None
    assert ask(LOCAL, target="/v1/messages/batches/1/cancel") is None
