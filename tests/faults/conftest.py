"""What the fault tests share: one simulated upstream, and a home with its accounts for every test."""

import shutil
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pytest
import trustme

from harness import Home, Server, Upstream, assert_at_rest, running

NAMES = ("alpha", "beta")


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority that nobody trusts unless told to."""
    return trustme.CA()


@pytest.fixture(scope="session")
def secure(authority: trustme.CA) -> Iterator[Upstream]:
    """An upstream behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    upstream = Upstream(*NAMES, tls=context)
    yield upstream
    upstream.close()


class MakeHome(Protocol):
    """Makes a home with the accounts of the upstream and some settings."""

    def __call__(self, settings: Mapping[str, str] | None = None) -> Home: ...


@pytest.fixture(scope="session")
def shared_upstream() -> Iterator[Upstream]:
    """An upstream with two accounts."""
    upstream = Upstream(*NAMES)
    yield upstream
    upstream.close()


@pytest.fixture
def upstream(shared_upstream: Upstream) -> Iterator[Upstream]:
    """The upstream, without rules and traffic of an earlier test."""
    shared_upstream.forget()
    yield shared_upstream
    shared_upstream.forget()


@pytest.fixture(scope="session")
def template(shared_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose accounts were added by the command line: alpha is preferred to beta."""
    home = Home(tmp_path_factory.mktemp("template"))
    home.add_accounts(shared_upstream, *NAMES)
    return home


@pytest.fixture
def make_home(template: Home, tmp_path: Path) -> MakeHome:
    """Copies the template, as often as asked."""

    def make(settings: Mapping[str, str] | None = None) -> Home:
        path = tmp_path / f"home-{len(list(tmp_path.iterdir()))}"
        path.mkdir()
        for file in template.path.glob("ccflare.db*"):
            shutil.copy(file, path)
        return Home(path, settings or {})

    return make


@pytest.fixture
def home(make_home: MakeHome) -> Home:
    """A home with two accounts and the usual settings."""
    return make_home()


@pytest.fixture
def server(home: Home, upstream: Upstream) -> Iterator[Server]:
    """A server on that home; in the end nothing may be left of what went on."""
    with running(home) as server:
        yield server
        if server.process.poll() is None:
            assert_at_rest(server, upstream)
