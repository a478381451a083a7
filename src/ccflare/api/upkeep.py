"""Whether the server is well, and what is done to keep it so."""

from ccflare.api.health import HealthView, health, whole
from ccflare.api.parts import Parts
from ccflare.api.reading import NoWords
from ccflare.journal import Removed


async def show_health(parts: Parts) -> HealthView:
    """Say whether requests can be served."""
    now, colleagues = parts.read_health(), parts.colleagues
    return health(whole(now, await colleagues.gather("health"), colleagues.workers))


async def clean_up(parts: Parts, body: NoWords) -> Removed:
    """Delete what is older than the settings keep, now instead of soon."""
    return await parts.clean_up()
