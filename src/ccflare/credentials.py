"""What accounts prove themselves with, held in memory so that nothing on the request path reads the store."""

from collections.abc import Iterable, Mapping

from ccflare.records import Account, Credentials, Grant, Secret


class Keyring:
    """The credentials of all accounts, as the store had them last or as they were refreshed since."""

    def __init__(self) -> None:
        self._held: dict[str, Grant] = {}
        self._replaced: dict[str, Credentials] = {}
        self._refused: dict[str, Secret] = {}

    def load(self, credentials: Mapping[str, Credentials], accounts: Iterable[Account]) -> None:
        """Take over what was read from the store; tokens that have been replaced since it was read stay away."""
        ends = {account.id: account.expires_at_ms for account in accounts}
        held = {}
        for account_id, found in credentials.items():
            if found == self._replaced.get(account_id):
                held[account_id] = self._held[account_id]
            else:
                held[account_id] = Grant(found, ends.get(account_id))
        self._held = held
        for book in (self._replaced, self._refused):
            for account_id in book.keys() - held.keys():
                del book[account_id]

    def secret(self, account: Account, now_ms: int) -> Secret | None:
        """Return what to send upstream for an account; None when there is nothing, or nothing good any more."""
        held = self._held.get(account.id)
        if held is None:
            return None
        if account.kind == "api_key":
            return held.credentials.api_key
        token = held.credentials.access_token
        if token is None or (held.expires_at_ms is not None and held.expires_at_ms <= now_ms):
            return None
        return None if self._refused and self._refused.get(account.id) == token else token

    def held(self, account_id: str) -> Grant | None:
        """Return everything that is known of an account's credentials."""
        return self._held.get(account_id)

    def adopt(self, grant: Grant) -> None:
        """Use new credentials from now on; what they replace does not come back by a late look at the store."""
        account_id = grant.credentials.account_id
        before = self._held.get(account_id)
        if before is not None and before.credentials != grant.credentials:
            self._replaced[account_id] = before.credentials
        self._held[account_id] = grant

    def refuse(self, account_id: str, token: Secret) -> None:
        """Have an access token not used any more: upstream has refused it."""
        self._refused[account_id] = token
