"""The way of an answer's bytes from upstream to the client, and what is counted on the way."""

from collections.abc import Callable

from ccflare.wire import Inbound


class Relay:
    """Takes bytes from upstream and gives them to the client at once (`wire.Sink`)."""

    __slots__ = ("_inbound", "_now", "bytes_sent", "first_byte_at", "last_byte_at")

    def __init__(self, inbound: Inbound, monotonic: Callable[[], float]) -> None:
        self._inbound = inbound
        self._now = monotonic
        self.bytes_sent = 0
        self.first_byte_at: float | None = None
        """Monotonic seconds."""
        self.last_byte_at: float | None = None

    def write(self, data: bytes) -> bool:
        """Pass bytes on; False when the client reads slowly."""
        self.last_byte_at = self._now()
        if self.first_byte_at is None:
            self.first_byte_at = self.last_byte_at
        self.bytes_sent += len(data)
        return self._inbound.write(data)
