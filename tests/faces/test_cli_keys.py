"""Client keys on the command line: made, shown once, listed, revoked, and one line for everything that is wrong."""

import json
import time

import pytest

from ccflare.client_keys import digest_of
from ccflare.records import Secret
from ccflare.store import Batch, Store
from cli_kit import Run, exchange


def test_the_key_alone_is_on_stdout(run: Run, store: Store) -> None:
    """So that `KEY=$(ccflare keys create laptop)` works; the talk is on stderr, and says what follows."""
    said = run("keys", "create", "my laptop")
    secret = Secret(said.out.strip())
    assert (said.status, said.out) == (0, f"{secret.reveal()}\n")
    assert secret.reveal().startswith("ccf_")
    assert "every request needs a key" in said.err
    assert "--role admin" in said.err
    assert secret.reveal() not in said.err
    [key] = store.client_keys.all()
    assert (key.name, key.role, key.store_payloads) == ("my laptop", "proxy", True)
    assert list(store.client_keys.admission().keys) == [digest_of(secret)]


def test_options_and_json(run: Run, store: Store) -> None:
    said = run("keys", "create", "ci", "--role", "admin", "--no-store", "--json")
    made = json.loads(said.out)
    [key] = store.client_keys.all()
    assert (made["id"], made["name"], made["role"], made["store_payloads"]) == (key.id, "ci", "admin", False)
    assert digest_of(Secret(made["key"])) in store.client_keys.admission().keys
    assert (key.role, key.store_payloads) == ("admin", False)
    assert run("keys", "create", "second").err.count("\n") == 1


def test_the_list_shows_what_was_done_with_each(run: Run, store: Store) -> None:
    """Requests, cost and last use; revoked ones when they are asked for. Nothing of the key."""
    assert run("keys", "list").out == ""
    for name in ("one", "two"):
        run("keys", "create", name)
    one, two = store.client_keys.all()
    rows = [exchange(None, 5_000, id=str(n), client_key_id=one.id, cost_microusd=1_500_000) for n in range(2)]
    store.write(Batch(exchanges=rows))
    assert run("keys", "revoke", "two", "--yes").status == 0
    listed = json.loads(run("keys", "list", "--json").out)
    assert [(each["name"], each["requests"], each["cost_usd"], each["last_used"]) for each in listed] == [
        ("one", 2, 3.0, "1970-01-01T00:00:05Z")
    ]
    every = json.loads(run("keys", "list", "--all", "--json").out)
    assert [(each["id"], each["state"]) for each in every] == [(one.id, "active"), (two.id, "revoked")]
    table = run("keys", "list", "--all")
    assert table.out.splitlines()[0].split()[:5] == ["name", "role", "state", "payloads", "requests"]
    assert "ccf_" not in table.out


def test_history_and_analytics_know_the_key(run: Run, store: Store) -> None:
    """Filtered by name, shown by name, also of a revoked key; without a key as with an account: the empty name."""
    run("keys", "create", "one")
    [one] = store.client_keys.all()
    now_ms = int(time.time() * 1000)
    mine = exchange(None, now_ms, id="mine", client_key_id=one.id, cost_microusd=1_500_000)
    store.write(Batch(exchanges=[mine, exchange(None, now_ms, id="other")]))
    run("keys", "revoke", "one", "--yes")
    for asked, found in (("one", ["mine"]), (one.id, ["mine"]), ("", ["other"])):
        listed = json.loads(run("history", "--key", asked, "--json").out)
        assert [each["id"] for each in listed] == found
    assert json.loads(run("history", "show", "mine", "--json").out)["client_key"] == "one"
    assert run("history").out.splitlines()[0].split()[-1] == "key"
    assert json.loads(run("analytics", "--key", "one", "--json").out)["overview"]["requests"] == 1
    table = run("analytics").out.split("\nkey ")[1].splitlines()
    assert table[1].split()[:2] == ["(none)", "1"] or table[2].split()[:2] == ["one", "1"]
    for command in ("history", "analytics"):
        assert "no key named 'two'; there are: one" in run(command, "--key", "two").line


def test_revoking_says_what_follows(run: Run, store: Store) -> None:
    """Nobody is let in without a key because the last one was revoked."""
    run("keys", "create", "boss", "--role", "admin")
    run("keys", "create", "one")
    assert "No admin key is left" in run("keys", "revoke", "boss", "--yes").err
    assert "nobody is let in" in run("keys", "revoke", store.client_keys.all()[1].id, "--yes").err
    assert all(each.revoked_at_ms is not None for each in store.client_keys.all())


def test_revoking_is_asked_for_on_a_terminal(run: Run, store: Store) -> None:
    run("keys", "create", "one")
    assert run("keys", "revoke", "one", stdin="n\n", terminal=True).status == 1
    assert store.client_keys.all()[0].revoked_at_ms is None
    assert run("keys", "revoke", "one", stdin="y\n", terminal=True).status == 0
    assert store.client_keys.all()[0].revoked_at_ms is not None


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["create", "one"], 1, "already a key named 'one'"),
        (["create", " one"], 1, "a key's name has"),
        (["create", "x", "--role", "root"], 2, "root"),
        (["revoke", "two", "--yes"], 1, "no key named 'two' in force; there are: one"),
        (["revoke", f"ccf_{'a' * 43}", "--yes"], 1, "ccf_***"),
        (["frobnicate"], 2, "No such command"),
    ],
)
def test_what_is_wrong_is_one_line(run: Run, arguments: list[str], status: int, message: str) -> None:
    run("keys", "create", "one")
    said = run("keys", *arguments)
    assert (said.status, said.out) == (status, "")
    assert message in said.line
