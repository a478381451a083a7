"""Redaction of stored payloads, for whatever was stored."""

import json

from hypothesis import given
from hypothesis import strategies as st

from ccflare.store.original.payloads import without_credentials

TEXT = st.text(max_size=30)
SECRET = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", min_size=12, max_size=40)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(raw=st.binary(max_size=300))
def test_any_bytes_are_survived_and_done_with_after_once(raw: bytes) -> None:
    """Nothing raises, and what was redacted has nothing more to redact."""
    clean = without_credentials(raw)
    assert clean is None or without_credentials(clean) is None


@given(secret=SECRET, body=TEXT, meta=PLAIN, name=st.sampled_from(["x-api-key", "Cookie", "authorization"]))
def test_no_secret_stays_and_every_body_does(secret: str, body: str, meta: object, name: str) -> None:
    """Whatever else a payload has, its credentials go and its body is the same."""
    headers = {name: secret, "x-other": f"Bearer {secret}", "x-third": f"sk-ant-{secret}"}
    payload = {"request": {"headers": headers, "body": body}, "meta": meta}
    clean = without_credentials(json.dumps(payload).encode())
    assert clean is not None
    after = json.loads(clean)
    assert after["request"]["body"] == body
    assert secret not in json.dumps(after["request"]["headers"])
