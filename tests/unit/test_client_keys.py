"""Client keys in memory: when they are needed, and what lets whom in."""

import pytest

from ccflare.client_keys import NONE_BROUGHT, NOT_VALID, REVOKED, ClientKeys, digest_of, new_key
from ccflare.records import CLIENT_KEY_PREFIX, Admission, DashboardSession, Secret
from key_kit import BOSS, GONE, KEYS, NOW_MS, WORKER, WRONG, admission

NOBODY = Admission({}, {})
ALL_REVOKED = admission(BOSS, WORKER)


def loaded(found: Admission | None = None, *, private: bool = True, open_without_keys: bool = False) -> ClientKeys:
    keys = ClientKeys(private=private, open_without_keys=open_without_keys)
    keys.load(admission() if found is None else found)
    return keys


def bearer(secret: Secret, scheme: str = "Bearer") -> dict[bytes, bytes]:
    return {b"authorization": f"{scheme} {secret.reveal()}".encode()}


def x_api_key(secret: Secret) -> dict[bytes, bytes]:
    return {b"x-api-key": secret.reveal().encode()}


@pytest.mark.parametrize(
    ("found", "private", "open_without_keys", "required"),
    [
        (NOBODY, True, False, False),
        (NOBODY, True, True, False),
        (NOBODY, False, False, True),
        (NOBODY, False, True, False),
        (admission(), True, False, True),
        (admission(), True, True, True),
        (admission(), False, False, True),
        (admission(), False, True, True),
        (ALL_REVOKED, True, False, True),
        (ALL_REVOKED, True, True, False),
        (ALL_REVOKED, False, False, True),
        (ALL_REVOKED, False, True, False),
    ],
)
def test_when_a_key_is_needed(found: Admission, private: bool, open_without_keys: bool, required: bool) -> None:
    """With a key in force always; without one where other machines reach us, or all were revoked, unless it is said."""
    assert loaded(found, private=private, open_without_keys=open_without_keys).required is required


def test_before_the_store_was_read_an_outside_address_is_closed() -> None:
    """The first moments of a server let nobody in who would not be let in later."""
    assert ClientKeys(private=False).required
    assert not ClientKeys().required


@pytest.mark.parametrize("fields", [x_api_key, bearer])
def test_a_key_comes_in_either_field(fields: object) -> None:
    """What ANTHROPIC_API_KEY and ANTHROPIC_AUTH_TOKEN make clients send."""
    assert callable(fields)
    for secret in (BOSS, WORKER):
        assert loaded().of(fields(secret)) == KEYS[secret]
    for secret in (GONE, WRONG):
        assert loaded().of(fields(secret)) is None


@pytest.mark.parametrize("other", [b"sk-ant-api03-some-key-of-upstream", b"dummy", b"", WRONG.reveal().encode()])
def test_the_other_field_may_hold_anything(other: bytes) -> None:
    """Clients that have both variables set are let in whichever holds the key."""
    keys = loaded()
    assert keys.of({b"x-api-key": other, **bearer(WORKER)}) == KEYS[WORKER]
    assert keys.of({b"authorization": b"Bearer " + other, **x_api_key(WORKER)}) == KEYS[WORKER]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {b"x-api-key": b""},
        {b"x-api-key": b"ccf_"},
        {b"x-api-key": WORKER.reveal().encode()[:-1]},
        {b"x-api-key": WORKER.reveal().encode() + b"w"},
        {b"x-api-key": b"CCF_" + b"w" * 43},
        {b"x-api-key": b"ccf_" + b"\xff" * 43},
        {b"authorization": WORKER.reveal().encode()},
        {b"authorization": b"Basic " + WORKER.reveal().encode()},
        {b"cookie": WORKER.reveal().encode()},
        {b"proxy-authorization": b"Bearer " + WORKER.reveal().encode()},
        {b"x-api-key": digest_of(WORKER)},
        {b"x-api-key": digest_of(WORKER).hex().encode()},
    ],
)
def test_what_is_no_key_lets_nobody_in(fields: dict[bytes, bytes]) -> None:
    """Neither a part of a key, nor one in another field, nor what the database has of it."""
    assert loaded().of(fields) is None


def test_schemes_have_no_case() -> None:
    """RFC 9110 §11.1; blanks behind the scheme do not count."""
    assert loaded().of(bearer(WORKER, "bearer")) == KEYS[WORKER]
    assert loaded().of(bearer(WORKER, "BEARER  ")) == KEYS[WORKER]


def test_the_reason_of_a_refusal() -> None:
    """A holder learns that a key was revoked; of anything else that it is none."""
    keys = loaded()
    assert [keys.why_not(x_api_key(secret)) for secret in (GONE, WRONG)] == [REVOKED, NOT_VALID]
    assert keys.why_not({}) == NONE_BROUGHT


def test_keys_are_random_and_recognisable() -> None:
    """256 bits behind the prefix; what is kept is their hash and not they."""
    made = {new_key() for _ in range(100)}
    assert len(made) == 100
    assert all(len(each.reveal()) == 47 and each.reveal().startswith(CLIENT_KEY_PREFIX) for each in made)
    assert len(digest_of(new_key())) == 32


def test_a_session_ends_with_its_time_and_with_its_key() -> None:
    """Whoever signed in with a key is out when it is revoked."""
    digest = b"d" * 32
    keys = loaded(Admission(admission().keys, {digest: DashboardSession("key-boss", NOW_MS)}))
    assert keys.signed_in(digest, NOW_MS - 1) == KEYS[BOSS]
    assert keys.signed_in(digest, NOW_MS) is None
    assert keys.signed_in(b"e" * 32, NOW_MS - 1) is None
    keys.load(Admission(admission(BOSS).keys, {digest: DashboardSession("key-boss", NOW_MS)}))
    assert keys.signed_in(digest, NOW_MS - 1) is None


def test_of_each_minute_one_use_is_kept() -> None:
    """A dashboard that asks every second does not write every second."""
    keys = loaded()
    for second in range(90):
        keys.note_use(KEYS[BOSS], NOW_MS + second * 1000)
    assert keys.take_used() == {"key-boss": NOW_MS + 60_000}
    assert keys.take_used() == {}
