"""What accounts prove themselves with: whether it can be read and renewed. Nothing is opened, encrypted or sent."""

from collections.abc import Iterator
from contextlib import closing
from typing import Final

from ccflare.doctor.report import Facts, Finding, Part
from ccflare.errors import KeyMismatch
from ccflare.oauth import without_client
from ccflare.settings import Settings
from ccflare.store import open_store
from ccflare.store.checkup import AtRest, at_rest, backups
from ccflare.vault import Keys

BUSY_S: Final = 1.0


def examine_credentials(settings: Settings) -> Part:
    """Say whether the stored credentials are encrypted, whether the key fits, and whether tokens can be refreshed."""
    with closing(open_store(settings.db_path, busy_timeout_s=BUSY_S)) as store:
        accounts = store.accounts()
    keys = Keys(settings.secret_key)
    facts: Facts = {"oauth_client": bool(settings.client_id)}
    findings = []
    if trouble := without_client(settings.client_id, accounts):
        findings.append(Finding("error", trouble, "set CLIENT_ID for the server, not only when signing in"))
    try:
        found = at_rest(settings.db_path, keys)
    except KeyMismatch:
        facts |= {"encrypted": True, "key": "wrong" if len(keys) else "missing"}
        findings.append(_mismatch(keys))
    else:
        facts |= {"encrypted": found.encrypted, "key": _key(found, keys)}
        findings += _about_sealing(found, keys)
    findings += _about_backups(settings, encrypted=facts["encrypted"])
    return Part(facts, tuple(findings))


def _key(found: AtRest, keys: Keys) -> str:
    if not len(keys):
        return "none"
    return "fits" if found.encrypted else "not used yet"


def _mismatch(keys: Keys) -> Finding:
    lost = "when it is lost, add the accounts to a new database (ccflare_DB_PATH)"
    if not len(keys):
        message = "The stored credentials are encrypted and ccflare_SECRET_KEY is not set"
        return Finding("error", message, f"set it to the key that they are under; {lost}")
    message = "ccflare_SECRET_KEY is not the key that the stored credentials are under"
    return Finding("error", message, f"set the right one, or NEW,OLD to change it; {lost}")


def _about_sealing(found: AtRest, keys: Keys) -> Iterator[Finding]:
    if not len(keys):
        return
    if found.in_clear:
        message = f"The credentials of {found.in_clear} accounts are stored in clear"
        yield Finding("note", message, "they are encrypted at the next start")
    elif found.encrypted and not found.under_first_key:
        message = "The stored credentials are under the second key of ccflare_SECRET_KEY"
        yield Finding("note", message, "they are moved under the first one at the next start")


def _about_backups(settings: Settings, *, encrypted: bool) -> Iterator[Finding]:
    """A copy from before the upgrade is as readable as the database was then."""
    for copy in backups(settings.db_path) if encrypted else ():
        message = f"The credentials are encrypted, but {copy} has those of before in clear"
        yield Finding("warning", message, "remove it when the upgrade has proven good")
