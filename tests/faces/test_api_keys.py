"""Who may use which route: every route with every role, keys made and revoked, and the dashboard's sessions."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import datetime
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import httpx
import pytest

from api_kit import Api, Listener, exchange, running
from ccflare.api import PAGES, ROUTES
from ccflare.api.route import Route
from ccflare.api.table import PROXIED
from ccflare.client_keys import digest_of
from ccflare.records import DashboardSession, Secret
from ccflare.store import Batch, Store
from flow.scripted import Client
from key_kit import BOSS, GONE, KEYS, WORKER, WRONG


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    """A server without keys."""
    async with running(tmp_path, monkeypatch, upstream_url="http://127.0.0.1:9") as made:
        yield made


@pytest.fixture
async def closed(api: Api) -> Api:
    """A server with an admin's key, a program's, and a revoked one."""

    def make(store: Store) -> None:
        for secret, key in KEYS.items():
            store.client_keys.add(key, digest_of(secret))

    await api.store(make)
    await api.store(lambda store: store.client_keys.revoke("key-gone", 1))
    api.app.client_keys.load(await api.store(lambda store: store.client_keys.admission()))

    async def at_once(_seconds: float) -> None:
        """Let nobody wait here; that they do is shown elsewhere."""

    api.app.proxy._parts.door.slowdown._sleep = at_once
    return api


def as_(secret: Secret | None) -> dict[str, str]:
    """Return the fields that bring a key."""
    return {} if secret is None else {"x-api-key": secret.reveal()}


def path_of(path: str) -> str:
    return path.replace("{id}", "some-id")


async def head_of(api: Api, route: Route, headers: dict[str, str]) -> int:
    """Return the status of an answer without waiting for the end of a stream."""
    listener = Listener()
    task = asyncio.create_task(
        listener.run(api.app.asgi, path_of(route.path), {"content-type": "application/json", **headers}, route.method)
    )
    async with asyncio.timeout(5):
        while not listener.head and not task.done():  # noqa: ASYNC110  # what is polled has no event
            await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return int(listener.head["status"])


# Every route with every role.

ROLES: dict[str, Secret | None] = {"none": None, "wrong": WRONG, "revoked": GONE, "proxy": WORKER, "admin": BOSS}
REFUSED = {"admin": {"none": 401, "wrong": 401, "revoked": 401, "proxy": 403}, "proxy": {}, "anyone": {}}


async def test_every_route_is_for_whom_the_table_says(closed: Api) -> None:
    """Refused with 401 or 403, or let in and answered with whatever else: never by chance."""
    for role, secret in ROLES.items():
        for route in ROUTES:
            status = await head_of(closed, route, as_(secret))
            expected = REFUSED[route.access].get(role)
            if route.function.__name__ == "begin_session":  # its body is refused
                expected = 400
            told = role, route.method, route.path, status
            assert status == expected if expected else status not in {401, 403}, told


async def test_pages_and_probes_are_for_whom_the_table_says(closed: Api) -> None:
    """There is nobody's data in them."""
    pages = {route.path for each in PAGES for route in each.routes()} | {"/api/openapi.json"}
    assert {each.access for each in PAGES} == {"anyone"}
    assert {"/", "/api/docs", "/api/hello"} <= pages
    for secret in ROLES.values():
        for path in pages:
            answer = await closed.client.get(path_of(path), headers=as_(secret))
            assert answer.status_code == 200, path


async def test_the_proxy_is_for_whom_the_table_says(closed: Api) -> None:
    """Whoever has a key of any role gets as far as to the upstream, which is not there; nobody else does."""
    path, access = PROXIED
    assert access == "proxy"
    for role, secret in ROLES.items():
        headers = [(name.encode(), value.encode()) for name, value in as_(secret).items()] or [(b"accept", b"*/*")]
        client = Client(b"{}", target=f"{path}messages".encode(), headers=headers)
        await closed.app.proxy.serve(client)
        assert client.status == (502 if role in {"proxy", "admin"} else 401), role


async def test_nothing_is_served_that_is_not_in_the_tables(api: Api) -> None:
    """Every route of the application comes from a row with its access: there is no other way in."""
    known = {(route.method, route.path) for route in ROUTES}
    pages = {(method, route.path) for each in PAGES for route in each.routes() for method in route.methods or ()}
    pages |= {("GET", "/api/openapi.json"), ("HEAD", "/api/openapi.json")}
    served = {
        (method, route.path) for route in api.app.asgi.routes for method in route.methods or ()  # type: ignore[attr-defined]  # all are routes
    }  # fmt: skip
    heads = {("HEAD", path) for method, path in known if method == "GET"}
    assert served == known | heads | pages


async def test_while_there_are_no_keys_everything_is_open(api: Api) -> None:
    """On this machine; whatever is brought."""
    for secret in (WRONG, None):
        for route in ROUTES:
            assert await head_of(api, route, as_(secret)) not in {401, 403}, route.path


async def test_refusals_are_json_and_say_what_is_needed(closed: Api) -> None:
    for secret, status, words in (
        (None, 401, "a client key is needed"),
        (WRONG, 401, "this client key is not valid"),
        (GONE, 401, "this client key was revoked"),
        (WORKER, 403, "this needs a client key of role admin"),
    ):
        answer = await closed.client.get("/api/accounts", headers=as_(secret))
        assert (answer.status_code, answer.json()) == (status, {"error": words})
        assert ("www-authenticate" in answer.headers) is (status == 401)
        assert secret is None or secret.reveal() not in answer.text


async def test_a_bearer_token_does_as_well(closed: Api) -> None:
    answer = await closed.client.get("/api/accounts", headers={"Authorization": f"Bearer {BOSS.reveal()}"})
    assert answer.status_code == 200


# Keys.


async def test_the_first_key_is_an_admins_and_signs_its_maker_in(api: Api) -> None:
    """A program's key first would lock everybody out of the dashboard; the browser that makes the first one is in."""
    refused = await api.send("POST", "/api/keys", {"name": "program"})
    assert refused.status_code == 409
    made = await api.send("POST", "/api/keys", {"name": "me", "role": "admin"})
    assert made.status_code == 201
    assert made.json()["key"].startswith("ccf_")
    assert (await api.get("/api/accounts")).status_code == 200
    api.client.cookies.clear()
    assert (await api.get("/api/accounts")).status_code == 401
    assert (await api.get("/api/accounts", headers={"x-api-key": made.json()["key"]})).status_code == 200


async def test_keys_are_made_listed_and_revoked(closed: Api) -> None:
    """The very next request goes by it; the list has no key and no hash, only what was done with it."""
    closed.client.headers.update(as_(BOSS))
    made = (await closed.send("POST", "/api/keys", {"name": "new", "store_payloads": False})).json()
    secret, key_id = Secret(made["key"]), made["made"]["id"]
    assert made["made"] | {"name": "new", "role": "proxy", "store_payloads": False, "requests": 0} == made["made"]
    assert (await closed.get("/api/accounts", headers=as_(secret))).status_code == 403
    await closed.store(lambda store: store.write(Batch(exchanges=[exchange(1, client_key_id=key_id)])))
    listed = await closed.get("/api/keys")
    by_name = {each["name"]: each for each in listed.json()}
    assert (by_name["new"]["requests"], by_name["new"]["cost_microusd"]) == (1, 1234)
    assert by_name["new"]["last_used"] is not None
    assert by_name["gone"]["revoked_at"] is not None
    assert digest_of(secret).hex() not in listed.text
    assert secret.reveal() not in listed.text
    wrong = await closed.send("DELETE", f"/api/keys/{key_id}", {"confirm": "other"})
    assert wrong.status_code == 409
    assert (await closed.send("DELETE", f"/api/keys/{key_id}", {"confirm": "new"})).json() == {
        "id": key_id, "name": "new",
    }  # fmt: skip
    assert (await closed.get("/api/accounts", headers=as_(secret))).status_code == 401
    assert (await closed.send("DELETE", f"/api/keys/{key_id}", {"confirm": "new"})).status_code == 404


async def test_bad_keys_are_refused(closed: Api) -> None:
    closed.client.headers.update(as_(BOSS))
    refused: list[tuple[dict[str, Any], int]] = [
        ({"name": "worker"}, 409),
        ({"name": " x"}, 400),
        ({"name": ""}, 400),
        ({"name": "x", "role": "root"}, 400),
        ({"name": "x", "key": "ccf_mine"}, 400),
    ]
    for body, status in refused:
        assert (await closed.send("POST", "/api/keys", body)).status_code == status, body


async def test_what_is_made_by_another_process_counts_within_a_second(api: Api) -> None:
    """The store's watch tells; so it does of a revoked one."""

    async def until(required: bool, status: int) -> None:
        async with asyncio.timeout(1.0):
            while (await api.get("/api/accounts", headers=as_(BOSS))).status_code != status:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert api.app.client_keys.required is required

    await api.store(lambda store: store.client_keys.add(KEYS[BOSS], digest_of(BOSS)))
    async with asyncio.timeout(1.0):
        while not api.app.client_keys.required:  # noqa: ASYNC110  # the watch has no event
            await asyncio.sleep(0.01)
    await until(required=True, status=200)
    await api.store(lambda store: store.client_keys.revoke("key-boss", 1))
    await until(required=True, status=401)


# Whose requests are whose.


async def used(api: Api) -> None:
    """Fill the history: two of the program's, one of the revoked key's, one without a key."""
    api.client.headers.update(as_(BOSS))
    now_ms = api_now_ms()
    mine = [exchange(n, client_key_id="key-worker", timestamp_ms=now_ms - n) for n in (1, 2)]
    gone = exchange(3, client_key_id="key-gone", cost_microusd=9, timestamp_ms=now_ms - 3)
    without = exchange(4, timestamp_ms=now_ms - 4)
    await api.store(lambda store: store.write(Batch(exchanges=[*mine, gone, without])))


def api_now_ms() -> int:
    return int(time.time() * 1000)


async def test_the_history_is_filtered_by_key(closed: Api) -> None:
    """By name or id, a revoked one's too; each request names its key."""
    await used(closed)
    for asked, name, found in (
        ("worker", "worker", ["x000001", "x000002"]),
        ("key-worker", "worker", ["x000001", "x000002"]),
        ("gone", "gone", ["x000003"]),
        ("boss", "boss", []),
        ("none", None, ["x000004"]),
    ):
        page = (await closed.get(f"/api/requests?client_key={asked}")).json()["requests"]
        assert [each["id"] for each in page] == found, asked
        assert all(each["client_key"] == name for each in page)
    assert (await closed.get("/api/requests?client_key=other")).status_code == 404
    shown = (await closed.get("/api/requests/x000003")).json()["request"]
    assert (shown["client_key_id"], shown["client_key"]) == ("key-gone", "gone")


async def test_a_listener_hears_whose_request_it_was(closed: Api) -> None:
    listener = Listener()
    task = asyncio.create_task(listener.run(closed.app.asgi, "/api/requests/stream", as_(BOSS)))
    await listener.until("retry:")
    closed.app.exchanges.publish("request", exchange(1, client_key_id="key-worker"))
    await listener.until('"client_key":"worker"')
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_period_is_analysed_by_key(closed: Api) -> None:
    """Usage and cost of each, revoked or not; and everything about one of them alone."""
    await used(closed)
    whole = (await closed.get("/api/analytics?range=1h")).json()
    assert [(each["name"], each["revoked"], each["requests"]) for each in whole["client_keys"]] == [
        ("worker", False, 2), (None, False, 1), ("gone", True, 1),
    ]  # fmt: skip
    assert [(each["name"], each["cost_microusd"]) for each in whole["costs"]["by_key"]] == [
        ("worker", 2468), (None, 1234), ("gone", 9),
    ]  # fmt: skip
    assert (
        sum(each["tokens"]["total_tokens"] for each in whole["client_keys"])
        == (whole["overview"]["tokens"]["total_tokens"])
    )
    one = (await closed.get("/api/analytics?range=1h&key=gone")).json()
    assert (one["overview"]["requests"], one["overview"]["cost_microusd"]) == (1, 9)
    assert [each["name"] for each in one["client_keys"]] == ["gone"]
    assert (await closed.get("/api/analytics?key=other")).status_code == 404


# Sessions.


async def sign_in(api: Api, secret: Secret = BOSS, **headers: str) -> httpx.Response:
    return await api.client.post("/api/session", json={"key": secret.reveal()}, headers=headers)


def cookie_of(answer: httpx.Response) -> Any:
    return next(iter(SimpleCookie(answer.headers["set-cookie"]).values()))


async def test_a_browser_signs_in_and_out(closed: Api) -> None:
    """The cookie is a random one that scripts and other sites cannot use; signing out ends it on the server too."""
    assert (await closed.get("/api/session")).json() == {
        "required": True, "key": None, "role": None, "signed_in": False, "expires_at": None,
    }  # fmt: skip
    answer = await sign_in(closed)
    cookie = cookie_of(answer)
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["secure"]) == (True, "Strict", "/", "")
    assert BOSS.reveal() not in answer.text + answer.headers["set-cookie"]
    assert (await closed.get("/api/accounts")).status_code == 200
    shown = (await closed.get("/api/session")).json()
    assert (shown["key"], shown["role"], shown["signed_in"]) == ("boss", "admin", True)
    out = await closed.send("DELETE", "/api/session")
    assert cookie_of(out)["max-age"] == "0"
    again = {"cookie": f"{cookie.key}={cookie.value}"}
    assert (await closed.get("/api/accounts", headers=again)).json() == {
        "error": "this session has ended; sign in again"
    }
    assert await closed.store(lambda store: store.client_keys.admission().sessions) == {}


async def test_a_session_says_when_it_ends(closed: Api) -> None:
    """That is a week after it began, not a week from now."""
    answer = await sign_in(closed)
    [(digest, session)] = (await closed.store(lambda store: store.client_keys.admission().sessions)).items()
    assert datetime.fromisoformat(answer.json()["expires_at"]).timestamp() == pytest.approx(
        session.expires_at_ms / 1000, abs=60
    )
    soon_ms = session.expires_at_ms - 6 * 86_400_000
    closed.app.client_keys.note_session(digest, DashboardSession(session.key_id, soon_ms))
    shown = (await closed.get("/api/session")).json()
    assert datetime.fromisoformat(shown["expires_at"]).timestamp() == soon_ms / 1000


async def test_only_an_admin_signs_in(closed: Api) -> None:
    for secret, status in ((WORKER, 403), (WRONG, 401), (GONE, 401)):
        answer = await sign_in(closed, secret)
        assert (answer.status_code, "set-cookie" in answer.headers) == (status, False)


async def test_by_https_the_cookie_stays_with_https(closed: Api) -> None:
    """The browser says how the page was loaded."""
    answer = await sign_in(closed, origin="https://proxy.example", host="proxy.example")
    assert cookie_of(answer)["secure"] is True
    assert cookie_of(answer).key == "ccflare_session"


async def test_servers_on_other_ports_have_other_cookies(closed: Api) -> None:
    """Browsers do not tell the ports of a host apart."""
    answer = await sign_in(closed, host="localhost:8080")
    assert cookie_of(answer).key == "ccflare_session_8080"


async def test_a_cookie_that_is_none_lets_nobody_in(closed: Api) -> None:
    for value in ("x" * 43, "x", "x" * 5000, BOSS.reveal(), digest_of(BOSS).hex()):
        answer = await closed.client.get("/api/accounts", headers={"cookie": f"ccflare_session={value}"})
        assert answer.status_code == 401, value


async def test_a_session_of_another_process_counts_at_once(closed: Api) -> None:
    """Whoever signs in at one worker is known to the next, before it has looked at the store by itself."""
    await sign_in(closed)
    closed.app.client_keys.load(await _without_sessions(closed))
    assert (await closed.get("/api/accounts")).status_code == 200


async def _without_sessions(api: Api) -> Any:
    from msgspec.structs import replace

    return replace(await api.store(lambda store: store.client_keys.admission()), sessions={})


async def test_revoking_its_key_ends_a_session(closed: Api) -> None:
    await sign_in(closed)
    assert (await closed.send("DELETE", "/api/keys/key-boss", {"confirm": "boss"})).status_code == 200
    assert (await closed.get("/api/accounts")).status_code == 401


async def test_where_no_key_is_needed_there_is_nothing_to_sign_in_to(api: Api) -> None:
    answer = await sign_in(api)
    assert (answer.status_code, answer.json()["required"], "set-cookie" in answer.headers) == (200, False, False)


async def test_failed_sign_ins_are_slowed(closed: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """With those at the proxy, by the same count."""
    waited: list[float] = []

    async def wait(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(closed.app.proxy._parts.door.slowdown, "_sleep", wait)
    for _ in range(3):
        await sign_in(closed, WRONG)
        await closed.client.get("/api/accounts", headers=as_(WRONG))
    assert waited == [0.1, 0.2, 0.4]
    await closed.client.get("/api/accounts")
    assert len(waited) == 3


# Streams.


@contextlib.asynccontextmanager
async def listening(api: Api, headers: dict[str, str]) -> AsyncIterator["asyncio.Task[None]"]:
    listener = Listener()
    task = asyncio.create_task(listener.run(api.app.asgi, "/api/requests/stream", headers))
    try:
        await listener.until("retry:")
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("by", ["key", "session"])
async def test_a_stream_ends_when_its_listener_may_not_listen_any_more(closed: Api, by: str) -> None:
    """Within a second of the key's end, or of signing out; others go on."""
    headers = as_(BOSS)
    if by == "session":
        cookie = cookie_of(await sign_in(closed))
        headers = {"cookie": f"{cookie.key}={cookie.value}"}
    async with listening(closed, headers) as task:
        if by == "key":
            await closed.client.request("DELETE", "/api/keys/key-boss", json={"confirm": "boss"}, headers=as_(BOSS))
        else:
            await closed.send("DELETE", "/api/session")
        async with asyncio.timeout(1.5):
            await task


async def test_the_first_key_ends_the_streams_of_strangers(api: Api) -> None:
    """Who listened while everything was open does not go on listening when it is closed."""
    async with listening(api, {}) as task:
        await api.send("POST", "/api/keys", {"name": "me", "role": "admin"})
        async with asyncio.timeout(1.5):
            await task


async def test_a_stream_that_may_go_on_goes_on(closed: Api) -> None:
    """Looking whether it may does not make it talk more."""
    listener = Listener()
    task = asyncio.create_task(listener.run(closed.app.asgi, "/api/requests/stream", as_(BOSS)))
    await listener.until("retry:")
    await asyncio.sleep(0.7)
    assert not task.done()
    assert "still here" not in listener.text
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
