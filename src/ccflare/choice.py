"""Why an account was chosen: the word that is kept with an attempt, and what it says to people.

The pool says the word while it chooses, because a moment later the reason may be gone.
"""

from collections.abc import Mapping
from typing import Final

import msgspec


class Choice(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Why an account was the next one to be tried."""

    why: str
    """A key of `WORDS`."""
    instead_of: str | None = None
    """The account that the session belongs to, when it could not serve."""
    until_ms: int | None = None
    """Until when it could not; None: it does not come back by itself, or is gone."""

    @property
    def words(self) -> str:
        """What `why` means."""
        return WORDS.get(self.why, self.why)


WORDS: Final = {
    "session": "its session's account",
    "stand_in": "it stands in for its session's account",
    "alongside": "requests of the same session were on their way there",
    "owner": "it owns what the request names",
    "only": "the only one left that could serve",
    "priority": "first by priority",
    "headroom": "it had more left of its limits",
    "in_flight": "it had the fewest requests running",
    "last_used": "used last, all else being equal",
    "equal": "as good as any other",
    "again": "the same account again",
    "own_credential": "no account could serve: the client's own credential",
}
"""What each reason means, for people."""

NOBODYS: Final = Choice("")
"""Nothing is chosen yet, and no session's account is missed."""
SESSION: Final = Choice("session")
ALONGSIDE: Final = Choice("alongside")
OWNER: Final = Choice("owner")
OWN_CREDENTIAL: Final = Choice("own_credential")
ONLY: Final = Choice("only")

_RANKED: Final = tuple(map(Choice, ("priority", "headroom", "in_flight", "last_used", "equal")))
"""In the order of the sort key of `strategy.rank`."""


def by_rank(best: tuple[object, ...], second: tuple[object, ...] | None) -> Choice:
    """Say what puts one candidate before the next: the first part of their sort keys that differs."""
    if second is None:
        return ONLY
    return next((why for why, one, other in zip(_RANKED, best, second, strict=True) if one != other), _RANKED[-1])


def again(choice: Choice) -> Choice:
    """Say that the same account is tried once more."""
    return Choice("again", choice.instead_of, choice.until_ms)


def in_words(choice: Choice, names: Mapping[str, str]) -> str:
    """Return a choice in words, without the instant. `names` are those of the accounts by their ids."""
    words = choice.words
    if choice.instead_of is None or choice.why == "again":
        return words
    own = names.get(choice.instead_of, "an account that is gone")
    if choice.why == "stand_in":
        return f"{words} {own}"
    return f"{words}; its session's account {own} could not serve"
