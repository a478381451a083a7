"""Upstreams behind TLS: trusted only when they should be, and as exact about ends as without."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from faultcase import attempts_of
from harness import Home, Server, Upstream, ask, assert_at_rest, assert_upstream_clean, messages, running
from rawhttp import End


@pytest.fixture
def behind_tls(tmp_path: Path, authority: trustme.CA, secure: Upstream) -> Iterator[Server]:
    """A server that trusts the authority of the upstream by `SSL_CERT_FILE`."""
    secure.forget()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    home = Home(tmp_path, {"SSL_CERT_FILE": str(tmp_path / "ca.pem")})
    home.add_accounts(secure, "alpha", "beta")
    with running(home) as server:
        yield server
        assert_at_rest(server, secure)
        assert_upstream_clean(secure)
    secure.forget()


def test_an_authority_of_ones_own_is_trusted(behind_tls: Server, secure: Upstream) -> None:
    """Messages, streams and large bodies pass over connections that are kept."""
    for text, stream in (("Hello", False), ("Hello", True), ("[[fake big]]", True), ("x" * 3_000_000, False)):
        found = ask(behind_tls.port, messages(text, stream=stream))
        assert (found.status, found.end) == (200, "whole")
        assert hashlib.sha256(found.body).hexdigest() == secure.settled_log(1)[-1].response_sha256
    assert len({entry.connection for entry in secure.log}) == 1


@pytest.mark.parametrize(
    ("fault", "stream", "end"),
    [
        ("disconnect-mid", True, "cut"),
        ("reset-mid", True, "reset"),
        ("reset-mid no-chunked", True, "reset"),
        ("long-length", False, "cut"),
    ],
)
def test_a_cut_answer_stays_cut(behind_tls: Server, secure: Upstream, fault: str, end: End, *, stream: bool) -> None:
    """An answer that breaks off inside TLS has no clean end at the client."""
    secure.faults(alpha=fault)
    found = ask(behind_tls.port, messages(stream=stream))
    assert (found.status, found.end) == (200, end)
    assert attempts_of(behind_tls.home, behind_tls.home.rows_when(1)[0]) == "alpha broken 200"


def test_a_handshake_that_fails_is_a_failed_attempt(behind_tls: Server, secure: Upstream, upstream: Upstream) -> None:
    """An account whose address speaks no TLS fails over to one that does."""
    home = behind_tls.home
    home.add_account("plain", "sk-ant-api03-plain", upstream.url.replace("http:", "https:"), "--priority", "-1")
    behind_tls.wait_until_accounts(3)
    assert ask(behind_tls.port, messages()).status == 200
    expected = "plain retry None, plain retry None, plain retry None, alpha deliver 200"
    assert attempts_of(home, home.rows_when(1)[0]) == expected
