"""Which account an upstream object belongs to: a bounded table in the order of last use."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable
from typing import Final

import msgspec

from ccflare.records import Owned

USE_SAVED_EVERY_MS: Final = 24 * 3_600_000
"""How old the stored instant of an object's last use may become."""


class Owners:
    """The objects whose owner is known; of too many the one used longest ago is forgotten."""

    def __init__(self, most: int) -> None:
        self._most = max(1, most)
        self._owned: OrderedDict[str, Owned] = OrderedDict()
        self._kinds: Counter[str] = Counter()
        self.kinds = self._kinds.keys()
        """What the known ids begin with: `file` for `file_...`. Empty for nearly everybody."""
        self._changed: dict[str, Owned] = {}
        self.tell: Callable[[Owned], None] = _nobody
        """Called with what is learnt or forgotten here, for other workers."""

    def __len__(self) -> int:
        return len(self._owned)

    def accounts_of(self, object_ids: Iterable[str], now_ms: int) -> list[str]:
        """Return who owns any of these objects, in the order of the ids, each account once."""
        accounts: dict[str, None] = {}
        for object_id in object_ids:
            owned = self._owned.get(object_id)
            if owned is not None and owned.account_id is not None:
                accounts[owned.account_id] = None
                self._use(owned, now_ms)
        return list(accounts)

    def note(self, account_id: str, object_ids: Iterable[str], now_ms: int) -> None:
        """Note that an account has shown these objects. One that has an owner stays with it."""
        for object_id in object_ids:
            owned = self._owned.get(object_id)
            if owned is None:
                self._keep(found := Owned(object_id, account_id, now_ms))
                self.tell(found)
            else:
                self._use(owned, now_ms)

    def forget(self, object_id: str) -> None:
        """Forget an object that was deleted."""
        owned = self._drop(object_id)
        if owned is not None:
            self._changed[object_id] = gone = Owned(object_id, None, owned.used_at_ms)
            self.tell(gone)

    def forget_accounts(self, account_ids: Collection[str]) -> None:
        """Forget what belonged to accounts that are gone; the store does so by itself."""
        for object_id in [each.object_id for each in self._owned.values() if each.account_id in account_ids]:
            self._drop(object_id)
            self._changed.pop(object_id, None)

    def restore(self, kept: Iterable[Owned]) -> None:
        """Take over what an earlier run, or another process, has learnt."""
        for owned in sorted(kept, key=lambda owned: owned.used_at_ms):
            if owned.account_id is not None and owned.object_id not in self._owned:
                self._put(owned)

    def adopt(self, owned: Owned) -> None:
        """Take over what another worker has learnt or forgotten. An object that has an owner stays with it."""
        if owned.account_id is None:
            self._drop(owned.object_id)
        elif owned.object_id not in self._owned:
            self._put(owned)

    def take_changes(self) -> tuple[Owned, ...]:
        """Return what was learnt, used or forgotten since the last call."""
        if not self._changed:
            return ()
        changed = tuple(self._changed.values())
        self._changed = {}
        return changed

    def _use(self, owned: Owned, now_ms: int) -> None:
        self._owned.move_to_end(owned.object_id)
        if now_ms - owned.used_at_ms >= USE_SAVED_EVERY_MS:
            self._keep(msgspec.structs.replace(owned, used_at_ms=now_ms))

    def _keep(self, owned: Owned) -> None:
        self._put(owned)
        self._changed[owned.object_id] = owned

    def _put(self, owned: Owned) -> None:
        if owned.object_id not in self._owned:
            self._kinds[_kind(owned.object_id)] += 1
        self._owned[owned.object_id] = owned
        if len(self._owned) > self._most:
            self._drop(next(iter(self._owned)))

    def _drop(self, object_id: str) -> Owned | None:
        owned = self._owned.pop(object_id, None)
        if owned is not None:
            kind = _kind(object_id)
            self._kinds[kind] -= 1
            if not self._kinds[kind]:
                del self._kinds[kind]
        return owned


def _nobody(_owned: Owned) -> None:
    """Be told in vain: this server is one process."""


def _kind(object_id: str) -> str:
    return object_id.partition("_")[0]
