"""The accounts by HTTP: what is shown, what may be done, and when it counts."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from api_kit import ACCESS, KEY, NOW_MS, OAUTH, REFRESH, Api, add_oauth, running
from ccflare.api.instants import iso
from ccflare.limits import RefuseCredential, SetAside
from ccflare.pool import Ask
from ccflare.records import Account, Credentials, Secret
from ccflare.store.tokens import Lease


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    async with running(tmp_path, monkeypatch) as made:
        yield made


async def test_an_account_that_was_added_is_shown_and_its_key_is_not(api: Api) -> None:
    """A new account is answered with 201 and listed; its key is in neither answer, and routing has it."""
    answer = await api.send("POST", "/api/accounts", {"name": "one", "api_key": KEY, "priority": 3, "tier": 5})
    assert answer.status_code == 201
    listed = await api.get("/api/accounts")
    assert KEY not in answer.text + listed.text
    assert [answer.json()] == listed.json()
    shown = answer.json()
    assert (shown["name"], shown["kind"], shown["state"], shown["priority"]) == ("one", "api_key", "active", 3)
    assert (shown["tier"], shown["requests"], shown["windows"]) == (5, 0, [])
    [candidate] = api.app.pool.candidates(Ask(), NOW_MS)
    assert candidate.id == shown["id"]


async def test_scripts_find_the_rate_limit_where_they_look(api: Api) -> None:
    """The list is an array; each account has `name`, `rate_limit_status` and `rate_limit_reset` as ISO time."""
    await add_oauth(api)
    [account] = (await api.get("/api/accounts")).json()
    assert account["name"] == "subscription"
    assert account["rate_limit_status"] == "allowed_warning"
    assert account["rate_limit_reset"] == "2026-09-21T14:14:20.000Z"
    assert account["expires_at"] == "2026-09-21T15:13:20.000Z"


async def test_a_refresh_that_failed_is_shown_with_its_time(api: Api) -> None:
    """When, and why."""
    await add_oauth(api)
    await api.store(lambda store: store.tokens.fail(Lease(OAUTH.id, "h", 0), "down", NOW_MS))
    [account] = (await api.get("/api/accounts")).json()
    assert (account["refresh_failed_at"], account["refresh_error"]) == (iso(NOW_MS), "down")


@pytest.mark.parametrize(
    ("action", "body", "field", "value"),
    [
        ("pause", {"reason": "too dear"}, "reason", "too dear"),
        ("pause", {}, "state", "paused"),
        ("rename", {"name": "two"}, "name", "two"),
        ("priority", {"priority": -4}, "priority", -4),
        ("resume", {}, "state", "active"),
    ],
)
async def test_a_change_is_answered_with_what_has_become_of_the_account(
    api: Api, action: str, body: dict[str, Any], field: str, value: object
) -> None:
    """Every change answers with the account as it is then, which is what the list shows too."""
    key = await api.add("one")
    answer = await api.send("POST", f"/api/accounts/{key}/{action}", body)
    assert answer.status_code == 200
    assert answer.json()[field] == value
    assert (await api.get("/api/accounts")).json() == [answer.json()]


async def test_a_change_counts_for_the_very_next_request(api: Api) -> None:
    """When the answer is there, routing has taken the change over already."""
    key = await api.add("one")
    await api.send("POST", f"/api/accounts/{key}/pause")
    assert list(api.app.pool.candidates(Ask(), NOW_MS)) == []
    await api.send("POST", f"/api/accounts/{key}/resume")
    assert [account.id for account in api.app.pool.candidates(Ask(), NOW_MS)] == [key]
    await api.send("DELETE", f"/api/accounts/{key}", {"confirm": "one"})
    assert api.app.pool.states(NOW_MS) == []


async def test_what_routing_knows_is_shown_before_the_store_has_it(api: Api) -> None:
    """A credential that upstream has just refused is shown as refused, with the reason, at once."""
    key = await api.add("one")
    api.app.pool.apply(key, RefuseCredential("invalid x-api-key"), Ask(), NOW_MS)
    account = (await api.accounts())["one"]
    assert (account["state"], account["reason"]) == ("auth_failed", "invalid x-api-key")


async def test_resuming_tries_a_refused_credential_again(api: Api) -> None:
    """`resume` clears the refusal that routing knows of."""
    key = await api.add("one")
    api.app.pool.apply(key, RefuseCredential("invalid x-api-key"), Ask(), NOW_MS)
    changes = api.app.pool.take_changes()
    api.app.journal.put_changes(changes.accounts, changes.bindings)
    api.app.pool.take_changes()
    answer = await api.send("POST", f"/api/accounts/{key}/resume")
    assert answer.json()["state"] == "active"


async def test_what_is_set_aside_is_shown_and_resumed(api: Api) -> None:
    """One model that an account does not serve for now leaves it active; `resume` has it tried again at once."""
    key = await api.add("one")
    now_ms = int(api.app.proxy._now_ms())
    api.app.pool.apply(key, SetAside("claude-opus-4-1", now_ms + 60_000, "429 model"), Ask(), now_ms)
    account = (await api.accounts())["one"]
    assert account["state"] == "active"
    [aside] = account["asides"]
    assert (aside["model"], aside["family"], aside["reason"]) == ("claude-opus-4-1", False, "429 model")
    answer = await api.send("POST", f"/api/accounts/{key}/resume")
    assert answer.json()["asides"] == []
    [candidate] = api.app.pool.candidates(Ask(None, "claude-opus-4-1"), now_ms)
    assert candidate.id == key


async def test_an_account_of_an_unknown_provider_is_shown_with_the_reason_why_it_is_not_used(api: Api) -> None:
    """Accounts that routing leaves out are in the list."""
    account = Account(id="z", name="zed", provider="zai", created_at_ms=1)
    await api.store(lambda store: store.add_account(account, Credentials("z", api_key=Secret(KEY))))
    assert (await api.accounts())["zed"]["reason"] == "its provider is not known here"


async def test_removing_needs_the_name(api: Api) -> None:
    """A wrong confirmation is a conflict and removes nothing; the right one removes the account."""
    key = await api.add("one")
    refused = await api.send("DELETE", f"/api/accounts/{key}", {"confirm": "One"})
    assert refused.status_code == 409
    assert "one" in await api.accounts()
    done = await api.send("DELETE", f"/api/accounts/{key}", {"confirm": "one"})
    assert (done.status_code, done.json()) == (200, {"id": key, "name": "one"})
    assert await api.accounts() == {}


@pytest.mark.parametrize(
    ("method", "action", "body"),
    [
        ("POST", "/pause", {}),
        ("POST", "/resume", {}),
        ("POST", "/rename", {"name": "x"}),
        ("POST", "/priority", {"priority": 1}),
        ("DELETE", "", {"confirm": "x"}),
    ],
)
async def test_unknown_accounts_are_not_found(api: Api, method: str, action: str, body: dict[str, Any]) -> None:
    """Every change of an account that is not there is a 404; a name is no id."""
    await api.add("named")
    for key in ("nothing", "named"):
        answer = await api.send(method, f"/api/accounts/{key}{action}", body)
        assert answer.status_code == 404
        assert answer.json() == {"error": "there is no account with this id"} or "no account" in answer.json()["error"]


async def test_names_are_unique(api: Api) -> None:
    """A taken name is a conflict, for a new account and for a new name."""
    key = await api.add("one")
    await api.add("two")
    assert (await api.send("POST", "/api/accounts", {"name": "two", "api_key": KEY})).status_code == 409
    assert (await api.send("POST", f"/api/accounts/{key}/rename", {"name": "two"})).status_code == 409
    assert set(await api.accounts()) == {"one", "two"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"api_key": KEY}, "name"),
        ({"name": "x"}, "api_key"),
        ({"name": "", "api_key": KEY}, "name"),
        ({"name": "x" * 101, "api_key": KEY}, "name"),
        ({"name": "nul\0", "api_key": KEY}, "name"),
        ({"name": " x", "api_key": KEY}, "name"),
        ({"name": "x", "api_key": ""}, "api_key"),
        ({"name": "x", "api_key": "two words"}, "api_key"),
        ({"name": "x", "api_key": 5}, "api_key"),
        ({"name": "x", "api_key": None}, "api_key"),
        ({"name": "x", "api_key": KEY, "priority": "1"}, "priority"),
        ({"name": "x", "api_key": KEY, "priority": 10**30}, "priority"),
        ({"name": "x", "api_key": KEY, "tier": 0}, "tier"),
        ({"name": "x", "api_key": KEY, "base_url": "ftp://host"}, "base_url"),
        ({"name": "x", "api_key": KEY, "base_url": "https://user:pass@host"}, "base_url"),
        ({"name": "x", "api_key": KEY, "apikey": "y"}, "apikey"),
    ],
)
async def test_what_an_account_cannot_be_is_named(api: Api, body: dict[str, Any], field: str) -> None:
    """A bad member is a 400 that names it, repeats no credential and adds nothing."""
    answer = await api.send("POST", "/api/accounts", body)
    assert answer.status_code == 400
    assert answer.json()["details"]["field"] == field
    assert KEY not in answer.text
    assert "pass@" not in answer.text
    assert await api.accounts() == {}


async def test_no_answer_holds_a_credential_of_an_oauth_account(api: Api) -> None:
    """Neither token is shown in the list or after a change."""
    await add_oauth(api)
    for answer in (await api.get("/api/accounts"), await api.send("POST", f"/api/accounts/{OAUTH.id}/pause")):
        assert answer.status_code == 200
        assert ACCESS not in answer.text
        assert REFRESH not in answer.text


async def test_a_password_in_an_old_address_is_masked(api: Api) -> None:
    """An address that another program has stored with a user and a password is shown without them."""
    account = Account(id="o", name="old", base_url="https://me:hunter2@host.example", created_at_ms=1)
    await api.store(lambda store: store.add_account(account, Credentials("o", api_key=Secret(KEY))))
    assert (await api.accounts())["old"]["base_url"] == "https://***@host.example"
