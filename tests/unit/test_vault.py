"""Sealed texts: they open with their key at their place, and in no other way."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccflare.vault import Cipher, Keys, WrongKey, derive, is_sealed

SALT = b"0123456789abcdef"
CIPHER = Cipher(b"k" * 32)


@given(text=st.text(max_size=200), place=st.text(max_size=40))
def test_a_sealed_text_opens_at_its_place(text: str, place: str) -> None:
    """Whatever was sealed comes back, and nothing of it shows in what is stored."""
    sealed = CIPHER.seal(text, place)
    assert is_sealed(sealed)
    assert CIPHER.open(sealed, place) == text
    assert len(text) < 8 or text not in sealed


@given(place=st.text(max_size=40), other=st.text(max_size=40))
def test_a_sealed_text_cannot_be_moved(place: str, other: str) -> None:
    """What was sealed for one account and column does not open for another."""
    sealed = CIPHER.seal("secret", place)
    if place != other:
        with pytest.raises(WrongKey):
            CIPHER.open(sealed, other)


@given(at=st.integers(7, 60), letter=st.sampled_from(string.ascii_letters + "-_!é"))
def test_a_changed_text_does_not_open(at: int, letter: str) -> None:
    """Whichever letter is changed, it is refused as damaged, and nothing else is raised."""
    sealed = CIPHER.seal("a secret of some length", "here")
    changed = sealed[:at] + letter + sealed[at + 1 :]
    if changed != sealed:
        with pytest.raises(WrongKey):
            CIPHER.open(changed, "here")


@pytest.mark.parametrize("stored", ["enc:v1:", "enc:v1:AAAA", "enc:v1:not base64", "enc:v1:" + "A" * 400])
def test_nonsense_is_refused(stored: str) -> None:
    """What was never sealed is refused in the same way."""
    with pytest.raises(WrongKey):
        CIPHER.open(stored, "here")


def test_the_same_text_never_looks_the_same() -> None:
    """Nobody sees from two sealed texts that they are equal."""
    assert len({CIPHER.seal("secret", "here") for _ in range(100)}) == 100


@settings(deadline=None, max_examples=5)
@given(other=st.text(string.printable, min_size=1, max_size=20))
def test_a_key_is_its_text_and_its_salt(other: str) -> None:
    """The same text and salt open; another text or another salt does not."""
    sealed = derive("open sesame", SALT, 1 << 14).seal("secret", "here")
    assert derive("open sesame", SALT, 1 << 14).open(sealed, "here") == "secret"
    for stranger in (derive("open sesame" + other, SALT, 1 << 14), derive("open sesame", SALT[::-1], 1 << 14)):
        with pytest.raises(WrongKey):
            stranger.open(sealed, "here")


def test_keys_are_in_order_and_show_nothing() -> None:
    """The first of two keys comes first, blanks around them do not count, and their repr has none of them."""
    keys = Keys(" new-key , old-key")
    new, old = keys.ciphers(SALT)
    assert (len(keys), len(Keys("")), len(Keys(" , "))) == (2, 0, 0)
    assert next(Keys("new-key").ciphers(SALT)).open(new.seal("x", "y"), "y") == "x"
    assert next(Keys("old-key").ciphers(SALT)).open(old.seal("x", "y"), "y") == "x"
    assert "key" not in repr(keys)
    assert next(keys.ciphers(SALT)) is new
