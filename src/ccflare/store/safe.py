"""The credentials of one database, in clear or sealed: whether they are, with which key, and the change from one to
the other.

The rule: whoever writes a credential has made sure, in the same transaction, that it goes in the way the others are.
"""

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from ccflare.errors import KeyMismatch, StoreBusy, StoreError
from ccflare.records import Credentials
from ccflare.store import rows
from ccflare.store.database import Database, Row
from ccflare.vault import SALT_BYTES, Cipher, Keys, WrongKey, is_sealed

log = logging.getLogger("ccflare.store")

_PROOF = "ccflare"
SELECT_PROOF = "SELECT salt, proof FROM vault"
COUNT_CLEAR = """
    SELECT COUNT(*) FROM accounts
    WHERE (api_key <> '' AND api_key NOT LIKE 'enc:v1:%')
       OR (access_token <> '' AND access_token NOT LIKE 'enc:v1:%')
       OR (refresh_token <> '' AND refresh_token NOT LIKE 'enc:v1:%')"""
_TRIES = 5


class Safe:
    """Seals and opens the credentials of a database with the operator's keys. No key: they stay in clear."""

    def __init__(self, db: Database, keys: Keys) -> None:
        self._db = db
        self._keys = keys
        self._cipher: Cipher | None = None
        self._seen: Row | None = None
        self._unlocked = False
        # Room of replaced credentials is zeroed when its page is written anyway.
        db.run("PRAGMA secure_delete = FAST")

    def unlock(self) -> None:
        """Make sure that the keys fit, and that everything is sealed with the first of them.

        Raises KeyMismatch when they do not fit; then nothing was touched.
        """
        for _ in range(_TRIES):
            row = self._db.one(SELECT_PROOF)
            if self._unlocked and row == self._seen:
                return
            place, cipher = fitting(row, self._keys, self._db.path)
            if len(self._keys) and (place != 0 or self._has_clear()):
                self._seal_all(row, cipher)
            else:
                self._seen, self._cipher, self._unlocked = row, cipher, True
        raise StoreBusy(f"the credentials are being encrypted by another process ({self._db.path})")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, with credentials to be written."""
        self.unlock()
        with self._db.transaction():
            if self._db.one(SELECT_PROOF) != self._seen:
                raise StoreBusy(f"the credentials are being encrypted by another process ({self._db.path})")
            yield

    def texts(self, credentials: Credentials) -> tuple[str | None, str | None, str]:
        """Return API key, access token and refresh token as they are to be stored."""
        api_key, access, refresh = (
            self._sealed(text, credentials.account_id, column)
            for text, column in zip(rows.secret_texts(credentials), rows.SECRET_COLUMNS, strict=True)
        )
        return api_key, access, refresh or ""

    def open(self, text: str, account_id: str, column: str) -> str:
        """Return a stored text in clear. Raises WrongKey when it is damaged."""
        if self._cipher is None or not is_sealed(text):
            return text
        return self._cipher.open(text, _place(account_id, column))

    # Keys.

    def _has_clear(self) -> bool:
        found = self._db.one(COUNT_CLEAR)
        return bool(found and found[0])

    def _sealed(self, text: str | None, account_id: str, column: str) -> str | None:
        if self._cipher is None or not text:
            return text
        return self._cipher.seal(text, _place(account_id, column))

    # Sealing what is there.

    def _seal_all(self, before: Row | None, old: Cipher | None) -> None:
        """Seal every credential with the first key, in one transaction, and leave no trace of what was there."""
        salt = os.urandom(SALT_BYTES)
        new = next(self._keys.ciphers(salt))
        self._db.run("PRAGMA secure_delete = ON")
        with self._db.transaction():
            if self._db.one(SELECT_PROOF) != before:
                return  # another process was faster
            count = 0
            for account_id, *texts in self._db.rows(rows.SELECT_CREDENTIALS):
                values = [
                    _resealed(text, _place(account_id, column), old, new)
                    for text, column in zip(texts, rows.SECRET_COLUMNS, strict=True)
                ]
                self._db.run(rows.REPLACE_SECRETS, (*values, account_id))
                count += 1
            self._db.run("INSERT OR REPLACE INTO vault VALUES (1, ?, ?)", (salt, new.seal(_PROOF, _PROOF)))
        self._sweep()
        log.info("The stored credentials of %d accounts are encrypted with ccflare_SECRET_KEY", count)

    def _sweep(self) -> None:
        """Give unused pages back and empty the write-ahead log: there is old content in both."""
        with contextlib.suppress(StoreError):  # somebody reads: it happens when they have finished
            self._db.script("PRAGMA incremental_vacuum")
            self._db.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.run("PRAGMA secure_delete = FAST")


def fitting(row: Row | None, keys: Keys, path: Path) -> tuple[int | None, Cipher | None]:
    """Return which of the keys is in force, and its cipher; None when everything is in clear. Raises KeyMismatch.

    `row`: what `SELECT_PROOF` has found in the database at `path`.
    """
    if row is None:
        return None, None
    salt, proof = row
    for place, cipher in enumerate(keys.ciphers(salt)):
        with contextlib.suppress(WrongKey):
            if cipher.open(proof, _PROOF) == _PROOF:
                return place, cipher
    if not len(keys):
        raise KeyMismatch(
            f"The stored credentials are encrypted ({path}): set ccflare_SECRET_KEY to the key that they are under"
        )
    raise KeyMismatch(
        f"ccflare_SECRET_KEY is not the key that the stored credentials are under ({path}); nothing was "
        "changed. To change the key, give the new one and, behind a comma, the old one"
    )


def _place(account_id: str, column: str) -> str:
    return f"{account_id}/{column}"


def _resealed(text: str | None, place: str, old: Cipher | None, new: Cipher) -> str | None:
    """Return a stored text under the new key; one that does not open stays, and counts as absent."""
    if not text:
        return text
    if is_sealed(text):
        if old is None:
            return text
        try:
            text = old.open(text, place)
        except WrongKey:
            log.warning("A stored credential is damaged and stays as it is: %s", place)
            return text
    return new.seal(text, place)
