"""Numbers within bounds on a command line, refused in words that say what is allowed."""

from typing import Any

import click


class Between(click.IntRange):
    """A whole number from one bound to the other."""

    def __init__(self, low: int, high: int) -> None:
        super().__init__(low, high)
        self._numbers = range(low, high + 1)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number. Raises BadParameter."""
        try:
            number = int(value)
        except ValueError:
            self.fail(f"{value!r} is not a valid integer; {self._allowed}", param, ctx)
        if number not in self._numbers:
            self.fail(f"{number} is not in the range; {self._allowed}", param, ctx)
        return number

    @property
    def _allowed(self) -> str:
        return f"give a whole number from {self.min} to {self.max}"
