"""Credentials stay where they belong: whatever goes wrong with them, nothing that people read has them in it."""

import asyncio
import json
import logging
import random
import string
import tempfile
import time
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ccflare.credentials import Keyring
from ccflare.desk import Desk
from ccflare.errors import InvalidSetting, KeyMismatch
from ccflare.oauth import Tokens, refusal
from ccflare.records import Account, Credentials, Secret
from ccflare.refresh import Ground, Refresher
from ccflare.settings import load
from ccflare.settings.load import rows
from ccflare.store import Store, open_store
from ccflare.vault import Keys

LETTERS = string.ascii_letters + string.digits + "-_."
tokens = st.text(LETTERS, min_size=12, max_size=60).map(lambda text: f"sk-ant-zq9{text}")
keys = st.text(LETTERS, min_size=12, max_size=30).map(lambda text: f"zq9{text}")
"""With letters that no word of ours begins with, so that whatever is found of them came from them."""


class Echo:
    """An endpoint that refuses a token and repeats it, as a careless one would."""

    def __init__(self, status: int, body: bytes) -> None:
        self._status, self._body = status, body

    async def refresh(self, refresh_token: Secret) -> Tokens:
        body = self._body.replace(b"TOKEN", refresh_token.reveal().encode())
        raise refusal(self._status, body, (refresh_token,), None)


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ccflare.vault.KEY_COST", 1 << 8)


class Hurried:
    """A clock whose seconds run ahead each time they are asked for."""

    def __init__(self) -> None:
        self._asked = 0

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        self._asked += 1
        return time.monotonic() + self._asked

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.001))


async def refresh_once(path: Path, endpoint: Echo) -> str:
    """Try to refresh the account, and return all that can be read about it afterwards."""
    keyring, desk = Keyring(), Desk(lambda: open_store(path))
    refresher = Refresher(Ground(endpoint, desk, Hurried(), "h"), keyring, random.Random(1))
    with closing(open_store(path)) as store:
        accounts = store.accounts()
        keyring.load(store.credentials(), accounts)
    refresher.load(accounts)
    try:
        assert await refresher.fresh(accounts[0]) is None
        told = refresher.trouble(accounts[0])
    finally:
        await refresher.close(1)
        await asyncio.to_thread(desk.close)
    with closing(open_store(path)) as store:
        after = store.accounts()
        refresher.load(after)
        return told + repr(after) + repr(store.credentials()) + repr(keyring.held("a"))


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    access=tokens,
    refresh=tokens,
    status=st.sampled_from([400, 401, 403, 429, 500]),
    reason=st.sampled_from(["invalid_grant", "invalid_client", "TOKEN", "server_error"]),
    detail=st.sampled_from(["no such token TOKEN", "TOKEN", "xTOKENx", "<html>TOKEN</html>"]),
)
def test_a_failing_refresh_tells_no_token(
    caplog: pytest.LogCaptureFixture, access: str, refresh: str, status: int, reason: str, detail: str
) -> None:
    """Whatever the endpoint answers, also the token itself: no log, no reason, no record and no repr has it."""
    caplog.clear()
    caplog.set_level(logging.DEBUG)
    body = f'{{"error": "{reason}", "error_description": "{detail}"}}'.encode()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "x.db"
        with closing(open_store(path)) as store:
            store.add_account(
                Account(id="a", name="a", kind="oauth", created_at_ms=1, expires_at_ms=1),
                Credentials("a", access_token=Secret(access), refresh_token=Secret(refresh)),
            )
        read = asyncio.run(refresh_once(path, Echo(status, body)))
    assert caplog.text
    for text in (read, caplog.text):
        assert access not in text
        assert refresh not in text


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=keys, other=keys, token=tokens)
def test_a_sealed_store_tells_neither_keys_nor_credentials(
    caplog: pytest.LogCaptureFixture, key: str, other: str, token: str
) -> None:
    """The file has no credential in it, and no refusal, log line or repr has a key or a credential."""
    caplog.clear()
    caplog.set_level(logging.DEBUG)
    texts = []
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "x.db"

        def opened(text: str) -> "closing[Store]":
            return closing(open_store(path, keys=Keys(text)))

        with opened("") as store:
            store.add_account(Account(id="a", name="a", created_at_ms=1), Credentials("a", api_key=Secret(token)))
        with opened(key) as store:
            store.unlock()
            texts.append(repr(store.credentials()) + repr(Keys(key)))
        on_disk = b"".join(each.read_bytes() for each in path.parent.iterdir())
        for wrong in {other, ""} - {key}:
            with opened(wrong) as store, pytest.raises(KeyMismatch) as refused:
                store.credentials()
            texts.append(f"{refused.value!r}{refused.value}{refused.value.__cause__!r}")
    for text in (*texts, caplog.text):
        assert not [secret for secret in (key, other, token) if secret in text]
    assert not [secret for secret in (key, other, token) if secret.encode() in on_disk]


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=keys, old=st.one_of(st.none(), keys))
def test_the_settings_never_show_a_key(tmp_path: Path, key: str, old: str | None) -> None:
    """Neither the settings' table, nor their repr, nor the refusal of a bad one has a key in it."""
    environ = {"HOME": str(tmp_path)}
    given_text = key if old is None else f"{key},{old}"
    loaded = load({}, environ | {"ccflare_SECRET_KEY": given_text}, create=False)
    assert loaded.settings.secret_key == given_text
    shown = repr(loaded) + repr(rows(loaded)) + repr(loaded.settings)
    with pytest.raises(InvalidSetting) as refused:
        load({}, environ | {"ccflare_SECRET_KEY": f"{key},{key},{key}"}, create=False)
    assert key not in shown + str(refused.value)
    assert old is None or old not in shown
    assert "***" in shown


@pytest.mark.parametrize("value", [1234567890123, ["a-list-of-secrets"], {"key": "a-dict-of-secrets"}])
def test_a_key_of_a_wrong_type_in_the_file_is_not_shown(tmp_path: Path, value: object) -> None:
    """What cannot be a key is refused without being repeated."""
    file = tmp_path / "ccflare.json"
    file.write_text(json.dumps({"secret_key": value}))
    loaded = load({}, {"HOME": str(tmp_path), "ccflare_CONFIG_PATH": str(file)}, create=False)
    assert [problem.key for problem in loaded.problems] == ["secret_key"]
    assert not [part for part in ("1234567890123", "secrets") if part in repr(loaded.problems)]
