"""What a server is told from outside while it runs: by signals, or by its supervisor."""

import asyncio
from dataclasses import dataclass, field


@dataclass(slots=True)
class Orders:
    """Stop gently, stop at once, read the settings again."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    at_once: asyncio.Event = field(default_factory=asyncio.Event)
    reread: asyncio.Event = field(default_factory=asyncio.Event)
    replaced: bool = False
    """Another process goes on with the same sockets: clients are let go without one of them noticing."""

    asked: bool = False
    """A signal to stop has come."""

    def ask_to_stop(self) -> None:
        """Take a signal for what it is: the first one means gently, a second one at once.

        A service manager may send the first to all processes, so whatever the supervisor says does not count here.
        """
        self.end(at_once=self.asked)
        self.asked = True

    def end(self, *, at_once: bool = False, replaced: bool = False) -> None:
        """Stop; being told to stop gently twice is no hurry."""
        self.replaced |= replaced and not self.stop.is_set()
        self.stop.set()
        if at_once:
            self.at_once.set()
