"""What `ccflare doctor` advises where no account can serve: it follows from what keeps them from it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from ccflare.records import UNREADABLE
from ccflare.store import Store
from cli_kit import Run, put

FAR = 4_000_000_000_000
EXPIRED = {"kind": "oauth", "expired_reason": "invalid_grant"}
REFUSED = {"auth_failed_reason": "401 invalid x-api-key"}
SIGN_IN = "ccflare accounts reauth NAME"
RESUME = "ccflare --resume NAME"
ADD = "or add one: ccflare --add-account NAME --api-key"


def advice(run: Run) -> dict[str, str]:
    """What the doctor finds wrong, with its advice."""
    found = json.loads(run("doctor", "--json").out)["findings"]
    return {each["message"]: each["advice"] for each in found}


@pytest.mark.parametrize(
    ("accounts", "counted", "advised"),
    [
        ([EXPIRED], "1 expired", SIGN_IN),
        ([EXPIRED, EXPIRED], "2 expired", SIGN_IN),
        ([{"paused": True}], "1 paused", RESUME),
        ([REFUSED], "1 auth_failed", f"replace the key, then {RESUME}"),
        (
            [{"kind": "oauth", "auth_failed_reason": "401"}],
            "1 auth_failed",
            f"{SIGN_IN}; when upstream was wrong: {RESUME}",
        ),
        (
            [{"auth_failed_reason": UNREADABLE}],
            "1 auth_failed",
            "start the server with ccflare_SECRET_KEY in its environment",
        ),
        ([EXPIRED, {"paused": True}], "1 expired, 1 paused", f"expired: {SIGN_IN}; paused: {RESUME}"),
        (
            [{"limited_until_ms": FAR}, EXPIRED],
            "1 rate_limited, 1 expired",
            f"the first is back at 2096-10-02T07:06:40Z; expired: {SIGN_IN}; {ADD}",
        ),
        ([{"limited_until_ms": FAR}], "1 rate_limited", f"the first is back at 2096-10-02T07:06:40Z; {ADD}"),
    ],
)
def test_the_advice_follows_from_the_states(
    run: Run, store: Store, accounts: Sequence[Mapping[str, Any]], counted: str, advised: str
) -> None:
    """A new sign-in where only that helps, and each state's own where there are several."""
    for number, fields in enumerate(accounts):
        put(store, f"a{number}", **fields)
    assert advice(run)[f"No account can serve requests: {counted}"] == advised


def test_an_account_that_the_server_cannot_read_is_not_called_refused(run: Run, store: Store) -> None:
    """The key of the account is good: the server's is missing."""
    put(store, "a", auth_failed_reason=UNREADABLE)
    found = advice(run)
    assert found["The server cannot read the credential of account-1"].startswith("start the server with")
    assert not [message for message in found if "was refused" in message]
