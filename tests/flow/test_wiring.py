"""The wiring: what the parts of a server are given."""

from pathlib import Path

from msgspec.structs import replace

from ccflare.app import build
from ccflare.clock import SystemClock
from ccflare.records import UNREADABLE, Account, Credentials, Secret, State
from ccflare.settings import Loaded, Settings, load
from ccflare.store import open_store
from ccflare.upkeep import SettingsInForce


def test_accounts_of_unknown_providers_get_no_requests(tmp_path: Path) -> None:
    """An account of a provider that is not known here is never a candidate: its key would go to a stranger."""
    app = build(Settings(), SystemClock(), lambda: open_store(tmp_path / "x.db"))
    known = Account(id="a", name="a", created_at_ms=1)
    app.load([known, Account(id="z", name="z", provider="zai", created_at_ms=2)], {})
    assert [standing.account.id for standing in app.pool.states(0)] == ["a"]


def test_an_account_whose_credential_cannot_be_read_is_refused_until_it_can(tmp_path: Path) -> None:
    """The store is told once, and again when a person has resumed it: servers with and without the key do not argue."""
    app = build(Settings(), SystemClock(), lambda: open_store(tmp_path / "x.db"))
    stored = Account(id="a", name="a", created_at_ms=1)
    marked = replace(stored, auth_failed_reason=UNREADABLE)

    def after(account: Account, **credentials: Credentials) -> tuple[State, list[str | None]]:
        """The state after a look at the store, and what the store is to be told."""
        app.load([account], credentials)
        told = [each.auth_failed_reason for each in app.pool.take_changes().accounts]
        return app.pool.states(0)[0].state, told

    assert after(stored) == ("auth_failed", [UNREADABLE])
    assert after(marked) == ("auth_failed", [])
    assert after(stored) == ("auth_failed", [])  # another server, which can read it, has said so
    assert after(replace(stored, resumed_at_ms=2)) == ("auth_failed", [UNREADABLE])
    good = Credentials("a", api_key=Secret("k"))
    assert after(replace(marked, resumed_at_ms=2), a=good) == ("active", [None])
    assert after(replace(stored, resumed_at_ms=2), a=good) == ("active", [])
    assert after(replace(stored, auth_failed_reason="401", resumed_at_ms=2), a=good) == ("auth_failed", [])


def test_live_settings_reach_the_parts(tmp_path: Path) -> None:
    """Applying settings changes the transport's deadlines, the sessions' length and what the proxy reads."""
    app = build(Settings(), SystemClock(), lambda: open_store(tmp_path / "x.db"))
    changed = Settings(connect_timeout_ms=1500, idle_timeout_ms=2500, session_duration_ms=7000, retry_attempts=1)
    app.apply(changed)
    assert (app.transport.deadlines.connect_s, app.transport.deadlines.idle_s) == (1.5, 2.5)
    assert app.pool.session_ms == 7000
    assert app.proxy.settings.retry_attempts == 1


def test_what_is_in_force_already_is_not_applied_again(tmp_path: Path) -> None:
    """A change that came by the API is nothing new to the file's watcher; going back is a change again."""
    applied: list[Loaded] = []
    started = load({}, {"HOME": str(tmp_path)})
    other = load({"retry_attempts": 7}, {"HOME": str(tmp_path)})
    in_force = SettingsInForce(started, applied.append)
    for fresh in (other, other, started):
        in_force.take_over(fresh)
    assert applied == [other, started]
