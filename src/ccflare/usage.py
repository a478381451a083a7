"""What an answer said about its cost: the tokens of each class and what else decides the price.

A field is None where upstream did not say; nothing is estimated.
"""

import msgspec


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """The usage of one answer, in the API's own terms. Counts are tokens unless their name says otherwise."""

    model: str | None = None
    """The model that answered; an alias in the request may stand for it."""
    input_tokens: int | None = None
    """Input neither read from a cache nor written to one."""
    output_tokens: int | None = None
    """Thinking included."""
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    """All cache writes, whatever their lifetime."""
    cache_creation_5m_tokens: int | None = None
    cache_creation_1h_tokens: int | None = None
    thinking_tokens: int | None = None
    """A part of `output_tokens`."""
    web_search_requests: int | None = None
    """Number of searches, each billed."""
    web_fetch_requests: int | None = None
    code_execution_requests: int | None = None
    service_tier: str | None = None
    inference_geo: str | None = None
    speed: str | None = None
    stop_reason: str | None = None

    @property
    def cache_write_tokens(self) -> int | None:
        """All cache writes: the total, or the sum of the lifetimes where that is larger or the only one said."""
        short, long, total = (
            self.cache_creation_5m_tokens,
            self.cache_creation_1h_tokens,
            self.cache_creation_input_tokens,
        )
        if short is None and long is None:
            return total
        parts, total = (short or 0) + (long or 0), total or 0
        return parts if parts > total else total  # noqa: FURB136  # `max` takes ten times as long

    @property
    def prompt_tokens(self) -> int | None:
        """The whole input, cached or not: `requests.prompt_tokens`."""
        return _sum(self.input_tokens, self.cache_read_input_tokens, self.cache_write_tokens)

    @property
    def total_tokens(self) -> int | None:
        """Input and output of every class: `requests.total_tokens`."""
        return _sum(self.prompt_tokens, self.output_tokens)


NOT_SAID = Usage()
"""The usage of an answer that tells of none."""


def _sum(*counts: int | None) -> int | None:
    """Add what is known; None when nothing is."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
