"""Rate-limit windows outlive the server: routing, `--list` and the pace know them after a restart."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ccflare.forecast import AccountWindows
from ccflare.limits import Reading, Window
from ccflare.pool import Pool
from ccflare.records import Credentials, Secret
from ccflare.store import Batch, Store, open_store
from harness import Home, Server, Upstream, ask, eventually, running
from pool_kit import HOUR, MINUTE, NOW, account, names


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with two accounts."""
    opened = open_store(tmp_path / "ccflare.db")
    for name in ("a", "b"):
        opened.add_account(account(name), Credentials(name, api_key=Secret("k")))
    yield opened
    opened.close()


def started(store: Store, now_ms: int) -> Pool:
    """The pool of a server that has just started."""
    pool = Pool(session_ms=HOUR)
    pool.load(store.accounts(), now_ms)
    pool.restore_windows(store.windows.all().values(), now_ms)
    return pool


def used(share: float) -> Reading:
    return Reading(windows=(Window("5h", share, "allowed", NOW + 5 * HOUR),))


def test_a_run_goes_on_where_the_last_one_ended(store: Store) -> None:
    """Order, views and forecast are those of a server that was never stopped."""
    first = started(store, NOW)
    for minutes in (0, 15, 30):
        first.note("a", used(0.66 + minutes / 100), NOW + minutes * MINUTE)
        store.write(Batch(windows=first.take_windows(NOW + minutes * MINUTE)))
    now_ms = NOW + 30 * MINUTE + 1_000
    second = started(store, now_ms)
    assert names(second, now_ms=now_ms) == names(first, now_ms=now_ms) == ["b", "a"]
    assert [each.windows for each in second.states(now_ms)] == [each.windows for each in first.states(now_ms)]
    (window,) = second.states(now_ms)[0].windows
    assert window.runs_out_at_ms == pytest.approx(NOW + 34 * MINUTE, abs=2_000)


def test_what_is_taken_again_after_a_restart_replaces_what_was_kept(store: Store) -> None:
    first = started(store, NOW)
    first.note("a", used(0.2), NOW)
    store.write(Batch(windows=first.take_windows(NOW)))
    second = started(store, NOW + MINUTE)
    second.note("a", used(0.3), NOW + MINUTE)
    (taken,) = second.take_windows(NOW + MINUTE)
    assert isinstance(taken, AccountWindows)
    assert [sample.utilization for sample in taken.windows[0].samples] == [0.2, 0.3]


# A real server.


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """Two accounts; the first one's answers say that its five hours are nearly used up."""
    made = Upstream("alpha", "beta")
    said = {"status": "allowed", "claim": "five_hour", "reset_in": 7200, "utilization": {"5h": 0.99}}
    made.rule({"unified": said}, match={"account": "alpha"})
    yield made
    made.close()


@pytest.fixture
def home(tmp_path: Path, upstream: Upstream) -> Home:
    made = Home(tmp_path)
    for name in ("alpha", "beta"):
        made.add_account(name, upstream.account(name).api_key, upstream.url)
    return made


def shown(home: Home) -> list[tuple[str, float]]:
    """The windows of the first account in `--list --json`."""
    return [(each["name"], each["utilization"]) for each in home.accounts()["alpha"]["windows"]]


def served_by(home: Home, server: Server, session: str) -> str:
    """Ask once; return the account that served."""
    before = len(home.rows())
    assert ask(server.port, session=session).status == 200
    return home.names()[home.rows_when(before + 1)[-1]["account_used"]]


def test_a_server_that_was_killed_knows_the_windows_again(home: Home, upstream: Upstream) -> None:
    """`--list` shows them while no server runs; the next server sends new sessions elsewhere."""
    home.ccflare("--pause", "beta")
    with running(home) as server:
        server.wait_until_accounts(2)
        assert served_by(home, server, "first") == "alpha"
        eventually(lambda: ("5h", 0.99) in shown(home), what="the windows in --list")
        home.ccflare("--resume", "beta")
        server.kill()
    assert ("5h", 0.99) in shown(home)
    assert "5h 99%" in home.ccflare("--list").stdout
    with running(home) as server:
        server.wait_until_accounts(2)
        assert [served_by(home, server, f"new-{index}") for index in range(3)] == ["beta"] * 3
