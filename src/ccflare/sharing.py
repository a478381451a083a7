"""What this worker shares with the others: which fact goes by the bus when, and where it comes in.

    pool        what routing has learnt                     at once
    load        what each account serves                    every 50 ms, where it has changed
    look        the accounts in the store are others now    at once: each looks at the store
    settings    the settings file was written               at once: each reads it
    wanted      whether somebody follows a feed here        when that changes
    request,    exchanges that were written, log entries    at once, where somebody follows them
    log
    running     exchanges that run                          five times a second, where somebody follows them

Facts of a round of the event loop go together. What is lost on the way is in the store, and seen there within a second.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any, Final

import msgspec

from ccflare.app import App
from ccflare.bus import Colleagues
from ccflare.clock import Clock
from ccflare.logs import LogEntry
from ccflare.pool.news import Leads, News
from ccflare.records import Exchange

LOAD_EVERY_S: Final = 0.05
RUNNING_EVERY: Final = 4
"""What runs is told with every fourth look at the load."""
WANTED_S: Final = 60.0
"""So long after the last follower has left what he followed is still fetched: he may come back for what he missed."""
AT_ONCE: Final = 200
"""Events in one message; of more the oldest are left out, and counted."""

_encode = msgspec.msgpack.Encoder().encode
_news = msgspec.msgpack.Decoder(list[News]).decode
_DECODERS: Final[dict[str, Callable[[bytes], tuple[int, Sequence[Any]]]]] = {
    "request": msgspec.msgpack.Decoder(tuple[int, list[Exchange]]).decode,
    "log": msgspec.msgpack.Decoder(tuple[int, list[LogEntry]]).decode,
}
"""Of each feed's events: how many were left out, and then these."""
_wanted = msgspec.msgpack.Decoder(list[str]).decode


class Sharing:
    """Connects an app with its colleagues. Belongs to the event loop."""

    def __init__(self, app: App, colleagues: Colleagues, clock: Clock, reread: Callable[[], None]) -> None:
        self._app = app
        self._colleagues = colleagues
        self._clock = clock
        self._pending: list[News] = []
        self._feeds = {"request": app.exchanges, "log": app.log_lines}
        self._wanted_by: dict[int, list[str]] = {}
        """What other workers' followers want to hear, by the worker."""
        self._wanted_until: dict[str, float] = {}
        self._told_wanted: list[str] = []
        self._newcomer = False
        self._told_running = b""
        app.pool.share(self._tell)
        app.configuration.on_written = lambda: colleagues.publish("settings", b"")
        colleagues.on_change(self._come_or_gone)
        colleagues.listen("pool", self._hear)
        colleagues.listen("look", lambda _body, _worker: app.journal.look())
        colleagues.listen("settings", lambda _body, _worker: reread())
        colleagues.listen("wanted", self._hear_wanted)
        colleagues.listen("running", app.running.hear)
        for kind, feed in self._feeds.items():
            colleagues.listen(kind, partial(self._hear_happened, kind))
            feed.on_follow = partial(self._want, kind)
            feed.pass_on = self._pass_on

    # What routing has learnt.

    def _tell(self, news: News) -> None:
        if isinstance(news, Leads):
            self._colleagues.reclaim(news.session, news.account_id)
        self._pending.append(news)
        if len(self._pending) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        self._colleagues.publish("pool", _encode(pending))

    def _hear(self, body: bytes, worker: int) -> None:
        now_ms = int(self._clock.now() * 1000)
        for news in _news(body):
            self._app.pool.others.hear(worker, news, now_ms)

    def _come_or_gone(self, worker: int, came: bool) -> None:
        if came:
            self._newcomer = True
            self._colleagues.publish("wanted", _encode(self._told_wanted))
        else:
            self._app.pool.others.gone(worker)
            self._app.running.gone(worker)
            self._wanted_by.pop(worker, None)

    async def share_load(self) -> None:
        """Tell, for ever, what accounts serve here, and which exchanges run."""
        for turn in count():
            await self._clock.sleep(LOAD_EVERY_S)
            if turn % RUNNING_EVERY == 0:
                self._tell_running()
            everything, self._newcomer = self._newcomer, False
            load = self._app.pool.load_here(everything=everything)
            if load is not None:
                self._tell(load)
            self._look_for_followers()

    # What people follow.

    def _tell_running(self) -> None:
        if not self._is_wanted("request"):
            return
        running = self._app.running.tell()
        if running != self._told_running:
            self._told_running = running
            self._colleagues.publish("running", running)

    def _is_wanted(self, kind: str) -> bool:
        return any(kind in wanted for wanted in self._wanted_by.values())

    def _pass_on(self, kind: str, things: Sequence[Any], missed: int) -> None:
        """Have followers at other workers hear of it; nobody is told who does not follow."""
        if self._is_wanted(kind):
            left_out = max(0, len(things) - AT_ONCE)
            self._colleagues.publish(kind, _encode((missed + left_out, things[left_out:])))

    def _hear_happened(self, kind: str, body: bytes, _worker: int) -> None:
        missed, things = _DECODERS[kind](body)
        self._feeds[kind].take_in(kind, things, missed)

    def _want(self, kind: str) -> None:
        self._wanted_until[kind] = self._clock.monotonic() + WANTED_S
        self._tell_wanted()

    def _look_for_followers(self) -> None:
        now = self._clock.monotonic()
        for kind, feed in self._feeds.items():
            if feed.followers:
                self._wanted_until[kind] = now + WANTED_S
        self._tell_wanted()

    def _tell_wanted(self) -> None:
        now = self._clock.monotonic()
        wanted = [kind for kind, until in self._wanted_until.items() if until > now]
        if wanted != self._told_wanted:
            self._told_wanted = wanted
            if "request" not in wanted:
                self._app.running.gone()
            self._colleagues.publish("wanted", _encode(wanted))

    def _hear_wanted(self, body: bytes, worker: int) -> None:
        self._wanted_by[worker] = _wanted(body)
