"""Whether the server is well, and what is done to keep it so."""

import asyncio

from ccflare.api.health import HealthView, health, whole
from ccflare.api.parts import Parts
from ccflare.api.readiness import ReadyView, ready
from ccflare.api.reading import NoWords
from ccflare.api.route import Text
from ccflare.bus import everybody
from ccflare.journal import Removed
from ccflare.metrics import media_type, merged, render


async def show_health(parts: Parts) -> HealthView:
    """Say whether requests can be served."""
    now, colleagues = parts.read_health(), parts.colleagues
    return health(whole(now, await colleagues.gather("health"), colleagues.workers))


async def show_readiness(parts: Parts) -> ReadyView:
    """Say whether this server is to be sent requests; 503 while it is not."""
    return ready(parts.readiness, parts.read_health())


async def show_metrics(parts: Parts, accept: str) -> Text:
    """Show the metrics in Prometheus' text format, or as OpenMetrics for who asks for it."""
    colleagues, kind = parts.colleagues, media_type(accept)
    told = await everybody(colleagues, "metrics", await tell_metrics(parts))
    return Text(await asyncio.to_thread(_written, told, colleagues.workers > 1, kind), kind)


def tell_metrics(parts: Parts) -> "asyncio.Future[bytes]":
    """Return the metrics of this process as another worker is told them; a thread makes them."""
    make, number = parts.look_at_metrics(), parts.colleagues.number
    return asyncio.get_running_loop().run_in_executor(None, lambda: make().encode(number))


def _written(told: list[bytes], apart: bool, kind: str) -> bytes:
    return render(merged(told, apart=apart), kind)


async def clean_up(parts: Parts, body: NoWords) -> Removed:
    """Delete what is older than the settings keep, now instead of soon."""
    return await parts.clean_up()
