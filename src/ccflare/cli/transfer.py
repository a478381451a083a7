"""Moving accounts to another machine: one file, encrypted with a passphrase, with everything an account needs.

The file is JSON that says how its key is made, and around nothing else than sealed bytes. What it says of itself is
sealed with it, so that nobody can weaken it unseen.
"""

import base64
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ccflare.cli.context import account_named, load_settings, opened_store
from ccflare.cli.output import say
from ccflare.errors import Conflict, RequestError

if TYPE_CHECKING:
    from ccflare.addresses import Reach
    from ccflare.records import Account, Credentials
    from ccflare.vault import Cipher

_FORMAT = "ccflare accounts"
_VERSION = 1
_LONGEST_FILE = 64 * 1024 * 1024
_COSTS = range(1 << 14, (1 << 18) + 1)
"""What a file may ask for: opening one takes 256 MB of memory at most."""
_SHORTEST_PASSPHRASE = 8
_LONGEST_NAME = 100


# What the commands do.


def export_accounts(path: Path, names: Sequence[str], *, variable: str | None, force: bool) -> None:
    """Write accounts with their credentials into an encrypted file; without names all of them."""
    if path.exists() and not force:
        raise Conflict(f"{path} exists already and was left as it is; --force replaces it")
    with opened_store() as store:
        chosen = [account_named(store, name) for name in dict.fromkeys(names)] or store.accounts()
        held = store.credentials()
    if not chosen:
        raise RequestError("there are no accounts to export")
    passphrase = _read_passphrase(variable, new=True)
    _write(path, _encode([_plain(account, held[account.id]) for account in chosen], passphrase), force=force)
    say(f"Exported to {path}: {_listed(chosen)}. Whoever has the file and the passphrase can use them.")
    if signed_in := [account for account in chosen if account.kind == "oauth"]:
        say(f"Tokens are good on one machine only: once they are imported there, remove here: {_listed(signed_in)}")


def import_accounts(path: Path, *, variable: str | None, rename: bool, replace: bool) -> None:
    """Add the accounts of an exported file: all of them or, when something is wrong, none."""
    if rename and replace:
        raise RequestError("--rename and --replace are two ways to deal with a name that is taken; give one")
    data = _read(path)
    loaded = load_settings()
    plain = _decode(data, _read_passphrase(variable, new=False), path)
    found = _accounts(plain, loaded.settings.private_upstreams, path)
    with opened_store(loaded) as store:
        taken = {account.name for account in store.accounts()}
        clashes = [account.name for account, _ in found if account.name in taken]
        if clashes and not (rename or replace):
            raise Conflict(
                f"nothing was imported, because there are accounts of that name already: {', '.join(clashes)}. "
                "--rename gives the new ones another name, --replace puts their credentials in the old ones' place"
            )
        if rename:
            found = _renamed(found, taken)
        store.add_accounts(found, replace=replace)
    names = _listed([account for account, _ in found])
    say(f"Imported from {path}: {names}. A running server uses them within a second.")


def _listed(accounts: "Sequence[Account]") -> str:
    return ", ".join(account.name for account in accounts)


def _renamed(found: "Sequence[tuple[Account, Credentials]]", taken: set[str]) -> "list[tuple[Account, Credentials]]":
    """Give every account a name of its own."""
    import msgspec

    used, renamed = set(taken), []
    for account, credentials in found:
        name, number = account.name, 2
        while name in used:
            name = f"{account.name[: _LONGEST_NAME - 1 - len(str(number))].rstrip()}-{number}"
            number += 1
        used.add(name)
        renamed.append((msgspec.structs.replace(account, name=name), credentials))
    return renamed


# Accounts as they are in the file.


def _plain(account: "Account", credentials: "Credentials") -> dict[str, object]:
    secrets = {
        "api_key": credentials.api_key,
        "access_token": credentials.access_token,
        "refresh_token": credentials.refresh_token,
    }
    fields = ("name", "provider", "kind", "base_url", "priority", "tier", "paused", "paused_reason", "expires_at_ms")
    return {name: getattr(account, name) for name in fields} | {
        name: secret.reveal() for name, secret in secrets.items() if secret is not None
    }


def _account(plain: dict[str, object], now_ms: int, reach: "Reach") -> "tuple[Account, Credentials]":
    """Read an account of a file. Raises ValueError for what cannot be one."""
    import random

    import msgspec

    from ccflare.records import Account, Credentials, Secret, check_account_name, new_id

    secrets = {name: str(plain.pop(name)) for name in ("api_key", "access_token", "refresh_token") if name in plain}
    account_id = new_id(now_ms, random.SystemRandom())
    account = msgspec.convert(plain | {"id": account_id, "created_at_ms": now_ms}, Account)
    check_account_name(account.name)
    _check_destination(account, reach)
    if account.paused:
        account = msgspec.structs.replace(account, paused_by="import", paused_at_ms=now_ms)
    proof = "api_key" if account.kind == "api_key" else "refresh_token"
    if proof not in secrets:
        raise ValueError(f"{account.name} has no credential")
    return account, Credentials(account_id, **{name: Secret(text) for name, text in secrets.items()})


def _check_destination(account: "Account", reach: "Reach") -> None:
    """Raise ValueError for an address that a file from elsewhere may not name: its key would be sent there."""
    from ccflare.addresses import foreign_reach, read_url, trouble

    if account.base_url is not None and (reason := trouble(read_url(account.base_url), foreign_reach(reach))):
        raise ValueError(f"the base_url of {account.name} may not be connected: {reason}")


# The file.


def _encode(accounts: Sequence[dict[str, object]], passphrase: str) -> bytes:
    import msgspec

    from ccflare.vault import FILE_COST, SALT_BYTES, derive

    head = {"format": _FORMAT, "version": _VERSION, "scrypt_n": FILE_COST, "salt": _base64(os.urandom(SALT_BYTES))}
    cipher = derive(passphrase, base64.b64decode(str(head["salt"])), FILE_COST)
    sealed = cipher.seal_bytes(msgspec.json.encode(accounts), msgspec.json.encode(head))
    return msgspec.json.format(msgspec.json.encode(head | {"sealed": _base64(sealed)})) + b"\n"


def _decode(data: bytes, passphrase: str, path: Path) -> list[dict[str, object]]:
    """Read a file's accounts. Raises RequestError for a wrong passphrase and for whatever is no such file."""
    import msgspec

    from ccflare.vault import WrongKey

    try:
        outer = msgspec.json.decode(data, type=dict[str, str | int])
        sealed = base64.b64decode(str(outer.pop("sealed")), validate=True)
        cipher = _cipher(outer, passphrase)
    except (ValueError, KeyError):
        raise RequestError(f"{path} is not a file of exported accounts, or it was damaged") from None
    try:
        opened = cipher.open_bytes(sealed, msgspec.json.encode(outer))
        return msgspec.json.decode(opened, type=list[dict[str, object]])
    except WrongKey:
        raise RequestError(f"the passphrase is wrong, or {path} was damaged; nothing was imported") from None
    except ValueError:
        raise RequestError(f"{path} holds no accounts; nothing was imported") from None


def _accounts(plain: Sequence[dict[str, object]], reach: "Reach", path: Path) -> "list[tuple[Account, Credentials]]":
    """Return the accounts of a file. Raises RequestError for one that cannot be used."""
    now_ms = int(time.time() * 1000)
    try:
        # A millisecond apart, so that they are listed in the order of the file.
        return [_account(each, now_ms - len(plain) + place, reach) for place, each in enumerate(plain)]
    except (ValueError, TypeError) as error:
        raise RequestError(f"{path} has an account that cannot be used: {error}; nothing was imported") from None


def _cipher(head: dict[str, str | int], passphrase: str) -> "Cipher":
    """Return the cipher that a file names. Raises ValueError and KeyError."""
    from ccflare.vault import SALT_BYTES, derive

    cost, salt = int(head["scrypt_n"]), base64.b64decode(str(head["salt"]), validate=True)
    known = head["format"] == _FORMAT and head["version"] == _VERSION
    if not known or cost not in _COSTS or cost & (cost - 1) or len(salt) != SALT_BYTES:
        raise ValueError("the head of the file is not one that is known here")
    return derive(passphrase, salt, cost)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _write(path: Path, data: bytes, *, force: bool) -> None:
    """Make a file that only its owner may read. Without `force` none is replaced. Raises RequestError."""
    made = path.with_name(f".{path.name}.{os.getpid()}") if force else path
    try:
        descriptor = os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError as error:
        raise RequestError(f"cannot write {path}: {error.strerror}") from None
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if force:
            os.replace(made, path)
    except OSError as error:
        made.unlink(missing_ok=True)
        raise RequestError(f"cannot write {path}: {error.strerror}") from None


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(_LONGEST_FILE + 1)
    except OSError as error:
        raise RequestError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > _LONGEST_FILE:
        raise RequestError(f"{path} is too long to be a file of exported accounts")
    return data


def _read_passphrase(variable: str | None, *, new: bool) -> str:
    """Return the passphrase: from a variable, a terminal without echo, or a line of standard input."""
    if variable is not None:
        text = os.environ.get(variable)
        if text is None:
            raise RequestError(f"there is no environment variable {variable}")
    elif sys.stdin.isatty():
        text = _ask(new=new)
    else:
        text = sys.stdin.readline(4096).rstrip("\r\n")
    if len(text) < _SHORTEST_PASSPHRASE:
        raise RequestError(f"a passphrase has at least {_SHORTEST_PASSPHRASE} characters")
    return text


def _ask(*, new: bool) -> str:
    from getpass import getpass

    text = getpass("Passphrase: ", stream=sys.stderr)
    if new and getpass("The same again: ", stream=sys.stderr) != text:
        raise RequestError("the two passphrases differ; nothing was exported")
    return text


# The subcommands.

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("export")
@click.argument("file", type=_FILE)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--passphrase-env", metavar="VAR", help="Take the passphrase from an environment variable.")
@click.option("--force", is_flag=True, help="Replace the file when there is one.")
def export_command(file: Path, names: tuple[str, ...], passphrase_env: str | None, force: bool) -> None:
    """Write accounts into an encrypted file, to move them to another machine."""
    export_accounts(file, names, variable=passphrase_env, force=force)


@click.command("import")
@click.argument("file", type=_FILE)
@click.option("--passphrase-env", metavar="VAR", help="Take the passphrase from an environment variable.")
@click.option("--rename", is_flag=True, help="Give an account another name where its own is taken.")
@click.option("--replace", is_flag=True, help="Replace the credentials of accounts that have the same name.")
def import_command(file: Path, passphrase_env: str | None, rename: bool, replace: bool) -> None:
    """Add the accounts of an exported file: all or none."""
    import_accounts(file, variable=passphrase_env, rename=rename, replace=replace)
