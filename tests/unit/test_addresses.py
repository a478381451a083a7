"""Addresses of upstreams: which are public, which are not, and which a setting opens."""

import pytest

from ccflare.addresses import Class, Reach, class_of, foreign_reach, peer_trouble, read_url, trouble, url_trouble

CLASSES: dict[Class, str] = {
    "public": "8.8.8.8 160.79.104.10 172.15.0.1 172.32.0.1 192.169.0.1 198.18.0.7 2606:4700::1 ::ffff:8.8.8.8 "
    "64:ff9b::8.8.8.8 2002:808:808::1",
    "loopback": "127.0.0.1 127.255.255.254 ::1 ::ffff:127.0.0.1 localhost LOCALHOST localhost. a.localhost",
    "private": "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 fd12::1 fc00::1 ::ffff:10.0.0.1",
    "never": "169.254.169.254 169.254.170.2 100.100.100.200 168.63.129.16 192.0.0.192 0.0.0.0 0.1.2.3 224.0.0.1 "
    "239.255.255.250 240.0.0.1 255.255.255.255 192.0.2.1 198.51.100.1 203.0.113.1 :: ::7f00:1 ff02::1 fe80::1 "
    "fe80::1%eth0 fec0::1 fd00:ec2::254 fd20:ce::254 2001:db8::1 2001:0:7f00:1::1 100::1 64:ff9b:1::a00:1 "
    "64:ff9b::10.0.0.1 64:ff9b::127.0.0.1 64:ff9b::169.254.169.254 2002:7f00:1:: 2002:a9fe:a9fe:: "
    "::ffff:169.254.169.254 ::ffff:0.0.0.0 ::ffff:0:127.0.0.1 4000::1",
}


@pytest.mark.parametrize(("kind", "host"), [(kind, host) for kind, hosts in CLASSES.items() for host in hosts.split()])
def test_the_class_of_an_address(kind: Class, host: str) -> None:
    """Every kind of address is known, also inside the IPv6 forms that lead to an IPv4 one."""
    assert class_of(host) == kind


@pytest.mark.parametrize("host", ["api.anthropic.com", "localhost.example", "notlocalhost", "127.0.0.1.nip.io"])
def test_names_are_looked_up(host: str) -> None:
    """A name says nothing about where it leads."""
    assert class_of(host) is None


CONNECTED = {
    # URL: the settings with which it is connected
    "https://api.anthropic.com": "none loopback all",
    "https://8.8.8.8": "none loopback all",
    "http://api.anthropic.com": "all",
    "http://8.8.8.8": "",
    "http://localhost:4000": "loopback all",
    "https://[::1]:4000": "loopback all",
    "http://[::ffff:127.0.0.1]": "loopback all",
    "http://10.0.0.7": "all",
    "https://192.168.1.1": "all",
    "http://169.254.169.254": "",
    "https://[fe80::1]": "",
    "https://0.0.0.0": "",
}


@pytest.mark.parametrize("reach", ["none", "loopback", "all"])
@pytest.mark.parametrize(("url", "with_which"), CONNECTED.items())
def test_what_is_connected_as_it_is_written(url: str, with_which: str, reach: Reach) -> None:
    """A URL that says by itself where it leads is judged before anything is looked up."""
    assert (trouble(read_url(url), reach) is None) == (reach in with_which.split())


@pytest.mark.parametrize(
    ("scheme", "host", "address", "with_which"),
    [
        ("https", "api.example", "8.8.8.8", "none loopback all"),
        ("http", "api.example", "8.8.8.8", ""),
        ("https", "api.example", "127.0.0.1", "all"),
        ("https", "api.example", "::1", "all"),
        ("https", "api.example", "::ffff:127.0.0.1", "all"),
        ("http", "localhost", "127.0.0.1", "loopback all"),
        ("http", "localhost", "10.0.0.1", "all"),
        ("http", "localhost", "8.8.8.8", ""),
        ("https", "api.example", "10.0.0.1", "all"),
        ("https", "api.example", "169.254.169.254", ""),
        ("https", "api.example", "64:ff9b::a9fe:a9fe", ""),
        ("https", "api.example", "fe80::1%2", ""),
        ("https", "api.example", "no address", ""),
    ],
)
@pytest.mark.parametrize("reach", ["none", "loopback", "all"])
def test_what_is_connected_as_it_was_found(scheme: str, host: str, address: str, with_which: str, reach: Reach) -> None:
    """Where a name led decides, not what it is: only `localhost` itself means this machine."""
    assert (peer_trouble(scheme, host, address, reach) is None) == (reach in with_which.split())


def test_what_is_written_elsewhere_reaches_less() -> None:
    """The API and an imported file do not reach this machine unless everything may be reached."""
    assert [foreign_reach(reach) for reach in ("none", "loopback", "all")] == ["none", "none", "all"]


@pytest.mark.parametrize(
    "url",
    [
        "https://127.1", "https://0x7f.1", "https://2130706433", "https://0177.0.0.1", "https://1.2.3.4.5",
        "https://127.0.0.1.", "https://a.0x7f", "https://[::1%25eth0]x", "https://[127.0.0.1]", "https://a%2eb",
        "https://-a", "https://a..b", "https://.a", "https://a,b", "https://*",
        "https://user@h", "https://@h", "https://:@h", "https://h?", "https://h?q", "https://h#", "https://h#f",
        "https://h:0", "https://h:22", "https://h:6379", "https://h:65536", "https://h:", "https:///x", "https:h",
        "https://h\\@x", "https://h\tx", "https://h\n", "https://h x", "https://\u2460", "javascript://h", "file:///etc",
        "gopher://h", "unix:/run/x", "",
    ],
)  # fmt: skip
def test_what_is_no_address_of_an_upstream(url: str) -> None:
    """Spellings that other programs read differently, credentials, fragments and ports of other protocols."""
    if url == "https://h:":  # an empty port is the scheme's own (RFC 3986 §3.2.3)
        assert read_url(url).port == 443
        return
    with pytest.raises(ValueError, match=r"\S"):
        read_url(url)


@pytest.mark.parametrize(
    "url", ["https://me:hunter2@h:99999", "https:\\me:hunter2@h", "ftp://me:hunter2@h", "me:hunter2@h"]
)
def test_a_password_is_in_no_message(url: str) -> None:
    """What is wrong with an address is said without repeating one that has a password."""
    with pytest.raises(ValueError, match=r"\S") as caught:
        read_url(url)
    assert "hunter2" not in str(caught.value)
    assert url_trouble(url, "all") == str(caught.value)
