"""When an account that is active by its state cannot serve all the same."""

import pytest

from ccflare.records import Account, Kind, token_trouble

NOW = 1_000_000


@pytest.mark.parametrize(
    ("kind", "expires", "failed", "refreshed", "troubled"),
    [
        ("oauth", NOW - 1, NOW - 1, None, True),
        ("oauth", NOW, NOW - 1, NOW - 2, True),
        ("oauth", NOW + 1, NOW - 1, None, False),
        ("oauth", None, NOW - 1, None, False),
        ("oauth", NOW - 1, None, None, False),
        ("oauth", NOW - 1, NOW - 2, NOW - 1, False),
        ("api_key", NOW - 1, NOW - 1, None, False),
    ],
)
def test_a_token_that_ended_and_cannot_be_refreshed(
    kind: Kind, expires: int | None, failed: int | None, refreshed: int | None, troubled: bool
) -> None:
    """Only an ended token whose last refresh failed is trouble, and its reason is told."""
    account = Account(
        id="a", name="a", kind=kind, created_at_ms=0, expires_at_ms=expires, refresh_failed_at_ms=failed,
        last_refresh_at_ms=refreshed, refresh_error="500",
    )  # fmt: skip
    told = token_trouble(account, NOW)
    assert (told is not None) == troubled
    assert not troubled or "500" in str(told)
