"""Exporting and importing accounts: an encrypted file, all or nothing, and one line for whatever is wrong."""

import json
import stat
from pathlib import Path

import pytest

from ccflare.records import Account, Credentials, Secret
from ccflare.store import Store
from cli_kit import KEY, Run, put

PASSPHRASE = "correct horse"
TOKEN = "sk-ant-ort01-very-secret"


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a passphrase costs to try is not what these tests are about."""
    monkeypatch.setattr("ccflare.vault.FILE_COST", 1 << 14)


@pytest.fixture(autouse=True)
def _everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The accounts here are at addresses of this machine, which a file must not name otherwise."""
    monkeypatch.setenv("CCFLARE_PRIVATE_UPSTREAMS", "all")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "accounts.json"


def put_both(store: Store) -> None:
    """A key account with everything an operator can set, and an OAuth account."""
    put(store, "key", base_url="http://127.0.0.1:9/x", priority=-2, tier=20, paused=True, paused_reason="why not")
    store.add_account(
        Account(id="id-plan", name="plan", kind="oauth", created_at_ms=2_000, expires_at_ms=77_000),
        Credentials("id-plan", access_token=Secret("sk-ant-oat01-x"), refresh_token=Secret(TOKEN)),
    )


def clear(store: Store) -> None:
    for account in store.accounts():
        store.remove_account(account.id)


def test_accounts_move_with_all_that_an_operator_set(run: Run, store: Store, file: Path) -> None:
    """What was exported and imported again is the same, but for the ids; nothing of a credential shows in the file."""
    put_both(store)
    said = run("accounts", "export", str(file), stdin=PASSPHRASE + "\n")
    assert said.status == 0
    assert "key, plan" in said.err
    assert "remove here: plan" in said.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "sk-ant" not in file.read_text()
    clear(store)
    said = run("accounts", "import", str(file), stdin=PASSPHRASE)
    assert (said.status, said.out) == (0, "")
    assert "Imported from" in said.line
    key, plan = store.accounts()
    assert (key.name, key.base_url, key.priority, key.tier) == ("key", "http://127.0.0.1:9/x", -2, 20)
    assert (key.paused, key.paused_by, key.paused_reason) == (True, "import", "why not")
    assert (plan.name, plan.kind, plan.expires_at_ms, plan.paused) == ("plan", "oauth", 77_000, False)
    held = store.credentials()
    assert held[key.id].api_key == Secret(KEY)
    assert held[plan.id].refresh_token == Secret(TOKEN)
    assert {key.id, plan.id}.isdisjoint({"id-key", "id-plan"})


def test_only_the_named_accounts_are_exported(run: Run, store: Store, file: Path) -> None:
    """Names choose; one that does not exist ends the command before anything is written."""
    put_both(store)
    assert run("accounts", "export", str(file), "key", "nobody", stdin=PASSPHRASE).status == 1
    assert not file.exists()
    assert run("accounts", "export", str(file), "key", stdin=PASSPHRASE).status == 0
    clear(store)
    assert run("accounts", "import", str(file), stdin=PASSPHRASE).status == 0
    assert [account.name for account in store.accounts()] == ["key"]


def test_the_passphrase_comes_from_a_variable_or_a_terminal(
    run: Run, store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal it is asked for twice before it is used for a new file, and once for an old one."""
    put_both(store)
    monkeypatch.setenv("MY_PASSPHRASE", PASSPHRASE)
    assert run("accounts", "export", str(file), "--passphrase-env", "MY_PASSPHRASE").status == 0
    answers = [PASSPHRASE, "something else", PASSPHRASE, PASSPHRASE, PASSPHRASE]
    monkeypatch.setattr("getpass.getpass", lambda prompt, stream: answers.pop(0))
    said = run("accounts", "export", str(file), "--force", terminal=True)
    assert (said.status, "differ" in said.line) == (1, True)
    assert run("accounts", "export", str(file), "--force", terminal=True).status == 0
    clear(store)
    assert run("accounts", "import", str(file), terminal=True).status == 0
    assert answers == []
    assert run("accounts", "import", str(file), "--passphrase-env", "NOT_THERE").status == 1


def test_a_file_is_not_overwritten_unasked(run: Run, store: Store, file: Path) -> None:
    """Without --force an existing file stays as it is; with it the new one is private, whatever the old one was."""
    put_both(store)
    file.write_text("precious")
    file.chmod(0o644)
    said = run("accounts", "export", str(file), stdin=PASSPHRASE)
    assert (said.status, file.read_text()) == (1, "precious")
    assert "--force" in said.line
    assert run("accounts", "export", str(file), "--force", stdin=PASSPHRASE).status == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(each.name for each in file.parent.iterdir() if "accounts" in each.name) == ["accounts.json"]


@pytest.mark.parametrize("option", ["--rename", "--replace", None])
def test_a_name_that_is_taken(run: Run, store: Store, file: Path, option: str | None) -> None:
    """It is refused as a whole, unless the new accounts get other names, or the old ones the new credentials."""
    put_both(store)
    assert run("accounts", "export", str(file), stdin=PASSPHRASE).status == 0
    store.remove_account("id-plan")
    store.set_credentials(Credentials("id-key", api_key=Secret("sk-ant-api03-newer")))
    said = run("accounts", "import", str(file), *([option] if option else []), stdin=PASSPHRASE)
    names = [account.name for account in store.accounts()]
    held = store.credentials()["id-key"].api_key
    if option is None:
        assert (said.status, names, held) == (1, ["key"], Secret("sk-ant-api03-newer"))
        assert "nothing was imported" in said.line
    elif option == "--rename":
        assert (said.status, sorted(names), held) == (0, ["key", "key-2", "plan"], Secret("sk-ant-api03-newer"))
    else:
        assert (said.status, sorted(names), held) == (0, ["key", "plan"], Secret(KEY))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data, "passphrase is wrong"),
        (lambda data: data[:-40] + data[-39:], "damaged"),
        (lambda data: b"", "not a file of exported accounts"),
        (lambda data: b'{"format": 1}', "not a file of exported accounts"),
        (lambda data: b"[" * 5000, "not a file of exported accounts"),
        (lambda data: data.replace(b'"scrypt_n": 16384', b'"scrypt_n": 1073741824'), "not a file of exported accounts"),
        (lambda data: data.replace(b'"scrypt_n": 16384', b'"scrypt_n": 524288'), "not a file of exported accounts"),
        (lambda data: data.replace(b'"scrypt_n": 16384', b'"scrypt_n": 32768'), "damaged"),
        (lambda data: data.replace(b'"version": 1', b'"version": 2'), "not a file of exported accounts"),
    ],
)
def test_what_cannot_be_opened_is_refused_in_one_line(
    run: Run, store: Store, file: Path, damage: "object", words: str
) -> None:
    """A wrong passphrase, a damaged file, a hostile one: nothing is imported, and the line says which it is."""
    put_both(store)
    assert run("accounts", "export", str(file), stdin=PASSPHRASE).status == 0
    clear(store)
    assert callable(damage)
    before = file.read_bytes()
    file.write_bytes(damage(before))
    passphrase = "wrong horse" if file.read_bytes() == before else PASSPHRASE
    said = run("accounts", "import", str(file), stdin=passphrase)
    assert said.status == 1
    assert words in said.line
    assert store.accounts() == []


@pytest.mark.parametrize("reach", ["loopback", "none"])
def test_a_file_does_not_say_what_this_machine_connects_to(
    run: Run, store: Store, file: Path, monkeypatch: pytest.MonkeyPatch, reach: str
) -> None:
    """An account at an address of this machine or of a private network is not imported, nor are the others."""
    put(store, "fine")
    put(store, "inside", base_url="http://127.0.0.1:9/x")
    assert run("accounts", "export", str(file), stdin=PASSPHRASE).status == 0
    clear(store)
    monkeypatch.setenv("CCFLARE_PRIVATE_UPSTREAMS", reach)
    said = run("accounts", "import", str(file), stdin=PASSPHRASE)
    assert (said.status, store.accounts()) == (1, [])
    assert "the base_url of inside may not be connected" in said.line
    assert "private_upstreams" in said.line


def test_other_refusals(run: Run, store: Store, file: Path, tmp_path: Path) -> None:
    """Nothing to export, a short passphrase, a missing file, a directory that is not there, two ways at once."""
    assert "no accounts" in run("accounts", "export", str(file), stdin=PASSPHRASE).line
    put_both(store)
    assert "at least 8" in run("accounts", "export", str(file), stdin="short").line
    assert "No such file" in run("accounts", "export", str(tmp_path / "no" / "x"), stdin=PASSPHRASE).line
    assert "No such file" in run("accounts", "import", str(tmp_path / "none"), stdin=PASSPHRASE).line
    assert "give one" in run("accounts", "import", str(file), "--rename", "--replace", stdin=PASSPHRASE).line
    assert not file.exists()


def test_encrypted_databases_export_and_import_too(
    run: Run, store: Store, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accounts move from a database in clear to a sealed one, with keys that have nothing to do with each other."""
    put_both(store)
    assert run("accounts", "export", str(file), stdin=PASSPHRASE).status == 0
    monkeypatch.setenv("ccflare_DB_PATH", str(tmp_path / "sealed.db"))
    monkeypatch.setenv("ccflare_SECRET_KEY", "open-sesame")
    assert run("accounts", "import", str(file), stdin=PASSPHRASE).status == 0
    assert b"sk-ant" not in (tmp_path / "sealed.db").read_bytes()
    assert [row["state"] for row in json.loads(run("--list", "--json").out)] == ["paused", "active"]
    monkeypatch.setenv("ccflare_SECRET_KEY", "close-sesame")
    said = run("accounts", "export", str(tmp_path / "y"), stdin=PASSPHRASE)
    assert "ccflare_SECRET_KEY is not the key" in said.line
    assert len(json.loads(run("--list", "--json").out)) == 2
