"""Signing in over a real store and a scripted token endpoint: what is kept, what is sent, and every way it can fail."""

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar, cast
from urllib.parse import parse_qs, urlsplit

import pytest

from ccflare.errors import (
    CcflareError,
    Conflict,
    InvalidCode,
    InvalidSetting,
    NotFound,
    RequestError,
    StoreBusy,
    TokenEndpointError,
    TokenRefused,
    TransportError,
)
from ccflare.oauth import OAuthSettings, challenge_of, without_client
from ccflare.records import Account, Binding, Credentials, Secret, state_of
from ccflare.settings import Settings
from ccflare.sign_in import FLOW_MS, Begun, NewAccount, SignIn
from ccflare.store import AccountChange, Batch, Store, open_store
from ccflare.store.flows import MOST
from ccflare.tokens import LONGEST_ANSWER_BYTES, WITHIN_S, TokenEndpoint
from ccflare.transport import Transport
from ccflare.wire import Origin
from flow.scripted import Answer, JumpingClock, ScriptedTransport

T = TypeVar("T")

CODE = "the-code-that-was-given"
ACCESS, REFRESH, KEY = "sk-ant-oat01-access", "sk-ant-ort01-refresh", "sk-ant-api03-made"


def granted(**changes: Any) -> Answer:
    said = {"access_token": ACCESS, "refresh_token": REFRESH, "expires_in": 28_800, "scope": "a"} | changes
    return Answer(200, json.dumps({key: value for key, value in said.items() if value is not None}).encode())


MADE = Answer(200, json.dumps({"raw_key": KEY}).encode())


class Person:
    """Somebody who signs in: `sign_in` over a store and a token endpoint that answers what `script` says."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.path = path
        self.store: Store = open_store(path)
        self.clock = JumpingClock()
        self.transport = ScriptedTransport(self.clock)
        self.settings = Settings(**({"client_id": "mine"} | settings))
        self.busy = 0
        """How often the store is locked after the code was sent."""
        self.meanwhile: Callable[[], object] | None = None
        """What another process does after the code was sent."""
        self.endpoint = TokenEndpoint(cast("Transport", self.transport), self.settings_of, self.clock)
        self.sign_in = SignIn(self.ask, self.endpoint, self.settings_of, self.clock)

    def settings_of(self) -> OAuthSettings:
        return OAuthSettings.of(self.settings)

    async def ask(self, question: Callable[[Store], T]) -> T:
        await asyncio.sleep(0)
        if self.transport.sent and self.meanwhile is not None:
            act, self.meanwhile = self.meanwhile, None
            act()
        if self.transport.sent and self.busy:
            self.busy -= 1
            raise StoreBusy("database is locked")
        return question(self.store)

    def script(self, *answers: Answer | TransportError) -> None:
        self.transport.script[""] = list(answers)

    async def begin(self, name: str = "me", **wanted: Any) -> Begun:
        return await self.sign_in.init(NewAccount(name=name, **wanted))

    async def complete(self, begun: Begun, code: str = CODE) -> Account:
        return await self.sign_in.complete(begun.flow_id, f"{code}#{asked(begun)['state']}")

    def sent(self, nth: int = -1) -> Any:
        return json.loads(self.transport.sent[nth].body)

    def waiting(self) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.path) as connection:
            rows = connection.execute("SELECT * FROM sign_in_flows").fetchall()
        connection.close()
        return rows

    @property
    def accounts(self) -> list[Account]:
        return self.store.accounts()

    @property
    def credentials(self) -> Credentials:
        return self.store.credentials()[self.accounts[0].id]


def asked(begun: Begun) -> dict[str, str]:
    """Return the query of the address a person is sent to."""
    return {key: values[0] for key, values in parse_qs(urlsplit(begun.auth_url).query).items()}


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    person = Person(tmp_path / "ccflare.db")
    yield person
    person.store.close()


async def test_a_subscription_becomes_an_account_with_tokens(person: Person) -> None:
    """One call exchanges the code, with the verifier of the address; what was wished for is what is stored."""
    person.script(granted())
    begun = await person.begin(priority=3, tier=20, base_url="http://127.0.0.1:9")
    account = await person.complete(begun)

    (sent,) = person.transport.sent
    assert (sent.origin, sent.target) == (Origin("https", "console.anthropic.com", 443), b"/v1/oauth/token")
    assert (sent.first_byte_s, sent.exchange_s) == (WITHIN_S, WITHIN_S)
    assert challenge_of(Secret(person.sent()["code_verifier"])) == asked(begun)["code_challenge"]
    assert person.sent()["code"] == CODE
    assert person.sent()["state"] == asked(begun)["state"]
    assert person.accounts == [account]
    assert (account.name, account.kind, account.priority, account.tier) == ("me", "oauth", 3, 20)
    assert account.base_url == "http://127.0.0.1:9"
    assert account.expires_at_ms == int(person.clock.now() * 1000) + 28_800_000
    assert person.credentials == Credentials(account.id, None, Secret(ACCESS), Secret(REFRESH))
    assert state_of(account, 0) == "active"
    assert person.waiting() == []


async def test_a_console_sign_in_becomes_an_api_key_account(person: Person) -> None:
    """The key is made with the access token; of the tokens nothing is kept."""
    person.script(granted(), MADE)
    begun = await person.begin(mode="console")
    assert begun.auth_url.startswith("https://console.anthropic.com/oauth/authorize?")
    account = await person.complete(begun)

    making = person.transport.sent[1]
    assert making.target == b"/api/oauth/claude_cli/create_api_key"
    assert dict(making.headers)[b"authorization"] == b"Bearer " + ACCESS.encode()
    assert dict(making.headers)[b"anthropic-beta"] == b"oauth-2025-04-20"
    assert (account.kind, account.expires_at_ms) == ("api_key", None)
    assert person.credentials == Credentials(account.id, api_key=Secret(KEY))
    assert person.accounts == [account]


async def test_the_state_is_random_and_only_its_hash_is_stored(person: Person) -> None:
    """Whoever reads the database cannot make the answer of a browser; the verifier never leaves for one."""
    first, second = await person.begin("one"), await person.begin("two")
    assert asked(first)["state"] != asked(second)["state"]
    assert asked(first)["code_challenge"] != asked(second)["code_challenge"]
    rows = person.waiting()
    assert {first.flow_id, second.flow_id} == {row[0] for row in rows}
    assert asked(first)["state"] not in str(rows)
    assert not any(row[3] in first.auth_url for row in rows)


async def test_a_code_works_once(person: Person) -> None:
    """Of several that bring the same code at once, one gets the account; nobody exchanges it again."""
    person.script(granted())
    begun = await person.begin()
    done = await asyncio.gather(*(person.complete(begun) for _ in range(5)), return_exceptions=True)
    assert [type(each) for each in done].count(Account) == 1
    assert [type(each) for each in done].count(NotFound) == 4
    with pytest.raises(NotFound, match="used before"):
        await person.complete(begun)
    assert len(person.transport.sent) == 1


@pytest.mark.parametrize(("waited_ms", "good"), [(FLOW_MS - 1, True), (FLOW_MS, False)])
async def test_a_sign_in_waits_ten_minutes(person: Person, waited_ms: int, good: bool) -> None:
    """To the millisecond; afterwards nothing is sent and nothing is left of it."""
    person.script(granted())
    begun = await person.begin()
    person.clock.passed += waited_ms / 1000
    if good:
        await person.complete(begun)
    else:
        with pytest.raises(NotFound, match="older than 10 minutes"):
            await person.complete(begun)
    assert len(person.transport.sent) == int(good)
    assert person.waiting() == []


async def test_a_code_of_another_sign_in_is_refused_and_the_right_one_still_works(person: Person) -> None:
    """The state decides: a foreign one spends nothing, an unknown one finds nothing, and nothing is sent."""
    mine, other = await person.begin("mine"), await person.begin("other")
    with pytest.raises(InvalidCode, match="another sign-in"):
        await person.sign_in.complete(mine.flow_id, f"{CODE}#{asked(other)['state']}")
    with pytest.raises(InvalidCode, match="another sign-in"):
        await person.sign_in.complete("\u00fc\udc80", f"{CODE}#{asked(other)['state']}")
    with pytest.raises(NotFound):
        await person.sign_in.complete(None, f"{CODE}#{'A' * 43}")
    assert person.transport.sent == []
    person.script(granted())
    await person.complete(mine)
    await person.sign_in.complete(None, f"{CODE}#{asked(other)['state']}")
    assert {account.name for account in person.accounts} == {"mine", "other"}


async def test_a_truncated_code_spends_nothing(person: Person) -> None:
    """What is no complete code never leaves the machine."""
    begun = await person.begin()
    for pasted in (CODE, f"{CODE}#", f"{CODE}#{asked(begun)['state'][:-1]}", ""):
        with pytest.raises(InvalidCode):
            await person.sign_in.complete(begun.flow_id, pasted)
    assert person.transport.sent == []
    person.script(granted())
    await person.complete(begun)


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        (NewAccount(name="taken"), Conflict),
        (NewAccount(name="a/b"), RequestError),
        (NewAccount(name="x", base_url="ftp://y"), RequestError),
    ],
)
async def test_what_cannot_be_is_found_before_the_browser(
    person: Person, wanted: NewAccount, error: type[CcflareError]
) -> None:
    """Nobody signs in for an account that cannot be added."""
    add(person, "taken")
    with pytest.raises(error):
        await person.sign_in.init(wanted)
    assert person.waiting() == []


async def test_a_name_taken_meanwhile_is_found_before_the_code_is_spent(person: Person) -> None:
    """The code is not even sent."""
    begun = await person.begin()
    add(person, "me")
    with pytest.raises(Conflict, match="already an account named 'me'"):
        await person.complete(begun)
    assert person.transport.sent == []


async def test_a_name_taken_during_the_exchange_is_said(person: Person) -> None:
    """The other account stays as it is; that tokens were given up is not kept quiet."""
    person.script(granted())
    begun = await person.begin()
    person.meanwhile = lambda: add(person, "me")
    with pytest.raises(Conflict, match=r"taken during the sign-in.*another name"):
        await person.complete(begun)
    assert [account.kind for account in person.accounts] == ["api_key"]


HUGE = Answer(200, b'{"access_token": "' + b"x" * LONGEST_ANSWER_BYTES + b'"}')


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (TransportError("first_byte_timeout", "no answer in time"), TokenEndpointError, "no answer in time"),
        (TransportError("connect_error", "refused"), TokenEndpointError, "refused"),
        (Answer(200, b"{", cut=TransportError("broken", "cut off")), TokenEndpointError, "cut off"),
        (Answer(200, b"<html>"), TokenEndpointError, "not JSON"),
        (Answer(503, b"<html>"), TokenEndpointError, "status 503"),
        (Answer(302, b"", [(b"location", b"https://elsewhere")]), TokenEndpointError, "status 302"),
        (HUGE, TokenEndpointError, "too long"),
        (Answer(200, b"x", [(b"content-encoding", b"rot13")]), TokenEndpointError, "content coding"),
        (Answer(400, b'{"error": "invalid_request"}'), TokenRefused, "invalid_request"),
        (
            Answer(400, json.dumps({"error": "invalid_grant", "error_description": f"bad {CODE}"}).encode()),
            TokenRefused,
            "invalid_grant: bad ***",
        ),
        (
            Answer(400, b'{"error": "invalid_grant", "error_description": "Invalid code_verifier"}'),
            TokenRefused,
            "Invalid code_verifier",
        ),
        (Answer(429, b"{}", [(b"retry-after", b"60")]), TokenEndpointError, "again in 60 s"),
        (granted(access_token="two words"), TokenEndpointError, "access_token"),
        (granted(refresh_token=None), TokenEndpointError, "no refresh token"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_an_exchange_that_fails_is_one_clear_line(
    person: Person,
    caplog: pytest.LogCaptureFixture,
    answer: Answer | TransportError,
    error: type[CcflareError],
    words: str,
) -> None:
    """It is said and logged in the words users grep for, without code, verifier or token; no account is left."""
    person.script(answer)
    begun = await person.begin()
    with pytest.raises(error) as failed, caplog.at_level(logging.INFO):
        await person.complete(begun)
    said = str(failed.value)
    assert said.startswith("Token exchange failed: ")
    assert words in said
    assert "again" in said
    assert said in caplog.text
    for secret in (CODE, person.sent()["code_verifier"], asked(begun)["state"], ACCESS, REFRESH, "two words"):
        assert secret not in said + caplog.text
    assert person.accounts == []
    assert all(response.discarded for response in person.transport.responses)


async def test_what_the_endpoint_asks_to_wait_is_passed_on(person: Person) -> None:
    """Programs read the seconds from the error."""
    person.script(Answer(429, b"{}", [(b"retry-after", b"60")]))
    with pytest.raises(TokenEndpointError) as failed:
        await person.complete(await person.begin())
    assert failed.value.retry_after_s == 60


async def test_tokens_without_a_lifetime_are_taken(person: Person) -> None:
    """Nobody said when they end: the account is active until a refusal shows it."""
    person.script(granted(expires_in=None))
    account = await person.complete(await person.begin())
    assert account.expires_at_ms is None
    assert state_of(account, 10**15) == "active"


async def test_a_key_that_cannot_be_made_leaves_nothing(person: Person) -> None:
    """The step that failed is named; the access token that was refused is not."""
    refused = {"type": "error", "error": {"type": "permission_error", "message": f"scope of {ACCESS}"}}
    person.script(granted(), Answer(403, json.dumps(refused).encode()))
    with pytest.raises(TokenRefused, match="API key creation failed: permission_error") as failed:
        await person.complete(await person.begin(mode="console"))
    assert ACCESS not in str(failed.value)
    assert person.accounts == []


@pytest.mark.parametrize("kind", ["oauth", "api_key"])
async def test_signing_in_again_changes_the_credentials_and_nothing_else(person: Person, kind: str) -> None:
    """Id, name, priority, pause, counters and sessions stay; what refused or ended the account is forgotten."""
    account = add(person, "me", oauth=kind == "oauth", priority=7)
    person.store.update_account(account.id, AccountChange(paused=True, paused_by="cli"))
    bound = Binding("session", account.id, 5, 5)
    person.store.write(
        Batch(accounts=[Account(id=account.id, name="me", created_at_ms=1, auth_failed_reason="401")], bindings=[bound])
    )
    with sqlite3.connect(person.path) as connection:
        connection.execute("UPDATE accounts SET expired_reason = 'invalid_grant', request_count = 12")
    connection.close()
    person.script(granted(), MADE)

    begun = await person.sign_in.init_again(account.id)
    assert begun.auth_url.startswith("https://claude.ai/" if kind == "oauth" else "https://console.anthropic.com/")
    after = await person.complete(begun)

    assert [after] == person.accounts
    assert (after.id, after.name, after.kind, after.priority) == (account.id, "me", kind, 7)
    assert (after.paused, after.paused_by, after.request_count, after.created_at_ms) == (True, "cli", 12, 1)
    assert (after.expired_reason, after.auth_failed_reason) == (None, None)
    assert person.store.bindings(bound_since_ms=0) == [bound]
    secrets = person.credentials
    assert secrets.api_key == (None if kind == "oauth" else Secret(KEY))
    assert secrets.refresh_token == (Secret(REFRESH) if kind == "oauth" else None)


async def test_signing_in_again_needs_the_account(person: Person) -> None:
    """An unknown account, and one that goes away before the code comes, are said; nothing is sent or added."""
    with pytest.raises(NotFound):
        await person.sign_in.init_again("nobody")
    account = add(person, "me", oauth=True)
    begun = await person.sign_in.init_again(account.id)
    person.store.remove_account(account.id)
    with pytest.raises(NotFound):
        await person.complete(begun)
    assert person.transport.sent == []
    assert person.accounts == []


async def test_a_renamed_account_is_still_the_one_that_is_signed_in_again(person: Person) -> None:
    """The sign-in belongs to the account, not to its name."""
    account = add(person, "me", oauth=True)
    begun = await person.sign_in.init_again(account.id)
    person.store.update_account(account.id, AccountChange(name="you"))
    person.script(granted())
    assert (await person.complete(begun)).name == "you"


async def test_a_locked_database_does_not_lose_what_was_granted(person: Person) -> None:
    """The code is spent: writing is tried again for a while, then it is said."""
    person.script(granted())
    person.busy = 5
    assert (await person.complete(await person.begin())).name == "me"
    person.busy = 10**6
    person.transport.sent.clear()
    begun = await person.begin("other")
    with pytest.raises(StoreBusy):
        await person.complete(begun)
    assert person.clock.passed < 60


async def test_without_an_oauth_client_nothing_begins_and_nothing_is_spent(person: Person) -> None:
    """CLIENT_ID that goes away between the two steps leaves the sign-in as it was."""
    begun = await person.begin()
    client, person.settings = person.settings, Settings()
    for step in (person.begin("other"), person.complete(begun), person.endpoint.refresh(Secret("r"))):
        with pytest.raises(InvalidSetting, match="CLIENT_ID"):
            await step
    assert len(person.waiting()) == 1
    person.settings = client
    person.script(granted())
    await person.complete(begun)


async def test_a_damaged_verifier_is_named(person: Person) -> None:
    """What cannot be a verifier any more is said in the words users know, and not sent."""
    for damage in ("short", "", "with blanks"):
        begun = await person.begin()
        with sqlite3.connect(person.path) as connection:
            connection.execute("UPDATE sign_in_flows SET verifier = ?", (damage,))
        connection.close()
        with pytest.raises(TokenRefused, match="Token exchange failed: Invalid code_verifier"):
            await person.complete(begun)
    assert person.transport.sent == []


async def test_waiting_sign_ins_are_bounded(person: Person) -> None:
    """The oldest gives way; expired ones are gone with the next."""
    begun = []
    for _ in range(MOST + 1):
        begun.append(await person.begin())
        person.clock.passed += 0.001
    assert {row[0] for row in person.waiting()} == {each.flow_id for each in begun[1:]}
    person.clock.passed += FLOW_MS / 1000
    await person.begin()
    assert len(person.waiting()) == 1


async def test_a_refresh_asks_for_new_tokens(person: Person) -> None:
    """The refresh token goes to the token endpoint as JSON; what it cannot be used for any more is final."""
    person.script(granted(refresh_token=None), Answer(400, b'{"error": "invalid_grant"}'))
    tokens = await person.endpoint.refresh(Secret("old"))
    assert person.sent() == {"grant_type": "refresh_token", "refresh_token": "old", "client_id": "mine"}
    assert (tokens.access_token, tokens.refresh_token) == (Secret(ACCESS), None)
    assert dict(person.transport.sent[0].headers)[b"content-type"] == b"application/json"
    with pytest.raises(TokenRefused) as refused:
        await person.endpoint.refresh(Secret("old"))
    assert refused.value.reason == "invalid_grant"


def add(person: Person, name: str, *, oauth: bool = False, priority: int = 0) -> Account:
    """Put an account into the store, as another process would."""
    account = Account(
        id=f"id-{name}", name=name, kind="oauth" if oauth else "api_key", created_at_ms=1, priority=priority
    )
    secrets = Credentials(
        account.id,
        None if oauth else Secret("old-key"),
        Secret("old-access") if oauth else None,
        Secret("old-refresh") if oauth else None,
    )
    person.store.add_account(account, secrets)
    return account


# Whoever leaves.


async def test_a_person_who_leaves_gets_the_account_all_the_same(
    person: Person, caplog: pytest.LogCaptureFixture
) -> None:
    """The code is spent once it was taken: a caller that is cancelled does not stop what comes of it."""
    caplog.set_level(logging.INFO)
    person.script(granted())
    asking = asyncio.create_task(person.complete(await person.begin()))
    await person.transport.reached.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert person.accounts == []
    await person.sign_in.close(5)
    assert [account.name for account in person.accounts] == ["me"]
    assert person.credentials.refresh_token == Secret(REFRESH)
    assert "Account me was signed in to" in caplog.text


async def test_what_fails_after_a_person_has_left_is_logged(person: Person, caplog: pytest.LogCaptureFixture) -> None:
    """There is nobody else to be told."""
    person.script(Answer(400, b'{"error": "invalid_grant"}'))
    asking = asyncio.create_task(person.complete(await person.begin()))
    await person.transport.reached.wait()
    asking.cancel()
    await asyncio.wait((asking,))
    await person.sign_in.close(5)
    assert "Account me was not signed in to: Token exchange failed: invalid_grant" in caplog.text


async def test_stopping_gives_up_a_sign_in_that_hangs(person: Person) -> None:
    """A token endpoint that says nothing does not keep a server from ending."""
    person.transport.hang = True
    asking = asyncio.create_task(person.complete(await person.begin()))
    await person.transport.reached.wait()
    await asyncio.wait_for(person.sign_in.close(0.05), 5)
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert person.accounts == []


async def test_what_works_once_is_sent_once(person: Person) -> None:
    """Codes and refresh tokens go over connections on which nothing is repeated."""
    person.script(granted(), MADE, granted())
    await person.complete(await person.begin(mode="console"))
    await person.endpoint.refresh(Secret("old"))
    assert [sent.once for sent in person.transport.sent] == [True] * 3


async def test_without_an_oauth_client_a_refresh_says_where_it_is_missing(person: Person) -> None:
    """The server needs it, not only the command that signed in."""
    person.settings = Settings()
    with pytest.raises(InvalidSetting, match="refreshing tokens needs your OAuth client: set CLIENT_ID for the server"):
        await person.endpoint.refresh(Secret("r"))


@pytest.mark.parametrize(
    ("client_id", "kind", "told"), [("", "oauth", True), ("c", "oauth", False), ("", "api_key", False)]
)
def test_tokens_without_an_oauth_client_are_told(client_id: str, kind: Literal["oauth", "api_key"], told: bool) -> None:
    """Only accounts with tokens need one."""
    account = Account(id="a", name="a", kind=kind, created_at_ms=1)
    assert ("CLIENT_ID is not set" in (without_client(client_id, [account]) or "")) == told
