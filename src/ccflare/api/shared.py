"""Equal questions that are asked at the same moment are answered once."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Flight:
    """A question that is being answered, and how many wait for the answer."""

    task: "asyncio.Future[Any]"
    waiting: int = 0


class Shared:
    """The questions that are being answered. Nothing is kept of an answer."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight] = {}

    async def ask(self, question: Hashable, answer: Callable[[], Awaitable[T]]) -> T:
        """Return the answer to a question, that of who has asked the same before and still waits for it.

        Raises what answering raises. An answer that nobody waits for any more is cancelled.
        """
        flight = self._flights.get(question)
        if flight is None:
            flight = self._flights[question] = _Flight(asyncio.ensure_future(answer()))
            flight.task.add_done_callback(lambda _done: self._flights.pop(question, None))
        flight.waiting += 1
        try:
            found: T = await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                self._flights.pop(question, None)
                flight.task.cancel()
        return found
