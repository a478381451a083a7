"""The life of a supervisor: have as many workers as wanted, replace those that die, let all of them end."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Final

from ccflare import listening, logs
from ccflare.errors import InvalidSetting, OperatorError
from ccflare.settings import Loaded, changed, load
from ccflare.supervisor.backoff import Backoff
from ccflare.supervisor.hub import Hub, Seat
from ccflare.supervisor.worker import Worker, start_worker
from ccflare.systemd import ServiceState

log = logging.getLogger("ccflare.Server")

READY_S: Final = 30.0
"""Longest wait for a new worker to serve."""
LAST_WORDS_S: Final = 25.0
"""How much longer than the limit of running requests a worker may take to end: tokens and the database."""
AT_ONCE_S: Final = 15.0
LINGERING: Final = 3
"""Replaced workers that may still finish what they serve, for each one that is wanted."""


class Supervisor:
    """Owns the workers. `ask_to_stop` and `reload` are for signals."""

    def __init__(
        self,
        loaded: Loaded,
        flags: Mapping[str, object],
        sockets: Sequence[socket.socket],
        service: ServiceState,
        log_writer: logs.Log,
    ) -> None:
        self.reload = asyncio.Event()
        """Set: read the settings again, and replace all workers, one by one."""
        self._loaded = loaded
        self._flags = flags
        self._sockets = sockets
        self._service = service
        self._log_writer = log_writer
        self._hub = Hub(loaded.settings.workers)
        self._hub.on_ending = self._replace
        self._workers: dict[int, Worker] = {}
        self._number = 0
        self._backoff = Backoff()
        self._pause_s = 0.0
        self._missing = asyncio.Event()
        self._starting = asyncio.Lock()
        self._serving = asyncio.Event()
        self._stop, self._at_once = asyncio.Event(), asyncio.Event()
        self._started_at = time.monotonic()
        self._watching: set[asyncio.Task[None]] = set()

    def ask_to_stop(self) -> None:
        """Take a signal for what it is: the first one means gently, a second one at once."""
        (self._at_once if self._stop.is_set() else self._stop).set()

    async def run(self, announce: Callable[[], None]) -> None:
        """Serve until it is told to stop. Raises OperatorError when no worker can be started."""
        chores = [asyncio.create_task(each) for each in self._chores(announce)]
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([*chores, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            for chore in chores:
                chore.cancel()
            ended = await asyncio.gather(*chores, return_exceptions=True)
            await self._end_all()
        for failure in ended:
            if isinstance(failure, BaseException) and not isinstance(failure, asyncio.CancelledError):
                raise failure

    def _chores(self, announce: Callable[[], None]) -> tuple[Coroutine[None, None, None], ...]:
        return self._keep_up(announce), self._reload_when_told(), self._show_life()

    # Having enough of them.

    def _staying(self) -> list[Worker]:
        return [worker for worker in self._workers.values() if not worker.seat.ending]

    async def _keep_up(self, announce: Callable[[], None]) -> None:
        """Start the first workers, and then one for each that has died."""
        await self._start_missing()
        if not self._staying():
            raise OperatorError("No worker could be started; the log says why")
        announce()
        self._service.ready()
        self._serving.set()
        while True:
            await self._missing.wait()
            self._missing.clear()
            await asyncio.sleep(self._pause_s)
            await self._start_missing()

    async def _start_missing(self) -> None:
        async with self._starting:
            self._pause_s = 0.0
            count = self._hub.workers - len(self._staying())
            await asyncio.gather(*(self._start() for _ in range(count)))

    async def _start(self) -> Worker | None:
        """Start a worker and wait until it serves; None when it does not."""
        self._number += 1
        try:
            worker = await start_worker(self._hub, self._number, self._sockets, self._flags, self._started_at)
        except OSError as error:
            log.error("Worker %d could not be started: %s", self._number, error.strerror or error)
            self._missed(0.0)
            return None
        self._workers[worker.number] = worker
        watching = asyncio.create_task(self._watch(worker))
        self._watching.add(watching)
        watching.add_done_callback(self._watching.discard)
        ready = asyncio.create_task(worker.seat.ready.wait())
        await asyncio.wait([ready, watching], timeout=READY_S, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if not worker.seat.ready.is_set() and worker.number in self._workers:
            log.error("Worker %d (pid %d) does not serve after %.0f s", worker.number, worker.pid, READY_S)
            worker.kill()
        return worker if worker.seat.ready.is_set() else None

    async def _watch(self, worker: Worker) -> None:
        """Wait for the end of a worker, and have another one started when nobody wanted it."""
        status = await worker.ended()
        del self._workers[worker.number]
        if worker.seat.ending and status == 0:
            return
        lived_s = asyncio.get_running_loop().time() - worker.started
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        log.error("Worker %d (pid %d) %s after %.1f s", worker.number, worker.pid, how, lived_s)
        if not worker.seat.ending:
            self._missed(lived_s)

    def _missed(self, lived_s: float) -> None:
        if not self._stop.is_set():
            self._pause_s = self._backoff.pause_s(lived_s)
            log.info("Another worker is started in %.1f s", self._pause_s)
            self._missing.set()

    def _replace(self, seat: Seat) -> None:
        """Start another worker for one that somebody else has told to stop; it finishes what it serves."""
        if not self._stop.is_set():
            log.info("Worker %d was told to stop; another one takes its place", seat.number)
            self._missing.set()

    # Replacing all of them.

    async def _reload_when_told(self) -> None:
        while True:
            await self.reload.wait()
            self.reload.clear()
            self._service.reloading()
            await self._reload()
            self._service.ready()

    async def _reload(self) -> None:
        """Take the settings over as they are now, and put new workers in the place of all that there are."""
        try:
            fresh = await asyncio.to_thread(load, self._flags, os.environ, create=False)
        except InvalidSetting as error:
            log.error("Nothing is reloaded: %s", error)
            return
        if fresh.broken:
            log.error("Nothing is reloaded: %s", fresh.problems[0])
            return
        for problem in fresh.problems:
            log.warning("%s", problem)
        for name in changed(self._loaded.settings, fresh.settings).restart:
            if name in {"port", "host"}:
                log.warning("Settings that apply at the next start: %s", name)
        self._loaded = fresh
        self._log_writer.set_level(fresh.settings.log_level, debug=fresh.settings.debug)
        self._hub.workers = fresh.settings.workers
        log.info("Reloading: %s replaced one by one", _so_many(len(self._staying())))
        async with self._starting:
            replaced = await self._replace_all()
        if replaced:
            log.info("Reloaded: %s new", _so_many(replaced))

    async def _replace_all(self) -> int:
        """Have each worker replaced by one that serves before it stops accepting; return how many are new."""
        self._hurry_lingering()
        old, new = self._staying(), 0
        for _ in range(self._hub.workers):
            if await self._start() is None:
                log.error("Reloading ends here: a new worker does not serve; those there are go on")
                return new
            new += 1
            if old:
                old.pop(0).end(replaced=True)
        for worker in old:
            worker.end(replaced=True)
        return new

    def _hurry_lingering(self) -> None:
        lingering = [worker for worker in self._workers.values() if worker.seat.ending]
        for worker in lingering[: max(0, len(lingering) - LINGERING * self._hub.workers)]:
            log.warning("Worker %d was replaced long ago and is cut off", worker.number)
            worker.end(at_once=True)

    # The end.

    async def _end_all(self) -> None:
        """Accept nothing more, have every worker finish within the limit, then end those that do not."""
        self._service.stopping()
        self._stop.set()
        listening.close(self._sockets)
        for worker in self._workers.values():
            worker.end()
        settings = self._loaded.settings
        limit_s = (settings.shutdown_delay_ms + settings.shutdown_timeout_ms) / 1000 + LAST_WORDS_S
        at_once = asyncio.create_task(self._at_once.wait())
        gone = asyncio.create_task(self._all_gone())
        await asyncio.wait([gone, at_once], timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        for worker in self._workers.values():
            worker.end(at_once=True)
        await asyncio.wait([gone], timeout=AT_ONCE_S)
        for worker in self._workers.values():
            log.error("Worker %d (pid %d) did not end and is killed", worker.number, worker.pid)
            worker.kill()
        at_once.cancel()
        await gone

    async def _all_gone(self) -> None:
        while self._watching:
            await asyncio.wait(tuple(self._watching))

    # Living.

    async def _show_life(self) -> None:
        """Tell a service manager that wants to know, as long as every worker's event loop turns."""
        await self._serving.wait()
        if self._service.watchdog_s is None:
            await asyncio.Event().wait()
        every_s = (self._service.watchdog_s or 1.0) / 2
        while True:
            asked_at = asyncio.get_running_loop().time()
            self._hub.ping()
            await asyncio.sleep(every_s)
            if all(worker.seat.heard_at >= asked_at for worker in self._staying() if worker.seat.ready.is_set()):
                self._service.alive()


def _so_many(workers: int) -> str:
    return "1 worker is" if workers == 1 else f"{workers} workers are"
