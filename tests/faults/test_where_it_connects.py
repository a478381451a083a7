"""What an account's address cannot do: reach inside, be followed elsewhere, or be somebody else under TLS."""

import json
import re
import ssl
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from ccflare.records import Account, Credentials, Secret
from ccflare.store import open_store
from faultcase import attempts_of
from harness import ROOT, Home, Upstream, ask, assert_at_rest, assert_upstream_clean, messages, running

JSON = [("Content-Type", "application/json")]
INSIDE = ["https://10.0.0.1", "https://169.254.169.254/latest", "https://[::ffff:169.254.169.254]", "https://0.0.0.0"]


def test_accounts_that_point_inside_are_passed_over(home: Home, upstream: Upstream) -> None:
    """Addresses that got into the database some other way are not connected, and the next account serves."""
    home.ccflare("--list")
    urls = [*INSIDE, "https://127.1", "https://api.example:22", "http://api.example", "no address"]
    with closing(open_store(home.database)) as store:
        for number, url in enumerate(urls):
            account = Account(id=f"in{number}", name=f"in{number}", base_url=url, priority=-9, created_at_ms=number)
            store.add_account(account, Credentials(account.id, api_key=Secret("sk-ant-api03-planted")))
    with running(home) as server:
        descriptors = server.descriptors()
        assert ask(server.port, messages()).status == 200
        row = home.rows_when(1)[0]
        tries = sorted(attempts_of(home, row).split(", "))
        assert tries == ["alpha deliver 200", *(f"in{number} next None" for number in range(len(urls)))]
        assert all(each["reason"].startswith("refused_address: ") for each in row["attempts"][:-1])
        server.wait_for_log("Failed to proxy request with account in0: refused_address")
        server.wait_for_log("Account in0 cannot be used at https://10.0.0.1: it is in a private network")
        assert_at_rest(server, upstream, descriptors=descriptors + 1)
        assert set(home.states().values()) == {"active"}
    assert_upstream_clean(upstream)


def test_an_account_that_leads_back_is_passed_over(home: Home, upstream: Upstream) -> None:
    """One request stays one request: it does not come back to this server until there is no room left."""
    with running(home) as server:
        home.add_account("self", "sk-ant-api03-self", server.url, "--priority", "-9")
        server.wait_until_accounts(3)
        assert ask(server.port, messages()).status == 200
        row = home.rows_when(1)[0]
        assert attempts_of(home, row) == "self next None, alpha deliver 200"
        assert "it is this server itself" in row["attempts"][0]["reason"]
        assert len(home.rows()) == 1
    assert_upstream_clean(upstream)


@pytest.mark.parametrize("url", [*INSIDE, "http://api.example", "https://a:b@api.example", "https://api.example:22"])
def test_the_command_line_says_in_one_line_what_is_wrong(url: str, home: Home) -> None:
    """An address that may not be connected is not taken."""
    done = home.ccflare("--add-account", "x", "--api-key", "-", "--base-url", url, stdin="sk-ant-x", check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "x" not in home.states()


def test_the_api_does_not_open_what_the_operator_has_not(home: Home, upstream: Upstream) -> None:
    """By HTTP no address of this machine can be named, in an account or a setting, nor the setting that allows it."""
    with running(home) as server:
        for target, method, body in (
            ("/api/accounts", "POST", {"name": "x", "api_key": "sk-ant-x", "base_url": upstream.url}),
            ("/api/accounts", "POST", {"name": "x", "api_key": "sk-ant-x", "base_url": "https://10.1.1.1"}),
            ("/api/config", "PATCH", {"upstream_url": upstream.url}),
            ("/api/config", "PATCH", {"pricing_url": "http://localhost:8080/x"}),
            ("/api/config", "PATCH", {"oauth_token_url": "https://169.254.169.254"}),
            ("/api/config", "PATCH", {"private_upstreams": "all"}),
        ):
            found = ask(server.port, json.dumps(body).encode(), method=method, target=target, headers=JSON)
            assert found.status == 400, (body, found.body)
        assert not home.settings_file.exists() or "10.1.1.1" not in home.settings_file.read_text()
    assert "x" not in home.states()


def test_a_redirect_is_the_clients_to_follow(home: Home, upstream: Upstream) -> None:
    """A redirect of upstream is delivered as it is; nobody goes where it points, least of all with a key."""
    upstream.faults(alpha={"status": 307, "raw_body": "", "headers": {"location": f"{upstream.url}/v1/elsewhere"}})
    with running(home) as server:
        found = ask(server.port, messages())
        assert (found.status, found.header("location")) == (307, f"{upstream.url}/v1/elsewhere")
        assert attempts_of(home, home.rows_when(1)[0]) == "alpha deliver 307"
    assert [entry.target for entry in upstream.settled_log(1)] == ["/v1/messages"]


# TLS


def _served_with(certificate: trustme.LeafCert) -> Iterator[Upstream]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    upstream = Upstream("alpha", tls=context)
    yield upstream
    upstream.close()


YESTERDAY = datetime.now(UTC) - timedelta(days=1)
WRONG = ["another host's", "expired", "of an unknown authority"]


@pytest.fixture(params=WRONG)
def impostor(request: pytest.FixtureRequest, authority: trustme.CA) -> Iterator[Upstream]:
    """An upstream with a certificate that must not be accepted."""
    certificate = {
        WRONG[0]: lambda: authority.issue_cert("api.example"),
        WRONG[1]: lambda: authority.issue_cert("127.0.0.1", not_after=YESTERDAY),
        WRONG[2]: lambda: trustme.CA().issue_cert("127.0.0.1"),
    }[request.param]()
    yield from _served_with(certificate)


@pytest.fixture
def trusting(tmp_path: Path, authority: trustme.CA) -> Home:
    """A home that trusts one authority, and nothing of what programs let people switch off."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    careless = {"PYTHONHTTPSVERIFY": "0", "NODE_TLS_REJECT_UNAUTHORIZED": "0", "SSL_VERIFY": "0", "CURL_INSECURE": "1"}
    return Home(tmp_path, {"SSL_CERT_FILE": str(tmp_path / "ca.pem"), "RETRY_ATTEMPTS": "1", **careless})


def test_an_impostor_is_sent_nothing(impostor: Upstream, trusting: Home) -> None:
    """Another host's certificate, an old one, one of an unknown authority: no request leaves."""
    trusting.add_account("alpha", "sk-ant-api03-alpha", impostor.url)
    with running(trusting) as server:
        found = ask(server.port, messages())
        assert found.status == 503
        assert b"certificate not accepted" in found.body
        assert attempts_of(trusting, trusting.rows_when(1)[0]) == "alpha retry None"
        assert_at_rest(server, impostor)
    assert impostor.log == []


def test_nothing_switches_verification_off() -> None:
    """There is no code that makes a context without verification, and no setting that would ask for one."""
    forbidden = re.compile(
        r"CERT_NONE|CERT_OPTIONAL|check_hostname|_create_unverified|_create_stdlib|verify_mode|SSLContext\("
        r"|verify\s*=\s*False|insecure",
        re.IGNORECASE,
    )
    for file in (ROOT / "src" / "ccflare").rglob("*.py"):
        if "demo" not in file.parts:
            found = [line for line in file.read_text().splitlines() if forbidden.search(line)]
            assert not found, (file, found)
