"""`ccflare doctor`: what is wrong stands on top, nothing breaks it, nothing secret is in it."""

import json
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from ccflare.cli import main
from ccflare.client_keys import digest_of
from ccflare.doctor.client_keys import judge_client_keys
from ccflare.doctor.report import Part, ask_all
from ccflare.errors import StoreError
from ccflare.forecast import AccountWindows, KeptWindow, Sample
from ccflare.records import Account, Credentials, Secret
from ccflare.settings import Settings
from ccflare.store import Batch, Store, open_store
from ccflare.store.tokens import Lease
from ccflare.vault import Keys
from harness import Home, Upstream, ask, running
from key_kit import BOSS, GONE, KEYS, WORKER, admission

KEY = "sk-ant-api03-very-secret"
HOUR = 3_600_000
FIXTURE = Path(__file__).parent.parent / "fixtures" / "original-ccflare.db"

PARTS = {
    *("system", "settings", "environment", "process", "port", "health"),
    *("database", "files", "accounts", "credentials", "client_keys", "last_hour", "errors", "rate_limits"),
}


class Found(NamedTuple):
    """What the doctor said."""

    status: int
    report: dict[str, Any]
    text: str

    def findings(self, severity: str) -> list[str]:
        """The messages of one severity."""
        return [each["message"] for each in self.report["findings"] if each["severity"] == severity]


Doctor = Callable[..., Found]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home directory and a port where nobody is or comes, in an environment that says nothing else."""
    for name in list(os.environ):
        if name.upper().startswith(("CCFLARE_", "ANTHROPIC_", "LOG_", "LB_")) or "PROXY" in name.upper():
            monkeypatch.delenv(name)
    tmp_path.chmod(0o700)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PORT", str(unused.getsockname()[1]))
        yield tmp_path


@pytest.fixture
def doctor(home: Path, capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Runs `ccflare doctor` for programs and for people."""

    def run(*options: str) -> Found:
        status = main(["doctor", "--json", *options])
        report, complaints = capsys.readouterr()
        assert complaints == ""
        assert main(["doctor", *options]) == status
        text, complaints = capsys.readouterr()
        assert complaints == ""
        return Found(status, json.loads(report), text)

    return run


@pytest.fixture
def path(home: Path) -> Path:
    """Where the database is."""
    return home / ".config" / "ccflare" / "ccflare.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    """The database that the doctor looks at."""
    opened = open_store(path)
    yield opened
    opened.close()


def put(store: Store, name: str, **fields: Any) -> Account:
    """Add an account in whatever condition."""
    count = store.counts().accounts
    made = msgspec.structs.replace(Account(id=f"id-{name}", name=name, created_at_ms=1_000 + count), **fields)
    secrets = {"api_key" if made.kind == "api_key" else "refresh_token": Secret(KEY)}
    store.add_account(made, Credentials(made.id, **secrets))
    store.write(Batch(accounts=[made]))
    return made


def write_log(home: Path, *lines: str) -> None:
    """Write a log as a server does, its lines a minute old."""
    (home / "ccflare-logs").mkdir(mode=0o700)
    ts = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() - 60))
    (home / "ccflare-logs" / "app.log").write_text("".join(f"[{ts}] {line}\n" for line in lines))
    (home / "ccflare-logs" / "app.log").chmod(0o600)


@contextmanager
def listening(answer: bytes) -> Iterator[int]:
    """Another program on a port, which says the same to everyone."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    if answer:
                        connection.recv(4096)
                        connection.sendall(answer)
                    else:
                        time.sleep(0.1)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            server.close()
            thread.join(5)


# A sound installation.


def test_a_healthy_installation(tmp_path: Path) -> None:
    """With a server that serves nothing is wrong, and everything that helps is told."""
    upstream = Upstream("alpha")
    home = Home(tmp_path / "home")
    home.path.mkdir(mode=0o700)
    try:
        home.add_accounts(upstream, "alpha")
        with running(home) as server:
            server.wait_until_accounts(1)
            assert ask(server.port).status == 200
            home.rows_when(1)
            done = home.ccflare("doctor", "--json", "--port", str(server.port), check=False)
            report = json.loads(done.stdout)
            pid = server.process.pid
            shown = home.ccflare("doctor", "--port", str(server.port)).stdout
    finally:
        upstream.close()
    assert (done.returncode, report["ok"]) == (0, True), report["findings"]
    assert {each["severity"] for each in report["findings"]} <= {"note"}
    assert set(report) == {"taken_at", "ok", "findings", *PARTS}
    assert [part for part in PARTS if "error" in report[part]] == []
    assert {"state": "ccflare", "owner": {"pid": pid, "program": report["port"]["owner"]["program"]}}.items() <= (
        report["port"].items()
    )
    assert pid in [each["pid"] for each in report["process"]["servers"]]
    assert (report["health"]["running"], report["health"]["status"]) == (True, "ok")
    database = report["database"]
    assert (database["integrity"], database["rows"]["requests"], database["auto_vacuum"]) == ("ok", 1, "incremental")
    assert database["oldest_request"] == database["newest_request"] is not None
    assert [(each["name"], each["state"]) for each in report["accounts"]["accounts"]] == [("account-1", "active")]
    assert "account-1" in shown
    assert "alpha" not in done.stdout + shown


def test_a_server_on_another_port_may_be_another_installation(tmp_path: Path, doctor: Doctor) -> None:
    """It is named with its port, and taken neither for this installation's server nor for who has its port."""
    other = Home(tmp_path / "other")
    other.path.mkdir(mode=0o700)
    with running(other) as server:
        found = doctor()
        asked = doctor("--port", str(server.port))
    assert found.report["health"] == {"running": False}
    assert (found.report["port"]["state"], found.report["port"]["owner"]) == ("free", None)
    assert [each for each in found.findings("note") if each.endswith("it may be another installation's")]
    assert asked.report["health"]["running"] is True


def test_no_database_is_told_and_not_made(doctor: Doctor, home: Path) -> None:
    """Looking makes nothing: no database, no settings file, no log."""
    found = doctor()
    assert found.status == 1
    assert found.findings("error") == ["There are no accounts"]
    assert any("There is no database" in each for each in found.findings("note"))
    assert "error    There are no accounts -> add one: ccflare --add-account NAME --api-key" in found.text
    assert set(found.report) == {"taken_at", "ok", "findings", *PARTS}
    assert list(home.iterdir()) == []


def test_the_original_database_is_left_as_it_is(doctor: Doctor, path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True)
    path.write_bytes(FIXTURE.read_bytes())
    found = doctor()
    assert found.report["database"]["belonging"] == "original"
    assert path.read_bytes() == FIXTURE.read_bytes()
    assert any("original program's database" in each for each in found.findings("note"))


# What is wrong.


def test_a_damaged_database_is_an_error_with_advice(doctor: Doctor, store: Store, path: Path) -> None:
    for index in range(200):
        put(store, f"account number {index}")
    store.close()
    with path.open("r+b") as file:
        for page in range(2, path.stat().st_size // 4096):
            file.seek(page * 4096)
            file.write(b"\xff" * 64)
    found = doctor()
    assert found.status == 1
    assert any(each.startswith("The database is damaged") for each in found.findings("error"))
    assert ".recover" in found.text


def test_a_file_that_is_no_database_is_an_error(doctor: Doctor, path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True)
    path.write_bytes(b"not a database" * 1000)
    found = doctor()
    assert any("is not ccflare's database" in each for each in found.findings("error"))


def test_a_locked_database_is_a_finding_and_the_rest_is_told(doctor: Doctor, store: Store, path: Path) -> None:
    put(store, "a")
    store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("UPDATE accounts SET priority = 1")
        started = time.monotonic()
        found = doctor()
        assert time.monotonic() - started < 10
    assert found.findings("error") == ["The database is locked (database is locked)"]
    assert found.report["accounts"] == {"error": "not known: the database is locked"}
    assert found.report["system"]["ccflare"]


def test_a_newer_database_is_an_error(doctor: Doctor, store: Store, path: Path) -> None:
    store.close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 9999")
    found = doctor()
    assert found.findings("error") == ["The database was written by a newer ccflare (schema 9999)"]


def test_a_database_that_another_program_holds_is_an_error(doctor: Doctor, store: Store, path: Path) -> None:
    """It can be read, so that all is told, but nothing can be recorded."""
    put(store, "a")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        found = doctor()
    assert found.findings("error") == ["Another program holds the database: nothing can be recorded or changed"]
    assert found.report["accounts"]["total"] == 1


def test_a_directory_in_the_place_of_the_database_is_an_error(doctor: Doctor, path: Path) -> None:
    path.mkdir(parents=True)
    found = doctor()
    assert "~/.config/ccflare/ccflare.db is not a file" in found.findings("error")
    assert "set ccflare_DB_PATH to the path of a file" in found.text


# Credentials.


@pytest.fixture
def encrypted(store: Store, path: Path) -> Path:
    """The database with an account whose credential is under the key `open-sesame`."""
    put(store, "a")
    store.close()
    with closing(open_store(path, keys=Keys("open-sesame"))) as sealed:
        sealed.unlock()
    return path


@pytest.mark.parametrize(
    ("key", "state", "advice"),
    [
        ("", "missing", "set it to the key that they are under; when it is lost,"),
        ("wrong-key", "wrong", "set the right one, or NEW,OLD to change it; when it is lost,"),
        ("open-sesame", "fits", ""),
        ("new-key-1,open-sesame", "fits", "they are moved under the first one at the next start"),
    ],
)
def test_a_key_that_does_not_fit_is_an_error(
    doctor: Doctor, encrypted: Path, monkeypatch: pytest.MonkeyPatch, key: str, state: str, advice: str
) -> None:
    """Whether the server could start with these settings is told, and nothing is changed by trying."""
    before = encrypted.read_bytes()
    if key:
        monkeypatch.setenv("ccflare_SECRET_KEY", key)
    found = doctor()
    assert (found.report["credentials"]["encrypted"], found.report["credentials"]["key"]) == (True, state)
    told = [each for each in found.report["findings"] if "ccflare_SECRET_KEY" in each["message"]]
    assert [each["severity"] for each in told] == ([] if not advice else ["note" if state == "fits" else "error"])
    assert advice in "".join(each["advice"] for each in told)
    assert encrypted.read_bytes() == before
    assert "sesame" not in found.text


def test_credentials_in_clear_are_encrypted_at_the_next_start_and_not_now(
    doctor: Doctor, store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a")
    store.close()
    assert not [each for each in doctor().findings("note") if "in clear" in each]
    monkeypatch.setenv("ccflare_SECRET_KEY", "open-sesame")
    found = doctor()
    assert "The credentials of 1 accounts are stored in clear" in found.findings("note")
    assert "they are encrypted at the next start" in found.text
    assert KEY.encode() in path.read_bytes()


def test_a_copy_from_before_encryption_is_warned_of(
    doctor: Doctor, encrypted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upgrade of the original program's database leaves a copy, with the credentials that it had."""
    monkeypatch.setenv("ccflare_SECRET_KEY", "open-sesame")
    assert doctor().findings("warning") == []
    copy = encrypted.with_name("ccflare.db.backup-20260101-000000")
    copy.touch(mode=0o600)
    assert [each for each in doctor().findings("warning") if copy.name in each]


def test_tokens_that_cannot_be_refreshed_for_want_of_a_client_are_an_error(
    doctor: Doctor, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Key accounts need none."""
    put(store, "a")
    assert doctor().findings("error") == []
    put(store, "b", kind="oauth", expires_at_ms=4_000_000_000_000)
    found = doctor()
    assert found.findings("error") == ["CLIENT_ID is not set: the tokens of 1 OAuth account cannot be refreshed"]
    assert "set CLIENT_ID for the server" in found.text
    monkeypatch.setenv("CLIENT_ID", "a-client-of-mine")
    assert doctor().findings("error") == []


def test_an_account_whose_token_ended_and_cannot_be_refreshed_is_told(
    doctor: Doctor, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its state is active; it cannot serve all the same, and when it is the only one nothing can."""
    monkeypatch.setenv("CLIENT_ID", "a-client-of-mine")
    put(store, "a", kind="oauth", expires_at_ms=2_000)
    assert doctor().findings("warning") == []
    store.tokens.fail(Lease("id-a", "h", 0), "the endpoint is down", 3_000)
    found = doctor()
    [told] = found.findings("warning")
    assert told.startswith("account-1 cannot serve")
    assert "the endpoint is down" in told
    assert found.findings("error") == ["No account can serve requests: 1 without a good token"]
    assert found.status == 1


def test_addresses_of_sign_ins_are_shown(doctor: Doctor, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are no secrets, although their names have `token` and `key` in them."""
    monkeypatch.setenv("CCFLARE_OAUTH_TOKEN_URL", "http://localhost:9/v1/oauth/token")
    write_log(home, "ERROR: [TokenManager] Token refresh failed: http://localhost:9/v1/oauth/token is down")
    found = doctor()
    changed = {each["name"]: each["value"] for each in found.report["settings"]["changed"]}
    assert changed["oauth_token_url"] == "http://localhost:9/v1/oauth/token"
    assert found.report["errors"]["entries"][0]["message"].endswith("http://localhost:9/v1/oauth/token is down")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        b"",
        b"\x00garbage\r\n",
        b'HTTP/1.1 200 OK\r\n\r\n{"status":1}',
    ],
    ids=["a web server", "says nothing", "garbage", "other JSON"],
)
def test_a_port_taken_by_another_program_is_an_error(doctor: Doctor, store: Store, answer: bytes) -> None:
    put(store, "a")
    with listening(answer) as port:
        found = doctor("--port", str(port))
    assert [each for each in found.findings("error") if each.startswith(f"Port {port} is taken by another")]
    assert found.report["port"]["state"] == "other"
    assert found.report["port"]["owner"]["pid"] == os.getpid()
    assert found.report["health"] == {"running": False}


def test_accounts_that_cannot_serve_are_told_with_the_time_they_return(doctor: Doctor, store: Store) -> None:
    far = 4_000_000_000_000
    put(store, "a", limited_until_ms=far, limited_reason="5h window", rate_limit_status="rejected")
    put(store, "b", auth_failed_reason="401 invalid x-api-key")
    found = doctor()
    assert found.findings("error") == ["No account can serve requests: 1 rate_limited, 1 auth_failed"]
    assert "the first is back at 2096-10-02T07:06:40Z" in found.text
    assert "The credential of account-2 was refused (401 invalid x-api-key)" in found.findings("warning")


OPEN = Settings(host="0.0.0.0", open_without_keys=True)


@pytest.mark.parametrize(
    ("settings", "keys", "told"),
    [
        (Settings(), (), ""),
        (Settings(), (BOSS, WORKER), ""),
        (Settings(), (WORKER,), "note: There is no client key of role admin: nobody can use the dashboard and the API"),
        (Settings(), (GONE,), "error: A client key is needed and there is none: nobody is let in"),
        (Settings(host="0.0.0.0"), (), "error: A client key is needed and there is none: nobody is let in"),
        (OPEN, (), "warning: Other machines may use the accounts without a key"),
        (OPEN, (BOSS,), ""),
    ],
)
def test_who_is_let_in_is_judged(settings: Settings, keys: Sequence[Secret], told: str) -> None:
    """Whether anybody is, whether everybody is, and whether the dashboard is of use."""
    part = judge_client_keys(settings, admission(*(KEYS.keys() - set(keys))))
    assert [f"{each.severity}: {each.message}" for each in part.findings] == ([told] if told else [])
    assert sum(part.facts[name] for name in ("proxy", "admin", "revoked")) == len(keys)


def test_who_is_let_in_is_told(doctor: Doctor, store: Store) -> None:
    """With numbers; no key and no name is shown."""
    store.client_keys.add(KEYS[WORKER], digest_of(WORKER))
    found = doctor()
    assert found.report["client_keys"] == {"needed": True, "proxy": 1, "admin": 0, "revoked": 0}
    assert any("no client key of role admin" in message for message in found.findings("note"))
    assert "worker" not in found.text


def test_windows_are_shown_with_their_forecast(doctor: Doctor, store: Store) -> None:
    now_ms = int(time.time() * 1000)
    put(store, "a")
    samples = (Sample(now_ms - 30 * 60_000, 0.5), Sample(now_ms, 0.8))
    window = KeptWindow("5h", now_ms, 0.8, "allowed", now_ms + 3 * HOUR, samples)
    store.write(Batch(windows=[AccountWindows("id-a", now_ms, (window,))]))
    found = doctor()
    (shown,) = found.report["accounts"]["accounts"][0]["windows"]
    assert (shown["name"], shown["utilization"], shown["status"]) == ("5h", 0.8, "allowed")
    assert shown["runs_out_at"] < shown["reset"]
    assert any(each.startswith("At the pace of the last hour the 5h window") for each in found.findings("note"))
    assert "5h 80%" in found.text


def test_files_that_others_may_use_are_warned_of(doctor: Doctor, store: Store, path: Path) -> None:
    put(store, "a")
    path.chmod(0o644)
    path.parent.chmod(0o777)
    found = doctor()
    warnings = " ".join(found.findings("warning"))
    assert "ccflare.db (mode 0644)" in warnings
    assert "may change ~/.config/ccflare (mode 0777)" in warnings
    assert f"chmod 600 {'~'}/.config/ccflare/ccflare.db" in found.text


def test_directories_that_cannot_be_written_are_errors(
    doctor: Doctor, store: Store, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file where a directory has to be: true for every user."""
    put(store, "a")
    (home / "file").touch()
    monkeypatch.setenv("CCFLARE_LOG_DIR", str(home / "file" / "logs"))
    assert "The log directory ~/file/logs cannot be written" in doctor().findings("error")


def test_payloads_beyond_their_budget_are_warned_of(
    doctor: Doctor, store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a")
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("INSERT INTO payload_groups VALUES ('g', 1, 5000000)")
    assert doctor().findings("warning") == []
    monkeypatch.setenv("CCFLARE_PAYLOAD_BUDGET_BYTES", "1000000")
    assert doctor().findings("warning") == ["Kept headers and bodies take 5 MB, more than they may"]


def test_a_port_that_cannot_be_is_told(doctor: Doctor, store: Store) -> None:
    put(store, "a")
    assert doctor("--port", "99999").findings("error")[0].startswith("port: 99999 is not")


@pytest.mark.parametrize(
    ("variable", "value", "severity", "message"),
    [
        ("LB_STRATEGY", "dice", "error", "Invalid strategy: dice"),
        ("HTTPS_PROXY", "ftp://u:hidden-word@p", "error", "https_proxy: the value is not"),
        ("HTTPS_PROXI", "http://proxy:1", "warning", "HTTPS_PROXI is set and not used"),
        ("ALL_PROXY", "http://proxy:1", "note", "ALL_PROXY is set and not used"),
        ("CCFLARE_PROT", "1", "warning", "CCFLARE_PROT is not a variable of ccflare's"),
    ],
)
def test_variables_that_do_not_do_what_was_meant_are_told(  # one for each part
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, severity: str, message: str
) -> None:
    monkeypatch.setenv(variable, value)
    found = doctor()
    assert [each for each in found.findings(severity) if each.startswith(message)]
    assert "hidden-word" not in found.text


def test_a_broken_settings_file_is_an_error(doctor: Doctor, home: Path) -> None:
    (home / ".config" / "ccflare").mkdir(parents=True, mode=0o700)
    (home / ".config" / "ccflare" / "ccflare.json").write_text("{")
    found = doctor()
    assert any(each.startswith("Failed to parse config file: ~/.config/ccflare") for each in found.findings("error"))


def test_settings_that_are_not_the_defaults_are_shown_with_their_origin(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRY_ATTEMPTS", "7")
    monkeypatch.setenv("RETRY_DELAY_MS", "1000")
    changed = {each["name"]: each for each in doctor().report["settings"]["changed"]}
    assert changed["retry_attempts"] == {"name": "retry_attempts", "value": 7, "origin": "environment RETRY_ATTEMPTS"}
    assert "retry_delay_ms" not in changed


def test_recent_errors_and_rate_limits_come_from_the_log(doctor: Doctor, home: Path) -> None:
    write_log(
        home,
        "ERROR: [async-db-writer] Failed to execute DB job: disk full",
        "INFO: [Proxy] Account a is rate limited until 2026-01-01T00:00:00.000Z: rate_limited by its 5h window",
        "INFO: [Proxy] Request completed for a: 200 in 12ms",
    )
    old = "[2020-01-01T00:00:00.000Z] ERROR: [Proxy] long ago\n"
    log = home / "ccflare-logs" / "app.log"
    log.write_text(old + log.read_text())
    found = doctor()
    assert [each["message"] for each in found.report["errors"]["entries"]] == ["Failed to execute DB job: disk full"]
    limits = [each["message"] for each in found.report["rate_limits"]["entries"]]
    assert limits == ["Account *** is rate limited until 2026-01-01T00:00:00.000Z: rate_limited by its 5h window"]
    assert any(each.startswith("Errors were logged") for each in found.findings("warning"))


# Safe to paste.


PLANTED = ("planted-env-key", "planted-proxy-word", "planted-url-word", "planted-log-word", "sk-ant-api03-very")
PRIVATE = ("jane.doe@corp.example", "gateway.corp.example", "proxy.corp.example", "10.20.30.40", "holiday in Rome")


def test_no_secret_and_nobody_is_in_the_report(
    doctor: Doctor, store: Store, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted everywhere: variables, settings, addresses, names, reasons, log lines."""
    monkeypatch.setenv("ccflare_SECRET_KEY", "planted-env-key")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "planted-env-key-2")
    monkeypatch.setenv("CLIENT_ID", "planted-env-key-3")
    monkeypatch.setenv("CCFLARE_UNKNOWN", "planted-env-key-4")
    monkeypatch.setenv("HTTPS_PROXY", "http://jane:planted-proxy-word@proxy.corp.example:3128")
    monkeypatch.setenv("NO_PROXY", "gateway.corp.example,10.20.30.40")
    settings = home / ".config" / "ccflare" / "ccflare.json"
    settings.write_text(json.dumps({"port": KEY, "nonsense": "planted-env-key", "lb_strategy": KEY}))
    url = "https://jane:planted-url-word@gateway.corp.example/team"
    put(store, "jane.doe@corp.example", base_url=url, auth_failed_reason=f"401 for {KEY} of jane.doe@corp.example")
    put(store, "spare", paused=True, paused_reason="holiday in Rome")
    write_log(
        home,
        f"ERROR: [Proxy] Failed to process request with account jane.doe@corp.example: {KEY}",
        "WARN: [Proxy] x-api-key: planted-log-word from 10.20.30.40 rate limited",
        "ERROR: [TokenManager] Token refresh failed: https://gateway.corp.example/t?code=planted-log-word",
        f"ERROR: [Store] {home}/.config/ccflare/ccflare.db: rate_limited planted-env-key",
    )
    found = doctor()
    shown = found.text + json.dumps(found.report)
    assert [word for word in (*PLANTED, *PRIVATE, str(home)) if word in shown] == []
    assert len(found.report["errors"]["entries"]) == 4
    assert len(found.report["rate_limits"]["entries"]) == 2
    with_names = doctor("--names")
    shown = with_names.text + json.dumps(with_names.report)
    assert [word for word in PLANTED if word in shown] == []
    assert "jane.doe@corp.example" in with_names.text


def test_a_stored_credential_of_any_form_is_masked(doctor: Doctor, store: Store, home: Path) -> None:
    """Also one that does not look like a key."""
    account = Account(id="x", name="x", created_at_ms=1)
    store.add_account(account, Credentials("x", api_key=Secret("correcthorsebattery")))
    write_log(home, "ERROR: [Proxy] upstream repeated correcthorsebattery to us")
    found = doctor()
    assert "correcthorse" not in found.text + json.dumps(found.report)
    assert found.report["errors"]["entries"][0]["message"] == "upstream repeated *** to us"


def test_the_report_cannot_steer_the_terminal(doctor: Doctor, store: Store) -> None:
    put(store, "a", rate_limit_status="\x1b]0;owned\x07")
    assert "\x1b" not in doctor().text


# The parts.


def test_a_part_that_fails_or_hangs_is_told_and_the_others_are_there() -> None:
    release = threading.Event()

    def broken() -> Part:
        raise KeyError("x")

    def refused() -> Part:
        raise StoreError("no such thing")

    def hanging() -> Part:
        release.wait(10)
        return Part({})

    parts = ask_all(
        {"one": broken, "two": refused, "the_third": hanging, "four": lambda: Part({"fine": 1})}, within_s=0.3
    )
    release.set()
    assert parts["one"].facts == {"error": "KeyError: 'x'"}
    assert parts["two"].facts == {"error": "no such thing"}
    assert parts["the_third"].facts == {"error": "no answer within 0.3 seconds"}
    assert parts["four"].facts == {"fine": 1}
    assert parts["the_third"].findings[0].message == (
        "The the third could not be looked at: no answer within 0.3 seconds"
    )
