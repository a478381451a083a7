"""Sealing what nobody may read at rest: AES-256-GCM under a key made from a text that the operator chose.

A sealed text begins with `enc:v1:` and opens only at the place it was sealed for, so that it cannot be moved to
another account. `cryptography` is imported at the first use: listing accounts needs no secret and must be fast.
"""

import base64
import binascii
import hashlib
import os
from collections.abc import Iterator

from ccflare.errors import CcflareError

PREFIX = "enc:v1:"
SALT_BYTES = 16
KEY_COST = 1 << 15
"""scrypt's N for the stored credentials: 32 MB and about 0.1 s, once per process."""
FILE_COST = 1 << 17
"""The same for a file that leaves the machine: 128 MB and about 0.5 s."""

_BLOCK = 8
_NONCE_BYTES = 12


class WrongKey(CcflareError):
    """What is sealed does not open: another key, another place, or it was damaged."""

    status = 403
    kind = "wrong_key"


class Cipher:
    """One key. It shows nothing of itself."""

    __slots__ = ("_aead",)

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._aead = AESGCM(key)

    def seal(self, text: str, place: str) -> str:
        """Return a text sealed for one place."""
        return PREFIX + base64.urlsafe_b64encode(self.seal_bytes(text.encode(), place.encode())).decode("ascii")

    def open(self, sealed: str, place: str) -> str:
        """Return what was sealed. Raises WrongKey."""
        try:
            data = base64.urlsafe_b64decode(sealed.removeprefix(PREFIX).encode("ascii"))
        except (binascii.Error, UnicodeEncodeError):
            raise WrongKey("what is stored is damaged") from None
        return self.open_bytes(data, place.encode()).decode()

    def seal_bytes(self, data: bytes, place: bytes) -> bytes:
        """Return a random nonce and the sealed bytes."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, data, place)

    def open_bytes(self, data: bytes, place: bytes) -> bytes:
        """Return what was sealed. Raises WrongKey."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._aead.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], place)
        except (InvalidTag, ValueError):
            raise WrongKey("the key does not fit, or what was sealed is damaged") from None


def derive(text: str, salt: bytes, cost: int) -> Cipher:
    """Return the cipher of a text that a person chose (RFC 7914)."""
    memory = 128 * cost * _BLOCK + (1 << 20)
    return Cipher(hashlib.scrypt(text.encode(), salt=salt, n=cost, r=_BLOCK, p=1, maxmem=memory, dklen=32))


def is_sealed(text: str) -> bool:
    """Whether a stored text is a sealed one."""
    return text.startswith(PREFIX)


class Keys:
    """The operator's keys: the first one seals, the others only open what was sealed before. Often there is none."""

    __slots__ = ("_ciphers", "_texts")

    def __init__(self, text: str = "") -> None:
        self._texts = tuple(part for each in text.split(",") if (part := each.strip()))
        self._ciphers: dict[tuple[str, bytes], Cipher] = {}

    def __len__(self) -> int:
        return len(self._texts)

    def __repr__(self) -> str:
        return f"Keys({len(self)})"

    def ciphers(self, salt: bytes) -> Iterator[Cipher]:
        """Yield the ciphers with a salt, in order; each is derived once, when it is asked for."""
        return (self._cipher(text, salt) for text in self._texts)

    def _cipher(self, text: str, salt: bytes) -> Cipher:
        known = self._ciphers.get((text, salt))
        if known is None:
            known = self._ciphers[text, salt] = derive(text, salt, KEY_COST)
        return known
