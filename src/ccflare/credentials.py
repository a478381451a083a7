"""What accounts prove themselves with, held in memory so that nothing on the request path reads the store."""

from collections.abc import Mapping

from ccflare.records import Account, Credentials, Secret


class Keyring:
    """The credentials of all accounts, as the store had them last."""

    def __init__(self) -> None:
        self._by_account: dict[str, Credentials] = {}

    def load(self, credentials: Mapping[str, Credentials]) -> None:
        """Replace all credentials."""
        self._by_account = dict(credentials)

    def secret(self, account: Account) -> Secret | None:
        """Return what to send upstream for an account; None when there is nothing."""
        held = self._by_account.get(account.id)
        if held is None:
            return None
        return held.api_key if account.kind == "api_key" else held.access_token
