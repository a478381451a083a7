"""What the client tests share: one upstream, a server with three accounts, and the programs from npm."""

import fcntl
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import ROOT, Home, Row, Server, Upstream, assert_at_rest, assert_upstream_clean, eventually, running

NAMES = ("alpha", "beta", "gamma")
NPM_S = 300


@dataclass(frozen=True, slots=True)
class Stage:
    """A server, what it keeps, and the upstream behind it."""

    home: Home
    server: Server
    upstream: Upstream
    rows_before: int = 0

    def new_rows(self, count: int) -> list[Row]:
        """Return the rows of this test, once there are so many."""
        return self.home.rows_when(self.rows_before + count)[self.rows_before :]

    @property
    def port(self) -> int:
        """Where raw clients connect."""
        return self.server.port

    @property
    def url(self) -> str:
        """What clients have as their base URL."""
        return self.server.url


@pytest.fixture(scope="session")
def shared_upstream() -> Iterator[Upstream]:
    """An upstream with three accounts."""
    upstream = Upstream(*NAMES)
    yield upstream
    upstream.close()


@pytest.fixture(scope="session")
def template(shared_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with the three accounts, alpha preferred to beta and beta to gamma."""
    home = Home(tmp_path_factory.mktemp("template"))
    home.add_accounts(shared_upstream, *NAMES)
    return home


def _copy(template: Home, path: Path) -> Home:
    for file in template.path.glob("ccflare.db*"):
        shutil.copy(file, path)
    return Home(path)


@pytest.fixture(scope="module")
def shared_server(template: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for all tests of a file that change the state of no account."""
    with running(_copy(template, tmp_path_factory.mktemp("shared"))) as server:
        yield server


@pytest.fixture
def stage(shared_server: Server, shared_upstream: Upstream) -> Iterator[Stage]:
    """The shared server, at rest before and after, with no client credential gone upstream."""
    shared_upstream.forget()
    eventually(lambda: shared_server.health()["writer"]["queued"] == 0, what="all rows are written")
    home = shared_server.home
    yield Stage(home, shared_server, shared_upstream, len(home.rows()))
    assert_at_rest(shared_server, shared_upstream)
    assert_upstream_clean(shared_upstream)
    shared_upstream.forget()


@pytest.fixture
def fresh(template: Home, shared_upstream: Upstream, tmp_path: Path) -> Iterator[Stage]:
    """A server of the test's own: what its accounts learn ends with it."""
    shared_upstream.forget()
    with running(_copy(template, tmp_path)) as server:
        yield Stage(server.home, server, shared_upstream)
        assert_at_rest(server, shared_upstream)
        assert_upstream_clean(shared_upstream)
    shared_upstream.forget()


@pytest.fixture
def level(shared_upstream: Upstream, tmp_path: Path) -> Iterator[Stage]:
    """A server whose accounts all have the same priority."""
    shared_upstream.forget()
    home = Home(tmp_path)
    for name in NAMES:
        home.add_account(name, shared_upstream.account(name).api_key, shared_upstream.url)
    with running(home) as server:
        yield Stage(home, server, shared_upstream)
        assert_at_rest(server, shared_upstream)
        assert_upstream_clean(shared_upstream)
    shared_upstream.forget()


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The directory with the programs of `package.json`, installed once and used offline from then on."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed")
    wanted = Path(__file__).with_name("package.json")
    place = ROOT / ".cache" / "npm" / "clients"
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = place / "installed.json"
        if not stamp.exists() or stamp.read_text() != wanted.read_text():
            shutil.copy(wanted, place / "package.json")
            done = _npm_install(place)
            if done.returncode:
                pytest.skip(f"npm cannot install the clients: {done.stderr.strip()[-300:]}")
            shutil.copy(wanted, stamp)
    return place / "node_modules"


def _npm_install(place: Path) -> subprocess.CompletedProcess[str]:
    options = [
        "--no-audit",
        "--no-fund",
        "--no-package-lock",
        "--loglevel=error",
        "--cache",
        str(place.parent / "cache"),
    ]
    return subprocess.run(
        ["npm", "install", *options], cwd=place, capture_output=True, text=True, timeout=NPM_S, check=False
    )
