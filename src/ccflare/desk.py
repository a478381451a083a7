"""The store for everything that is not the request path: questions and changes of people, one thread beside the loop.

A desk has one connection and serves one caller at a time. What takes long gets a desk of its own, so that short
questions do not wait behind it.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from ccflare.errors import StoreBusy, StoreError
from ccflare.store import Store

T = TypeVar("T")

LONGEST_S = 30.0
STOP_S = 2.0
"""How long a question is told to end; then its end is waited for."""
_AGAIN_S = 0.02
"""An interrupt ends the statement that runs; a question between two statements does not notice it."""


class DeskClosed(StoreBusy):
    """The server is stopping: nothing is answered any more."""

    def __init__(self) -> None:
        super().__init__("the server is stopping")


class Desk:
    """Opens the store at the first question, and again when its file was replaced."""

    def __init__(self, open_store: Callable[[], Store], name: str = "desk") -> None:
        self._open_store = open_store
        self._store: Store | None = None
        self._stopped = False
        self._stop_told: asyncio.Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def ask(self, question: Callable[[Store], T], *, within_s: float = LONGEST_S) -> T:
        """Return what the question returns; it runs in the desk's thread with the open store.

        Raises what it raises, StoreBusy when there is no answer in time (the statement that runs is then
        interrupted, and a question that waits for its turn is not asked any more), and DeskClosed when the desk stops.
        """
        if self._stopped:
            raise DeskClosed
        future = self._thread.submit(self._answer, question)
        answer = asyncio.wrap_future(future)
        answer.add_done_callback(_forget)
        try:
            async with asyncio.timeout(within_s):
                await asyncio.wait((answer, self._stopping()), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise DeskClosed
            return answer.result()
        except TimeoutError:
            raise StoreBusy(f"the database gave no answer within {within_s:g} s") from None
        finally:
            if not future.cancel():
                self._interrupt_until_done(future)

    def stop(self) -> None:
        """Answer nothing more: who asks or waits gets DeskClosed, and what is being answered is interrupted."""
        self._stopped = True
        if self._stop_told is not None and not self._stop_told.done():
            self._stop_told.set_result(None)

    def close(self) -> None:
        """Answer nothing more and end the thread; what is being answered is interrupted."""
        self._stopped = True
        with contextlib.suppress(RuntimeError):  # closed before
            closed = self._thread.submit(self._close_store)
            deadline = time.monotonic() + STOP_S
            while time.monotonic() < deadline and not closed.done():
                self._interrupt()
                wait([closed], _AGAIN_S)
        self._thread.shutdown(wait=True)

    def _stopping(self) -> "asyncio.Future[None]":
        """Return what is done when the desk stops."""
        if self._stop_told is None:
            self._stop_told = asyncio.get_running_loop().create_future()
        return self._stop_told

    def _interrupt_until_done(self, future: "Future[Any]", times: int = round(LONGEST_S / _AGAIN_S)) -> None:
        """End a question that nobody waits for any more, also when its statement has yet to begin."""
        if times and not future.done():
            self._interrupt()
            asyncio.get_running_loop().call_later(_AGAIN_S, self._interrupt_until_done, future, times - 1)

    def _interrupt(self) -> None:
        store = self._store
        if store is not None:
            with contextlib.suppress(sqlite3.ProgrammingError):  # closed meanwhile
                store.interrupt()

    # The thread.

    def _answer(self, question: Callable[[Store], T]) -> T:
        if self._stopped:
            raise DeskClosed
        try:
            return question(self._here())
        except StoreBusy as error:
            if self._stopped:
                raise DeskClosed from error
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
