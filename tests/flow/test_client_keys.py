"""The proxy with client keys: who is let in, what is recorded of it, and where the key never goes."""

import asyncio
from typing import Any

import pytest

from ccflare.client_keys import digest_of
from ccflare.journal.searched import SearchedBodies
from ccflare.payload import redacted
from ccflare.records import Admission, Secret
from ccflare.wire import Headers
from flow.scripted import Client, World
from key_kit import BOSS, GONE, KEYS, WORKER, WRONG, admission, key

BODY = b'{"model":"claude-x","messages":[{"role":"user","content":"hi"}]}'
QUIET = Secret("ccf_" + "q" * 43)


def world(names: str = "ab", **settings: Any) -> World:
    """A proxy that needs keys; one of them is not to be stored."""
    made = World(names, **settings)
    found = admission()
    quiet = {digest_of(QUIET): key("quiet", store_payloads=False)}
    made.door.keys.load(Admission({**found.keys, **quiet}, {}))
    return made


def brought(secret: Secret, *more: tuple[bytes, bytes]) -> Client:
    return Client(BODY, headers=[(b"x-api-key", secret.reveal().encode()), *more])


async def refuse(made: World, client: Client) -> Any:
    await made.ask(client)
    assert made.transport.sent == []
    assert made.rows == []
    return client.json["error"]


@pytest.mark.parametrize("secret", [GONE, WRONG, Secret("dummy"), Secret("sk-ant-api03-somebodys-own-key")])
async def test_without_a_valid_key_nothing_is_sent_or_recorded(secret: Secret) -> None:
    """The answer is upstream's 401 in form; it does not repeat what was brought."""
    client = brought(secret)
    error = await refuse(world(), client)
    assert (client.status, error["type"], client.ended) == (401, "authentication_error", "clean")
    assert client.header(b"www-authenticate") is not None
    assert secret.reveal() not in client.answer.decode()


async def test_a_request_without_any_credential_is_told_how() -> None:
    error = await refuse(world(), Client(BODY, headers=[(b"accept", b"*/*")]))
    assert "a client key is needed" in error["message"]
    assert "ANTHROPIC_AUTH_TOKEN" in error["message"]


@pytest.mark.parametrize("secret", [WORKER, BOSS])
async def test_both_roles_use_the_proxy_and_their_exchanges_are_theirs(secret: Secret) -> None:
    """Upstream gets the account's credential and nothing of the client's key; the row names the key."""
    made = world()
    bearer = (b"Authorization", b"Bearer " + secret.reveal().encode())
    client = await made.ask(Client(BODY, headers=[bearer, (b"x-api-key", b"dummy")]))
    [sent], [row] = made.transport.sent, made.rows
    assert (client.status, row.client_key_id) == (200, KEYS[secret].id)
    assert sent.key == "key-a"
    assert not any(b"ccf_" in value for _, value in sent.headers)


async def test_a_key_in_other_fields_stays_here_too() -> None:
    """Fields of other gateways, repeated ones and ones with more in them; what only looks similar goes upstream."""
    made, worker = world("a"), WORKER.reveal().encode()
    kept = [(b"x-trace", b"a"), (b"X-Note", b"ccf_not-a-key"), (b"x-id", WRONG.reveal().encode())]
    strays = [(b"x-litellm-api-key", b"Bearer " + worker), (b"X-Trace", worker), (b"referer", b"/?key=" + worker)]
    client = await made.ask(brought(WORKER, *strays, *kept))
    [sent] = made.transport.sent
    assert client.status == 200
    assert [pair for pair in sent.headers if pair[0] != b"x-api-key"] == kept
    repeated = await made.ask(brought(WORKER, (b"x-trace", worker), (b"x-trace", b"a")))
    assert repeated.status == 200
    assert not any(b"ccf_" in value for _, value in made.transport.sent[1].headers)


async def test_what_was_sent_with_a_head_before_keys_were_needed_is_not_sent_again() -> None:
    """A head that came with a client key in a field of its own is remembered; later the field is taken off."""
    made, stray = World("a"), (b"x-litellm-api-key", WORKER.reveal().encode())
    first = await made.ask(brought(WORKER, stray))
    made.door.keys.load(admission())
    again = brought(WORKER, stray)
    again.memory = first.memory
    await made.ask(again)
    before, after = made.transport.sent
    assert stray in before.headers
    assert stray not in after.headers


async def test_an_address_with_the_key_in_it_is_refused() -> None:
    """It would have to be rewritten; the answer says how a key is sent, and does not repeat it."""
    target = b"/v1/messages?beta=true&api_key=" + WORKER.reveal().encode()
    made, client = world(), brought(WORKER)
    client.target = target
    error = await refuse(made, client)
    assert (client.status, error["type"]) == (400, "invalid_request_error")
    assert "x-api-key" in error["message"]
    assert WORKER.reveal() not in client.answer.decode()


async def test_without_keys_nobody_is_asked() -> None:
    """As long as there is no key, whatever clients send is let in, and no exchange has one."""
    made = World("a")
    assert (await made.ask(brought(WRONG))).status == 200
    assert made.rows[0].client_key_id is None


@pytest.mark.parametrize("own", [None, b"Bearer sk-ant-oat01-the-clients-own"])
async def test_forwarded_without_an_account_the_key_stays_here(own: bytes | None) -> None:
    """The client's own credential for upstream goes, its key for us and the dashboard's cookie do not."""
    made = world("a")
    made.pool.load([], made.now_ms)
    headers: Headers = [(b"X-Api-Key", WORKER.reveal().encode()), (b"cookie", b"a=b; ccflare_session_8080=secret")]
    headers += [(b"x-other", b"kept")] + ([(b"Authorization", own)] if own else [])
    made.transport.script[""] = []
    await made.ask(Client(BODY, headers=headers))
    [sent] = made.transport.sent
    assert sent.headers == [(b"x-other", b"kept")] + ([(b"Authorization", own)] if own else [])


async def test_a_client_key_is_no_credential_for_upstream() -> None:
    """While the accounts are limited its holder gets our 429: forwarding could only fail."""
    made = world("a")
    account = made.pool.states(made.now_ms)[0].account
    from msgspec.structs import replace

    made.pool.load([replace(account, limited_until_ms=made.now_ms + 60_000)], made.now_ms)
    assert (await made.ask(brought(WORKER))).status == 429
    assert made.transport.sent == []


async def test_what_is_said_with_a_key_may_be_left_out_of_the_record() -> None:
    """The row is there, the payload is not; another key's is."""
    made = world("a")
    await made.ask(brought(QUIET))
    await made.ask(brought(WORKER))
    assert [row.client_key_id for row in made.rows] == ["key-quiet", "key-worker"]
    assert [captured is not None for captured in made.captured] == [False, True]


async def test_the_key_is_in_no_payload() -> None:
    """Neither where it was brought, nor in other fields, the target and bodies, also somebody else's."""
    made = world("a")
    worker, boss = WORKER.reveal().encode(), BOSS.reveal().encode()
    body = BODY.replace(b"hi", worker + b" " + boss)
    headers = [(b"x-api-key", worker), (b"x-note", b"mine is " + boss)]
    await made.ask(Client(body, headers=headers, target=b"/v1/messages?hint=" + boss + b"&x=1"))
    [captured] = made.captured
    assert captured is not None
    payload = redacted(captured, lambda _coding, data: data, SearchedBodies())
    everything = f"{payload.target} {payload.request_headers} {payload.request.data!r} {made.rows}"
    assert "ccf_w" not in everything
    assert "ccf_b" not in everything
    assert len(payload.request.data) == len(body)


async def test_session_ids_of_different_keys_are_different_sessions() -> None:
    """The same id from the same address: each key's holder has their own, and each key one from any address."""
    made = world("a")
    session = (b"x-claude-code-session-id", b"one")
    for secret, address in ((WORKER, "192.0.2.1"), (BOSS, "192.0.2.1"), (WORKER, "192.0.2.2")):
        client = brought(secret, session)
        client.client = address
        await made.ask(client)
    first, other, again = [row.session for row in made.rows]
    assert first == again != other


async def test_a_good_key_is_served_at_once_while_others_fail_from_the_same_address() -> None:
    """Failures wait, by the clock; a good key neither waits nor is locked out."""
    made = world("a")
    for _ in range(8):
        await made.ask(brought(WRONG))
    assert made.clock.slept == [0.1, 0.2, 0.4, 0.8, 1.6]
    assert (await made.ask(brought(WORKER))).status == 200
    assert len(made.clock.slept) == 5


async def test_a_client_that_leaves_while_its_refusal_waits_is_forgotten() -> None:
    """Nothing waits for it any longer."""
    made = world("a")
    for _ in range(5):
        await made.ask(brought(WRONG))
    held = asyncio.Event()

    async def never(_seconds: float) -> None:
        held.set()
        await asyncio.Event().wait()

    made.door.slowdown._sleep = never
    task = asyncio.create_task(made.proxy.serve(brought(WRONG)))
    await held.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert made.door.slowdown._waiting == 0
    assert made.proxy.in_flight == 0
