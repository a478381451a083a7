"""The settings as people see and change them while a server runs."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ccflare.settings import Loaded, Settings, load
from ccflare.settings.edit import edit


@dataclass(slots=True)
class Configuration:
    """Where a server's settings come from. The file is read anew whenever somebody asks."""

    started: Settings
    """Those the server was started with."""
    flags: Mapping[str, object]
    environ: Mapping[str, str]
    take_over: Callable[[Loaded], None]
    """Puts settings in force as far as that is possible without a restart."""
    on_written: Callable[[], None] = lambda: None
    """Called when the file was written here."""
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def read(self) -> Loaded:
        """Return the settings as file, environment and flags are now. Raises InvalidSetting."""
        return await asyncio.to_thread(load, self.flags, self.environ, create=False)

    async def change(self, changes: Mapping[str, Any]) -> Loaded:
        """Write settings into the file, put them in force and return them; see `settings.edit`."""
        async with self._one_at_a_time:
            path = (await self.read()).path
            loaded = await asyncio.to_thread(edit, path, changes, self.flags, self.environ)
            self.take_over(loaded)
            self.on_written()
            return loaded
