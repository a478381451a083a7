"""Older, newer and damaged shapes of the original's database, made by SQL."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import original_kit as kit
from ccflare.records import Account, Credentials, Secret, check_account_name, state_of
from ccflare.store import AccountChange, open_store
from ccflare.store.original import Step, upgrade

CURRENT = f"""
    {kit.OLD_ACCOUNTS} {kit.OLD_REQUESTS} {kit.PAYLOADS} {kit.OAUTH_SESSIONS}
    ALTER TABLE accounts ADD COLUMN rate_limited_until INTEGER;
    ALTER TABLE accounts ADD COLUMN session_start INTEGER;
    ALTER TABLE accounts ADD COLUMN session_request_count INTEGER DEFAULT 0;
    ALTER TABLE accounts ADD COLUMN paused INTEGER DEFAULT 0;
    ALTER TABLE accounts ADD COLUMN rate_limit_reset INTEGER;
    ALTER TABLE accounts ADD COLUMN rate_limit_status TEXT;
    ALTER TABLE accounts ADD COLUMN rate_limit_remaining INTEGER;
"""
FORK = """
    CREATE TABLE accounts (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, provider TEXT DEFAULT 'anthropic', api_key TEXT, refresh_token TEXT,
        access_token TEXT, expires_at INTEGER, created_at INTEGER NOT NULL, last_used INTEGER,
        request_count INTEGER DEFAULT 0, total_requests INTEGER DEFAULT 0, priority INTEGER DEFAULT 0,
        paused INTEGER DEFAULT 0, auto_fallback_enabled INTEGER DEFAULT 0, custom_endpoint TEXT,
        consecutive_rate_limits INTEGER NOT NULL DEFAULT 0, model_mappings TEXT, note TEXT NOT NULL,
        seen_at INTEGER DEFAULT (strftime('%s', 'now'))
    );
    CREATE TABLE requests (
        id TEXT PRIMARY KEY, timestamp INTEGER NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL, account_used TEXT,
        status_code INTEGER, success BOOLEAN, error_message TEXT, response_time_ms INTEGER,
        failover_attempts INTEGER DEFAULT 0, model TEXT, input_tokens INTEGER DEFAULT 0, project TEXT,
        billing_type TEXT DEFAULT 'api'
    );
    CREATE TABLE request_payloads (
        id TEXT PRIMARY KEY, json TEXT NOT NULL, timestamp INTEGER,
        FOREIGN KEY (id) REFERENCES requests(id) ON DELETE CASCADE
    );
    CREATE TABLE api_keys (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, hashed_key TEXT NOT NULL UNIQUE);
    CREATE TABLE combo_slots (
        id TEXT PRIMARY KEY, account_id TEXT NOT NULL REFERENCES accounts(id) ON DELETE CASCADE
    );
    CREATE INDEX idx_requests_account_used ON requests(account_used);
    CREATE INDEX idx_request_payloads_timestamp ON request_payloads(timestamp);
    CREATE UNIQUE INDEX idx_accounts_name_provider ON accounts(name, provider);
    CREATE INDEX mine ON requests(project);
    CREATE VIEW per_project AS SELECT project, COUNT(*) AS n FROM requests GROUP BY project;
    CREATE TABLE deleted (name TEXT);
    CREATE TRIGGER remember AFTER DELETE ON accounts BEGIN INSERT INTO deleted VALUES (old.name); END;
"""


def request(key: str, **more: Any) -> dict[str, Any]:
    return {"id": key, "timestamp": 5_000, "method": "POST", "path": "/v1/messages", **more}


def fork_account(name: str, **more: Any) -> dict[str, Any]:
    return kit.account(name, note="n", **more)


def accounts(path: Path) -> dict[str, Account]:
    """Open a database; return its accounts by id."""
    store = open_store(path)
    try:
        return {each.id: each for each in store.accounts()}
    finally:
        store.close()


def one_account(directory: Path, **row: Any) -> Account:
    """Upgrade a database that has a single account."""
    path = kit.made(directory / "ccflare.db", CURRENT, accounts=[kit.account("a", **row)])
    (found,) = accounts(path).values()
    return found


# Shapes.


@pytest.mark.parametrize("more", ["", kit.PAYLOADS, kit.OAUTH_SESSIONS])
def test_the_oldest_shape(tmp_path: Path, more: str) -> None:
    """Tables without the later columns, and missing tables, are completed; what is there stays."""
    path = kit.made(
        tmp_path / "ccflare.db",
        kit.OLD_ACCOUNTS + kit.OLD_REQUESTS + more,
        accounts=[kit.account("a", account_tier=5, request_count=3)],
        requests=[request("r", status_code=200, success=1, response_time_ms=12)],
    )
    found = accounts(path)["id-a"]
    assert (found.tier, found.request_count, found.paused, found.limited_until_ms) == (5, 3, False, None)
    assert kit.read(path, "SELECT status_code, success, response_time_ms, model, input_tokens FROM requests") == [
        (200, 1, 12, None, None)
    ]


def test_each_later_column_may_be_the_last(tmp_path: Path) -> None:
    """The original added columns one by one: every state in between opens."""
    later = CURRENT.split(kit.OAUTH_SESSIONS)[1].strip().splitlines()
    for number in range(len(later) + 1):
        script = kit.OLD_ACCOUNTS + kit.OLD_REQUESTS + "".join(later[:number])
        path = kit.made(tmp_path / f"{number}.db", script, accounts=[kit.account("a")])
        assert [each.name for each in accounts(path).values()] == ["a"]


def test_an_empty_original_opens(tmp_path: Path) -> None:
    """A database in which nothing has happened yet becomes an empty one of ours."""
    assert accounts(kit.made(tmp_path / "ccflare.db", CURRENT)) == {}


def test_another_journal_mode(tmp_path: Path) -> None:
    """A file without a write-ahead log, as a restored copy can be, is upgraded and cleaned alike."""
    path = kit.made(
        tmp_path / "ccflare.db",
        "PRAGMA journal_mode = DELETE;" + CURRENT,
        accounts=[kit.account("a")],
        request_payloads=[{"id": "1", "json": '{"request":{"headers":{"cookie":"crumbs"}}}'}],
    )
    assert [each.name for each in accounts(path).values()] == ["a"]
    assert b"crumbs" not in path.read_bytes()
    assert kit.read(kit.backups(path)[0], "SELECT COUNT(*) FROM accounts") == [(1,)]


def test_the_forks_columns_and_tables_survive(tmp_path: Path) -> None:
    """Columns and tables that we do not know keep their values, and what a user has added works on."""
    path = kit.made(
        tmp_path / "ccflare.db",
        FORK,
        accounts=[
            fork_account("a", priority=7, auto_fallback_enabled=1, model_mappings="{}", consecutive_rate_limits=2)
        ],
        requests=[request("r", model="m", input_tokens=5, project="p", billing_type="plan")],
        request_payloads=[{"id": "r", "json": "{}", "timestamp": 9}],
        api_keys=[{"id": "k", "name": "n", "hashed_key": "h"}],
        combo_slots=[{"id": "s", "account_id": "id-a"}],
    )
    found = accounts(path)["id-a"]
    assert (found.priority, found.tier, found.paused) == (7, 1, False)
    columns = "auto_fallback_enabled, model_mappings, consecutive_rate_limits, note"
    assert kit.read(path, f"SELECT {columns} FROM accounts") == [(1, "{}", 2, "n")]
    assert kit.read(path, "SELECT model, input_tokens, billing_type FROM requests") == [("m", 5, "plan")]
    assert kit.read(path, "SELECT * FROM api_keys") == [("k", "n", "h")]
    assert kit.read(path, "SELECT * FROM combo_slots") == [("s", "id-a")]
    assert kit.read(path, "SELECT id, json, timestamp FROM request_payloads") == [("r", "{}", 9)]
    assert kit.read(path, "SELECT * FROM per_project") == [("p", 1)]
    assert kit.read(path, "PRAGMA foreign_key_check") == []
    names = {name for (name,) in kit.read(path, "SELECT name FROM sqlite_schema WHERE type IN ('index', 'trigger')")}
    assert {"mine", "remember", "idx_request_payloads_timestamp"} <= names
    assert not {"idx_requests_account_used", "idx_accounts_name_provider"} & names
    store = open_store(path)
    store.add_account(Account(id="n", name="new", created_at_ms=1), Credentials("n", api_key=Secret("key")))
    store.remove_account("id-a")
    store.close()
    assert kit.read(path, "SELECT name FROM deleted") == [("a",)]


def test_rows_are_there_when_later_migrations_run(tmp_path: Path) -> None:
    """A later migration sees the original's rows; a column or table it makes is not mixed up with the fork's."""

    def first(db: sqlite3.Connection) -> None:
        texts = ["provider", "api_key", "refresh_token", "access_token"]
        texts += ["paused_by", "paused_reason", "base_url", "expired_reason"]
        numbers = ["expires_at", "created_at", "paused", "paused_at"]
        rest = [f"{name} TEXT" for name in texts] + [f"{name} INTEGER" for name in numbers]
        db.execute(f"CREATE TABLE accounts (id TEXT PRIMARY KEY, name TEXT NOT NULL, {', '.join(rest)})")
        db.execute("CREATE TABLE requests (id TEXT PRIMARY KEY, timestamp INTEGER)")

    def second(db: sqlite3.Connection) -> None:
        db.execute("ALTER TABLE requests ADD COLUMN project INTEGER DEFAULT 3")
        db.execute("CREATE TABLE api_keys (hash BLOB)")
        db.execute("CREATE TABLE sums AS SELECT COUNT(*) AS n FROM requests")
        db.execute("PRAGMA user_version = 2")

    path = kit.made(
        tmp_path / "ccflare.db",
        FORK,
        requests=[request("r", project="p"), request("s")],
        api_keys=[{"id": "k", "name": "n", "hashed_key": "h"}],
    )
    steps: list[Step] = [first, second]
    assert upgrade(path, 1.0, steps) is not None
    assert kit.read(path, "SELECT n FROM sums") == [(2,)]
    assert kit.read(path, "SELECT project, original_project FROM requests ORDER BY id") == [(3, "p"), (3, None)]
    assert kit.read(path, "SELECT * FROM api_keys") == []
    assert kit.read(path, "SELECT id, name FROM original_api_keys") == [("k", "n")]
    assert upgrade(path, 1.0, steps) is None


# Names.


def test_shared_names_are_told_apart(tmp_path: Path) -> None:
    """The oldest keeps a name, later ones get a number that no other account has; all names stay valid."""
    rows = [("work", 3), ("work", 1), ("work", 2), ("work-2", 9), ("x" * 100, 1), ("x" * 100, 2)]
    path = kit.made(
        tmp_path / "ccflare.db",
        CURRENT,
        accounts=[kit.account(name, id=str(key), created_at=at) for key, (name, at) in enumerate(rows)],
    )
    names = {key: each.name for key, each in accounts(path).items()}
    assert names == {"0": "work-4", "1": "work", "2": "work-3", "3": "work-2", "4": "x" * 100, "5": "x" * 98 + "-2"}
    assert all(check_account_name(name) for name in names.values())


def test_renamed_accounts_are_named_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The operator learns the new names."""
    rows = [kit.account("a", id="1"), kit.account("a", id="2")]
    accounts(kit.made(tmp_path / "ccflare.db", CURRENT, accounts=rows))
    assert "'a' is now 'a-2'" in caplog.messages[-1]


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("Jürgen (Büro) #1", "Jürgen (Büro) #1"),
        ("a/b", "a/b"),
        (" blanks ", "blanks"),
        ("two\nlines\x1b[2J", "two_lines_[2J"),
        ("", "account"),
        (b"bytes", "bytes"),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_names_that_would_not_be_given_today(tmp_path: Path, stored: str | bytes, shown: str) -> None:
    """Names that can be shown and typed stay, others are made so; every account can be renamed."""
    path = kit.made(tmp_path / "ccflare.db", CURRENT, accounts=[kit.account("a", name=stored)])
    assert [each.name for each in accounts(path).values()] == [shown]
    store = open_store(path)
    store.update_account("id-a", AccountChange(name="ordinary"))
    store.close()
    assert [each.name for each in accounts(path).values()] == ["ordinary"]


# Values.


def test_missing_values_become_what_a_reader_expects(tmp_path: Path) -> None:
    """NULLs in columns that have a default, and in keys, are filled; unknown tokens stay unknown."""
    script = CURRENT.replace("NOT NULL", "") + "ALTER TABLE requests ADD COLUMN input_tokens INTEGER DEFAULT 0;"
    nothing = {"provider": None, "request_count": None, "account_tier": None, "paused": None, "created_at": None}
    path = kit.made(
        tmp_path / "ccflare.db",
        script,
        accounts=[kit.account("a", id=None, session_request_count=None, **nothing), kit.account("b", id=None)],
        requests=[request("r", path=None, timestamp=None, input_tokens=None), request("s", input_tokens=0)],
    )
    first = next(each for each in accounts(path).values() if each.name == "a")
    assert first.id
    assert (first.provider, first.request_count, first.tier, first.paused) == ("anthropic", 0, 1, False)
    assert kit.read(path, "SELECT path, timestamp, input_tokens FROM requests ORDER BY id") == [
        ("", 0, None), ("/v1/messages", 5_000, 0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "stored", "read"),
    [
        ("account_tier", "free", 1),
        ("account_tier", "20", 20),
        ("expires_at", 1_755_000_000, 1_755_000_000),
        ("expires_at", 1_755_000_000_000, 1_755_000_000_000),
        ("expires_at", 1_755_000_000_000.5, 1_755_000_000_000),
        ("rate_limited_until", 1, 1),
        ("rate_limited_until", b"\x00", None),
        ("rate_limit_remaining", "many", None),
    ],
)
def test_values_of_the_wrong_kind(tmp_path: Path, column: str, stored: object, read: int | None) -> None:
    """Whole numbers stay as they are, seconds or milliseconds; what is no number counts as not there."""
    fields = {
        "account_tier": "tier", "expires_at": "expires_at_ms", "rate_limited_until": "limited_until_ms",
        "rate_limit_remaining": "rate_limit_remaining",
    }  # fmt: skip
    assert getattr(one_account(tmp_path, **{column: stored}), fields[column]) == read


def test_a_limit_that_has_passed_does_not_hold(tmp_path: Path) -> None:
    """An account whose limit lies behind is usable at once, whatever its last status word was."""
    found = one_account(tmp_path, rate_limited_until=1_000, rate_limit_status="rate_limited")
    assert state_of(found, 2_000) == "active"


# Credentials.


@pytest.mark.parametrize(
    ("row", "kind", "reason"),
    [
        ({}, "oauth", None),
        ({"refresh_token": "", "access_token": None, "api_key": "sk-ant-x"}, "api_key", None),
        ({"refresh_token": "", "access_token": None, "api_key": " sk-ant-x\n"}, "api_key", None),
        ({"refresh_token": "rt\n"}, "oauth", None),
        ({"access_token": "a b"}, "oauth", None),
        ({"refresh_token": "", "access_token": "at"}, "oauth", None),
        ({"refresh_token": "", "access_token": None}, "oauth", "neither an API key nor tokens"),
        ({"refresh_token": " ", "access_token": "", "api_key": "\n"}, "oauth", "neither an API key nor tokens"),
        ({"refresh_token": "", "access_token": None, "api_key": "sk ant"}, "api_key", "API key has characters"),
        ({"refresh_token": "r\x00t"}, "oauth", "refresh token has characters"),
        ({"refresh_token": "ключ"}, "oauth", "refresh token has characters"),
        ({"refresh_token": "", "access_token": "a\tb"}, "oauth", "access token has characters"),
    ],
)
def test_credentials_of_every_kind(tmp_path: Path, row: dict[str, Any], kind: str, reason: str | None) -> None:
    """What can be used is used; an account without a usable credential waits for a new one and says why."""
    found = one_account(tmp_path, **row)
    assert found.kind == kind
    assert state_of(found, 0) == ("expired" if reason else "active")
    assert (reason or "") in (found.expired_reason or "")
    store = open_store(tmp_path / "ccflare.db")
    held = store.credentials()["id-a"]
    store.close()
    assert reason or held.api_key or held.access_token or held.refresh_token


def test_an_unusable_access_token_is_not_kept(tmp_path: Path) -> None:
    """With a good refresh token the account only needs a new access token, and no line is logged at every start."""
    one_account(tmp_path, access_token="a b")
    assert kit.read(tmp_path / "ccflare.db", "SELECT access_token, refresh_token FROM accounts") == [(None, "rt-a")]


def test_the_forks_way_of_storing_a_key(tmp_path: Path) -> None:
    """A key that stands in the tokens' columns too is a key, and does not expire."""
    key = "sk-ant-api03-k"
    found = one_account(tmp_path, api_key=key, refresh_token=key, access_token=key, expires_at=5)
    assert (found.kind, found.expires_at_ms) == ("api_key", None)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"provider": "zai"}, "provider 'zai' is not known"),
        ({"provider": "openai-compatible", "custom_endpoint": "https://x.example"}, "provider 'openai-compatible'"),
        ({"custom_endpoint": "https://x.example"}, "custom_endpoint"),
    ],
)
def test_a_key_is_not_sent_where_it_does_not_belong(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    """Accounts of providers and addresses that are not taken over are paused with a reason."""
    path = kit.made(tmp_path / "ccflare.db", FORK, accounts=[fork_account("a", **row), fork_account("b")])
    before_ms = int(time.time() * 1000)
    found = accounts(path)
    paused = found["id-a"]
    assert (paused.paused, paused.paused_by, found["id-b"].paused) == (True, "upgrade", False)
    assert reason in (paused.paused_reason or "")
    assert before_ms <= (paused.paused_at_ms or 0) <= time.time() * 1000
    if "custom_endpoint" in row:
        assert kit.read(path, "SELECT custom_endpoint FROM accounts WHERE id = 'id-a'") == [(row["custom_endpoint"],)]


def test_an_address_that_is_none(tmp_path: Path) -> None:
    """A column of our name with another meaning does not break requests: the account is paused with a reason."""
    script = CURRENT + "ALTER TABLE accounts ADD COLUMN base_url TEXT;"
    rows = [kit.account("a", base_url="somewhere"), kit.account("b", base_url="https://x.example/v"), kit.account("c")]
    found = accounts(kit.made(tmp_path / "ccflare.db", script, accounts=rows))
    assert [each.paused_reason for each in found.values()] == ["its base_url is not an address", None, None]
    assert found["id-b"].base_url == "https://x.example/v"


def test_who_paused_an_account_before_stays_unknown(tmp_path: Path) -> None:
    """An account that the operator had paused is not said to have been paused by the upgrade."""
    found = one_account(tmp_path, provider="zai", paused=1)
    assert (found.paused, found.paused_by, found.paused_at_ms) == (True, None, None)
    assert "zai" in (found.paused_reason or "")


def test_troubled_accounts_are_named_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The operator learns which accounts need attention, and no credential."""
    one_account(tmp_path, refresh_token="rt secret")
    assert "not usable as they are (ccflare --list says why): 'a'" in caplog.text
    assert "secret" not in caplog.text


# Other tables.


def test_old_sign_ins_are_forgotten(tmp_path: Path) -> None:
    """Verifiers of flows that have ended leave the file; one that is under way stays."""
    now_ms = int(time.time() * 1000)
    flow = {"account_name": "a", "mode": "max", "created_at": 1}
    path = kit.made(
        tmp_path / "ccflare.db",
        CURRENT,
        oauth_sessions=[
            {"id": "old", "verifier": "verifier-of-old", "expires_at": now_ms - 1, **flow},
            {"id": "new", "verifier": "verifier-of-new", "expires_at": now_ms + 600_000, **flow},
        ],
    )
    accounts(path)
    assert kit.read(path, "SELECT id FROM oauth_sessions") == [("new",)]
    assert b"verifier-of-old" not in path.read_bytes()


def test_payloads_that_are_not_json_are_kept_without_keys(tmp_path: Path) -> None:
    """A broken payload keeps every other byte, whatever they are."""
    broken = b'{"request":{"headers":{"x-api-key":"clear","a":"Bearer tok.en"},"body":"\xff\x00 sk-ant-abc_1'
    path = kit.made(tmp_path / "ccflare.db", CURRENT.replace("json TEXT NOT NULL", "json TEXT"))
    with closing(sqlite3.connect(path)) as db:
        db.execute("INSERT INTO request_payloads VALUES ('1', CAST(? AS TEXT))", (broken,))
        db.execute("INSERT INTO request_payloads VALUES ('2', ''), ('3', NULL)")
        db.commit()
    accounts(path)
    kept = kit.read(path, "SELECT CAST(json AS BLOB) FROM request_payloads ORDER BY id")
    wanted = b'{"request":{"headers":{"x-api-key":"***","a":"Bearer ***"},"body":"\xff\x00 sk-ant-***'
    assert kept == [(wanted,), (b"",), (None,)]
