"""Traces: one span for each exchange and one for each attempt, made from its record when it has ended.

The request path hands over what has ended and is done; a thread of its own makes spans of it and sends them
(`sending`). Nothing of OpenTelemetry is imported before that thread runs. The rule: no span holds anything that was
said, no credential, and no text of upstream's.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from ccflare.exchange import OpenExchange
from ccflare.records import Account, Exchange
from ccflare.traces.spans import Ended, Where

__all__ = ["Emit", "Traces"]

log = logging.getLogger("ccflare.Traces")

MOST: Final = 10_000
"""Exchanges that may wait for the thread, about 20 MB; of more the oldest are dropped and counted."""
LOOK_EVERY_S: Final = 0.5

ABSENT: Final = "Traces are not sent: OpenTelemetry is not installed (pip install 'ccflare[otel]')"


class Emit(Protocol):
    """Makes spans of an exchange and sends them some time."""

    def __call__(self, ended: Ended, /) -> None:
        """Take it over."""
        ...

    def close(self) -> None:
        """Send what waits."""
        ...


class _Nowhere:
    """Forgets exchanges: where nothing can be sent nothing is kept for it."""

    def __call__(self, ended: Ended, /) -> None:
        pass

    def close(self) -> None:
        pass


class Traces:
    """Takes exchanges over on the event loop, and has a thread tell of them.

    `find` returns an account by its id, `upstream_url` is where those without an address of their own go, `begin`
    makes what sends; it is called in the thread and raises ImportError where OpenTelemetry is missing.
    """

    def __init__(
        self, find: Callable[[str], Account | None], upstream_url: Callable[[], str], begin: Callable[[], Emit]
    ) -> None:
        self.dropped = 0
        self._reported = 0
        self._find = find
        self._upstream_url = upstream_url
        self._begin = begin
        self._waiting: deque[Ended] = deque(maxlen=MOST)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)

    def put(self, x: OpenExchange, exchange: Exchange) -> None:
        """Keep an exchange that has ended. Never waits."""
        if len(self._waiting) == self._waiting.maxlen:  # the oldest makes room
            self.dropped += 1
        fields = x.inbound.fields
        self._waiting.append(
            Ended(
                exchange=exchange,
                asked_model=None if x.ask.model is None else x.clean(x.ask.model),
                ready_ms=round((x.ready_at - x.arrived_at) * 1000),
                traceparent=fields.get(b"traceparent", b""),
                tracestate=fields.get(b"tracestate", b""),
                wheres=tuple(self._where(attempt.account_id) for attempt in exchange.attempts),
            )
        )

    def _where(self, account_id: str | None) -> Where:
        account = None if account_id is None else self._find(account_id)
        if account is None:
            return Where(None, self._upstream_url())
        return Where(account.name, account.base_url or self._upstream_url())

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Send what waits, and end the thread."""
        self._ending.set()
        self._thread.join(timeout_s)

    # The thread.

    def _run(self) -> None:
        emit: Emit
        try:
            emit = self._begin()
        except ImportError:
            log.warning(ABSENT)
            emit = _Nowhere()
        except Exception as error:  # noqa: BLE001  # the SDK reads its own environment, and refuses as it likes
            log.error("Traces are not sent: OpenTelemetry refuses its settings: %s", error)  # no traceback
            emit = _Nowhere()
        while not self._ending.wait(LOOK_EVERY_S):
            self._tell(emit)
        self._tell(emit)
        emit.close()

    def _tell(self, emit: Emit) -> None:
        dropped = self.dropped
        if dropped > self._reported:
            log.warning("%d exchanges were not traced: more ended than could be told of", dropped - self._reported)
            self._reported = dropped
        while self._waiting:
            try:
                emit(self._waiting.popleft())
            except Exception:
                log.exception("An exchange could not be traced")
