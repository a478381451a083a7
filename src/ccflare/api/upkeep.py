"""Whether the server is well, and what is done to keep it so."""

from ccflare.api.health import HealthView, health
from ccflare.api.parts import Parts
from ccflare.api.reading import NoWords
from ccflare.journal import Removed


async def show_health(parts: Parts) -> HealthView:
    """Say whether requests can be served."""
    return health(parts.read_health())


async def clean_up(parts: Parts, body: NoWords) -> Removed:
    """Delete what is older than the settings keep, now instead of soon."""
    return await parts.clean_up()
