"""The store for everything that is not the request path: questions and changes of people, one thread beside the loop.

A desk has one connection and serves one caller at a time. What takes long gets a desk of its own, so that short
questions do not wait behind it.
"""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ccflare.errors import StoreBusy, StoreError
from ccflare.store import Store

T = TypeVar("T")

LONGEST_S = 30.0


class Desk:
    """Opens the store at the first question, and again when its file was replaced."""

    def __init__(self, open_store: Callable[[], Store], name: str = "desk") -> None:
        self._open_store = open_store
        self._store: Store | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def ask(self, question: Callable[[Store], T], *, within_s: float = LONGEST_S) -> T:
        """Return what the question returns; it runs in the desk's thread with the open store.

        Raises what it raises, and StoreBusy when there is no answer in time: the statement that runs is then
        interrupted, and a question that waits for its turn is not asked any more.
        """
        future = self._thread.submit(self._answer, question)
        answer = asyncio.wrap_future(future)
        answer.add_done_callback(_forget)
        try:
            async with asyncio.timeout(within_s):
                return await asyncio.shield(answer)
        except TimeoutError:
            raise StoreBusy(f"the database gave no answer within {within_s:g} s") from None
        finally:
            if not future.done() and not future.cancel() and self._store is not None:
                self._store.interrupt()

    def close(self) -> None:
        """Answer nothing more and end the thread; what is being answered is interrupted."""
        store = self._store
        if store is not None:
            store.interrupt()
        with contextlib.suppress(RuntimeError):  # closed before
            self._thread.submit(self._close_store)
        self._thread.shutdown(wait=True)

    # The thread.

    def _answer(self, question: Callable[[Store], T]) -> T:
        try:
            return question(self._here())
        except StoreBusy:
            raise
        except StoreError:
            self._close_store()  # it may be the connection that is broken
            raise

    def _here(self) -> Store:
        if self._store is not None and self._store.moved():
            self._close_store()
        if self._store is None:
            self._store = self._open_store()
        return self._store

    def _close_store(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None


def _forget(answer: "asyncio.Future[Any]") -> None:
    """Take note of an outcome that nobody may be waiting for any more."""
    if not answer.cancelled():
        answer.exception()
