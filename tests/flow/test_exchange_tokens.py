"""What an exchange does about tokens: waits for a fresh one, replaces a refused one once, and goes on without."""

import asyncio
from dataclasses import replace
from typing import cast

from ccflare.credentials import Keyring
from ccflare.pool import Pool
from ccflare.records import Account, Credentials, Grant, Secret
from ccflare.refresh import Refresher
from flow.scripted import Answer, Client, World, error

REFUSED = error(401, "authentication_error", "OAuth token has expired.")


class Refreshing:
    """Acts as `Refresher`: gives each account the tokens it is told to, one after the other."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self.coming: dict[str, list[str]] = {}
        self.hopeless: set[str] = set()
        self.asked: list[tuple[str, str | None]] = []
        self.reached = asyncio.Event()
        self.slow = asyncio.Event()
        self.slow.set()

    async def fresh(self, account: Account, refused: Secret | None = None) -> Secret | None:
        self.asked.append((account.name, None if refused is None else refused.reveal()))
        self.reached.set()
        await self.slow.wait()
        coming = self.coming.get(account.name)
        if not coming:
            return None
        token = Secret(coming.pop(0))
        self._keyring.adopt(Grant(Credentials(account.id, access_token=token)))
        return token

    def is_hopeless(self, account: Account) -> bool:
        return account.name in self.hopeless

    def trouble(self, account: Account) -> str:
        return f"Failed to refresh access token: of {account.name}"


class OAuthWorld(World):
    """A proxy over OAuth accounts `a`, `b`, ... whose tokens are `key-a`, `key-b`, ..."""

    def __init__(self, names: str = "ab", **settings: object) -> None:
        super().__init__(names, **settings)
        accounts = [
            Account(id=name, name=name, kind="oauth", created_at_ms=n, priority=n, expires_at_ms=self.now_ms + 60_000)
            for n, name in enumerate(names)
        ]
        self.keyring = Keyring()
        self.keyring.load({name: Credentials(name, access_token=Secret(f"key-{name}")) for name in names}, accounts)
        self.pool = Pool(session_ms=3_600_000)
        self.pool.load(accounts, self.now_ms)
        self.refreshing = Refreshing(self.keyring)
        parts = replace(
            self.proxy._parts, pool=self.pool, keyring=self.keyring, refresher=cast("Refresher", self.refreshing)
        )
        self.proxy = type(self.proxy)(parts, self.proxy.settings)

    def verdicts(self) -> list[tuple[str | None, str]]:
        return [(attempt.account_id, attempt.verdict) for attempt in self.rows[-1].attempts]


async def test_a_good_token_is_used_without_asking() -> None:
    world = OAuthWorld()
    assert (await world.ask()).status == 200
    assert world.refreshing.asked == []
    assert world.transport.sent[0].token == "key-a"


async def test_a_token_that_has_ended_is_waited_for() -> None:
    """The exchange goes on with the fresh one on the same account, and the wait is not counted as ours."""
    world = OAuthWorld()
    world.clock.passed += 61
    world.refreshing.coming = {"a": ["key-a2"]}
    client = await world.ask()
    assert (client.status, world.verdicts()) == (200, [("a", "deliver")])
    assert [sent.token for sent in world.transport.sent] == ["key-a2"]
    world.assert_quiet()


async def test_without_a_fresh_token_the_next_account_serves() -> None:
    """The attempt says why; nothing was sent for it."""
    world = OAuthWorld()
    world.clock.passed += 61
    world.refreshing.coming = {"b": ["key-b2"]}
    assert (await world.ask()).status == 200
    assert world.verdicts() == [("a", "next"), ("b", "deliver")]
    assert world.rows[0].attempts[0].reason == "Failed to refresh access token: of a"
    assert [sent.token for sent in world.transport.sent] == ["key-b2"]


async def test_when_no_token_can_be_had_the_client_is_told_why() -> None:
    """503 in the guide's shape, with the last reason."""
    world = OAuthWorld()
    world.clock.passed += 61
    client = await world.ask()
    assert client.status == 503
    assert client.json["error"] == "All accounts failed to proxy the request"
    assert client.json["lastError"] == "Failed to refresh access token: of b"
    world.assert_quiet()


async def test_a_refused_token_is_replaced_and_the_request_repeated_once() -> None:
    """401: one refresh of the token that was used, one more try on the same account, which serves."""
    world = OAuthWorld()
    world.script(a=[REFUSED])
    world.refreshing.coming = {"a": ["key-a2"]}
    assert (await world.ask()).status == 200
    assert world.refreshing.asked == [("a", "key-a")]
    assert world.verdicts() == [("a", "refresh"), ("a", "deliver")]
    assert world.states() == {"a": "active", "b": "active"}
    world.assert_quiet()


async def test_refused_again_the_account_is_not_used_any_more() -> None:
    """A second 401 marks it `auth_failed`; the next account gets its own refresh in the same exchange."""
    world = OAuthWorld("abc")
    world.script(a=[REFUSED], b=[REFUSED])
    world.transport.script |= {"key-a2": [REFUSED]}
    world.refreshing.coming = {"a": ["key-a2"], "b": ["key-b2"]}
    assert (await world.ask()).status == 200
    assert world.refreshing.asked == [("a", "key-a"), ("b", "key-b")]
    assert world.verdicts() == [("a", "refresh"), ("a", "next"), ("b", "refresh"), ("b", "deliver")]
    assert world.states() == {"a": "auth_failed", "b": "active", "c": "active"}
    world.assert_quiet()


async def test_a_refused_token_that_cannot_be_replaced_is_no_refused_account() -> None:
    """The trouble is the token endpoint's: the next account serves, and the first is tried again later."""
    world = OAuthWorld()
    world.script(a=[REFUSED])
    assert (await world.ask()).status == 200
    assert world.verdicts() == [("a", "refresh"), ("b", "deliver")]
    assert world.states() == {"a": "active", "b": "active"}


async def test_a_body_that_was_streamed_is_not_repeated() -> None:
    """The token is replaced for those who come later; this request ends, because its body is gone."""
    world = OAuthWorld("a")
    world.script(a=[REFUSED])
    world.refreshing.coming = {"a": ["key-a2"]}
    client = await world.ask(Client(b"long enough", too_long=True))
    assert client.status == 503
    assert world.refreshing.asked == [("a", "key-a")]
    assert len(world.transport.sent) == 1
    assert (await world.ask()).status == 200
    world.assert_quiet()


async def test_waiting_for_a_token_ends_with_the_exchanges_own_deadline() -> None:
    """A token endpoint that hangs costs no more than the time to the first byte."""
    world = OAuthWorld("a", connect_timeout_ms=1, first_byte_timeout_ms=50)
    world.clock.passed += 61
    world.refreshing.slow.clear()
    client = await world.ask()
    assert client.status == 503
    world.assert_quiet()


async def test_a_client_that_leaves_while_a_token_is_waited_for() -> None:
    """Nothing is left of it; the account is free and unharmed."""
    world = OAuthWorld("a")
    world.clock.passed += 61
    world.refreshing.slow.clear()
    client = Client(b"{}")
    asking = asyncio.create_task(world.proxy.serve(client))
    await world.refreshing.reached.wait()
    client.gone = True
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert world.rows[0].status_code == 499
    assert world.states() == {"a": "active"}
    world.assert_quiet()


async def test_an_ended_answer_is_not_asked_for_twice() -> None:
    """A 401 that an event stream begins with counts like one by status."""
    world = OAuthWorld("a")
    begun = b'event: error\ndata: {"type":"error","error":{"type":"authentication_error","message":"no"}}\n\n'
    world.script(a=[Answer(200, begun, content_type=b"text/event-stream")])
    world.refreshing.coming = {"a": ["key-a2"]}
    assert (await world.ask()).status == 200
    assert world.verdicts() == [("a", "refresh"), ("a", "deliver")]


async def test_an_account_without_hope_for_a_token_is_tried_last() -> None:
    """Nothing is spent on it while another one serves; when there is no other, it is the one that is told about."""
    world = OAuthWorld("ab")
    world.keyring.refuse("a", Secret("key-a"))
    world.refreshing.hopeless.add("a")
    world.script(b=[Answer()])
    await world.ask()
    assert [attempt.account_id for attempt in world.rows[0].attempts] == ["b"]
    assert world.refreshing.asked == []

    world.keyring.refuse("b", Secret("key-b"))
    world.refreshing.hopeless.add("b")
    client = await world.ask()
    assert client.status == 503
    assert {attempt.account_id for attempt in world.rows[1].attempts} == {"a", "b"}
