"""The way of an answer's bytes from upstream to the client, and what is counted and kept on the way."""

from collections.abc import Callable

from ccflare.meter import Meter, Sightings
from ccflare.payload import Tape
from ccflare.wire import Inbound


class Relay:
    """Takes bytes from upstream, gives them to the client at once and then to meter and tape (`wire.Sink`)."""

    __slots__ = ("_inbound", "_meter", "_now", "_tape", "bytes_sent", "first_byte_at")

    def __init__(
        self,
        inbound: Inbound,
        monotonic: Callable[[], float],
        meter: Meter | Sightings | None,
        tape: Tape | None = None,
    ) -> None:
        self._inbound = inbound
        self._now = monotonic
        self._meter = meter
        self._tape = tape
        self.bytes_sent = 0
        self.first_byte_at: float | None = None
        """Monotonic seconds."""

    def write(self, data: bytes) -> bool:
        """Pass bytes on; False when the client reads slowly."""
        now = self._now()
        if self.first_byte_at is None:
            self.first_byte_at = now
        self.bytes_sent += len(data)
        go_on = self._inbound.write(data)
        if self._meter is not None:
            self._meter.feed(data, now)
        if self._tape is not None:
            self._tape.add(data)
        return go_on
