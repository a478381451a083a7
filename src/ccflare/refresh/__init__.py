"""Access tokens that are good when they are needed: refreshed ahead of their end, and on demand where that failed.

Any number of callers share one flight per account; a caller that leaves does not end it. Between processes the store
decides (`flight`). An account that cannot be refreshed is left alone for longer each time.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from ccflare.credentials import Keyring
from ccflare.errors import NotFound, StoreError
from ccflare.records import Account, Grant, Secret
from ccflare.refresh.flight import Dead, Ending, Failed, Flight, Good, Ground, TokenSource, Unsaved
from ccflare.store.tokens import Lease

__all__ = ["Ground", "Refresher", "TokenSource"]

log = logging.getLogger("ccflare.TokenManager")

AHEAD_MS = 600_000
"""Tokens are refreshed at most this long before their end, and at most in the last quarter of their life."""
TICK_S = 1.0
AT_ONCE = 8
"""Refreshes ahead of time that may run side by side."""
WAIT_S = 20.0
"""Longest wait of one exchange; the flight goes on without it."""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 300.0
LONGEST_URGENT_S = 30.0
"""The longest pause when an exchange needs the token, unless the endpoint asks for a longer one."""
LONGEST_ASKED_S = 3600.0
"""The endpoint is not believed when it asks for a longer pause."""
SHORTEST_LIFE_MS = 1000
"""A token that has just come is used for so long, whatever is said of its end."""


@dataclass(slots=True, eq=False)
class _Case:
    """One OAuth account and how its refreshes go. Instants are monotonic seconds."""

    account: Account
    early: float
    """The account's own share of `AHEAD_MS`, so that neither accounts nor processes refresh in step."""
    refreshed_at_ms: int | None = None
    """When this process did it last; the store's word of it comes a little later."""
    gone: bool = False
    """The account was removed; only a flight that has not ended keeps this."""
    flight: Flight | None = None
    task: asyncio.Task[None] | None = None
    failures: int = 0
    again_at: float = 0.0
    """When it is tried again ahead of need."""
    urgent_at: float = 0.0
    """When it is tried again for an exchange."""
    error: str | None = None
    dead: Dead | None = None
    unsaved: Unsaved | None = None


class Refresher:
    """Owns the refreshes in flight. Everything here belongs to the event loop's thread."""

    def __init__(self, ground: Ground, keyring: Keyring, rng: random.Random) -> None:
        self._ground = ground
        self._keyring = keyring
        self._rng = rng
        self._cases: dict[str, _Case] = {}
        self._closed = False
        self.counts: Counter[tuple[str, str]] = Counter()
        """Refreshes that this process has done, by account id and outcome: `success`, `failure` or `expired`."""

    def load(self, accounts: Iterable[Account]) -> None:
        """Take over the accounts as the store has them, and tell of those that need a person, or no longer do."""
        cases = {}
        for account in accounts:
            if account.kind == "oauth":
                case = self._cases.get(account.id)
                _tell(None if case is None else case.account, account)
                if case is None:
                    case = _Case(account, self._rng.uniform(0.75, 1.0))
                case.account, case.gone = account, False
                cases[account.id] = case
        for account_id, case in self._cases.items():
            if account_id not in cases and case.task is not None:
                case.gone, cases[account_id] = True, case
        self._cases = cases

    async def fresh(self, account: Account, refused: Secret | None = None) -> Secret | None:
        """Return a token that upstream can be asked with, refreshed if need be; None when there is none for now.

        `refused` is one that upstream has just answered with a 401: it is not used again, and replaced unless it
        has been already.
        """
        if refused is not None:
            self._keyring.refuse(account.id, refused)
        secret = self._keyring.secret(account, self._ground.now_ms())
        if secret is not None or account.kind != "oauth":
            return secret
        case = self._cases.get(account.id)
        task = None if case is None else case.task or self._start(case, urgent=True)
        if case is None or task is None:
            return None
        if case.flight is not None:
            case.flight.urgent = True
        await asyncio.wait((task,), timeout=WAIT_S)
        return self._keyring.secret(account, self._ground.now_ms())

    def is_hopeless(self, account: Account) -> bool:
        """Say whether `fresh` would give up at once: there is no good token, and no refresh is to be tried yet."""
        case = self._cases.get(account.id)
        if case is None or case.task is not None or self._keyring.secret(account, self._ground.now_ms()) is not None:
            return False
        return case.dead is not None or self._ground.clock.monotonic() < case.urgent_at

    def trouble(self, account: Account) -> str:
        """Say why `fresh` had nothing to return, in words without secrets."""
        case = self._cases.get(account.id)
        if case is None or (case.error is None and case.task is None):
            return f"Token expired or missing for account: {account.name}"
        return f"Failed to refresh access token: {case.error or 'it takes too long'}"

    async def keep_fresh(self) -> None:
        """Refresh tokens ahead of their end, also those of idle accounts, and save what could not be saved yet."""
        while True:
            for case in list(self._cases.values()):
                if case.unsaved is not None and case.task is None:
                    await self._save_late(case, case.unsaved)
                elif self._is_due(case) and self._in_flight() < AT_ONCE:
                    self._start(case)
            await self._ground.clock.sleep(TICK_S)

    async def close(self, within_s: float) -> None:
        """Start nothing more, and let what is under way come to the disk."""
        self._closed = True
        give_up = self._ground.clock.monotonic() + within_s
        tasks = [case.task for case in self._cases.values() if case.task is not None]
        if tasks:
            _, pending = await asyncio.wait(tasks, timeout=within_s)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        for case in self._cases.values():
            while case.unsaved is not None and self._ground.clock.monotonic() < give_up:
                await self._save_late(case, case.unsaved)
                await self._ground.clock.sleep(0.05)
            if case.unsaved is not None:
                log.error("Account %s needs a new sign-in: its new tokens could not be saved", case.account.name)

    # When.

    def _is_due(self, case: _Case) -> bool:
        account, held = case.account, self._keyring.held(case.account.id)
        if account.paused or account.expired_reason is not None or held is None or case.task is not None:
            return False
        if held.credentials.access_token is None:
            return held.credentials.refresh_token is not None
        if held.expires_at_ms is None:
            return False
        return self._ground.now_ms() >= held.expires_at_ms - self._ahead_ms(case, held.expires_at_ms)

    @staticmethod
    def _ahead_ms(case: _Case, expires_at_ms: int) -> float:
        born_ms = max(case.account.last_refresh_at_ms or 0, case.refreshed_at_ms or 0) or None
        life_ms = expires_at_ms - born_ms if born_ms is not None and born_ms < expires_at_ms else 4 * AHEAD_MS
        return min(AHEAD_MS, life_ms / 4) * case.early

    def _in_flight(self) -> int:
        return sum(case.task is not None for case in self._cases.values())

    # Flights.

    def _start(self, case: _Case, *, urgent: bool = False) -> asyncio.Task[None] | None:
        """Begin a refresh, unless the last failure is too fresh or nothing but a new sign-in helps."""
        held = self._keyring.held(case.account.id)
        if (
            held is None
            or self._closed
            or self._ground.clock.monotonic() < (case.urgent_at if urgent else case.again_at)
        ):
            return None
        if case.dead is not None:
            if held.credentials.refresh_token == case.dead.used:
                return None
            case.dead = None
        case.flight = Flight(self._ground, held, case.unsaved)
        case.task = asyncio.create_task(self._fly(case, case.flight))
        return case.task

    async def _fly(self, case: _Case, flight: Flight) -> None:
        try:
            self._end(case, await flight.run())
        except Exception:
            log.exception("Refresh promise not found for account: %s", case.account.name)
            self._end(case, Failed("internal error"))
        finally:
            case.flight = case.task = None

    def _end(self, case: _Case, ending: Ending) -> None:
        match ending:
            case Good():
                self._arrived(case, ending)
            case Failed():
                self.counts[case.account.id, "failure"] += 1
                self._put_off(case, ending)
            case Dead():
                self.counts[case.account.id, "expired"] += 1
                case.dead, case.error = ending, ending.reason
                log.error("Token refresh failed: %s (account %s)", ending.reason, case.account.name)
            case _:
                assert_never(ending)

    def _arrived(self, case: _Case, good: Good) -> None:
        """Use what came. Who refreshed it says so; a process that found it in the store does not."""
        if case.gone:
            return
        grant, name, now_ms = good.grant, case.account.name, self._ground.now_ms()
        if good.refreshed and grant.expires_at_ms is not None:
            grant = Grant(grant.credentials, max(grant.expires_at_ms, now_ms + SHORTEST_LIFE_MS))
        self._keyring.adopt(grant)
        if good.refreshed:
            self.counts[case.account.id, "success"] += 1
            case.refreshed_at_ms = now_ms
            log.info("Refreshed the token of account %s%s", name, ", after failures" if case.failures else "")
        if good.unsaved is not None:
            log.error("The new tokens of account %s cannot be saved yet and are lost if ccflare ends before", name)
        case.failures, case.error, case.unsaved = 0, None, good.unsaved

    def _put_off(self, case: _Case, failed: Failed) -> None:
        now, asked_s = self._ground.clock.monotonic(), min(failed.retry_after_s or 0.0, LONGEST_ASKED_S)
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(case.failures, 16)) * self._rng.uniform(0.5, 1.0)
        case.failures += 1
        case.error = failed.error
        case.urgent_at = now + max(min(pause_s, LONGEST_URGENT_S), asked_s)
        pause_s = max(pause_s, asked_s)
        case.again_at = now + pause_s
        log.warning(
            "Token refresh failed: %s (account %s, next try in %.1f s)", failed.error, case.account.name, pause_s
        )

    async def _save_late(self, case: _Case, unsaved: Unsaved) -> None:
        """Try once more to save what has been used from memory."""
        now_ms = self._ground.now_ms()
        try:
            saved = await self._ground.save(Lease(case.account.id, self._ground.holder, now_ms), unsaved)
        except (StoreError, NotFound) as error:
            log.debug("The tokens of account %s are not saved yet: %s", case.account.name, error)
            return
        if case.unsaved is unsaved:
            case.unsaved = None
            self._keyring.adopt(saved)
            log.info("The new tokens of account %s are saved", case.account.name)


def _tell(before: Account | None, now: Account) -> None:
    """Say once that an account has come to need a new sign-in, and once that it is back."""
    was_expired = before is not None and before.expired_reason is not None
    was_refused = before is not None and before.auth_failed_reason is not None
    if now.expired_reason is not None and not was_expired:
        log.warning("Account %s is expired and needs a new sign-in: %s", now.name, now.expired_reason)
    elif was_expired and now.expired_reason is None:
        log.info("Account %s is signed in again", now.name)
    elif before and was_refused and not now.auth_failed_reason and now.last_refresh_at_ms != before.last_refresh_at_ms:
        log.info("Account %s is used again: its token was refreshed", now.name)
