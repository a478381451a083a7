"""The route that tells which exchanges run."""

from typing import Annotated

import msgspec
from msgspec import Meta

from ccflare.api.parts import Parts
from ccflare.api.running_view import TOLD, RunningRequests, whole
from ccflare.api.running_view import asked as question


class RunningQuestion(msgspec.Struct, frozen=True):
    """Which of them."""

    limit: Annotated[int, Meta(ge=1, le=1000, description="At most so many.")] = TOLD
    id: Annotated[str, Meta(description="Only this one; none when it does not run.")] | None = None


async def list_running(parts: Parts, asked: RunningQuestion) -> RunningRequests:
    """List the requests that run at this moment, the longest first.

    One that has ended is found in the history, as a rule within a tenth of a second.
    """
    others = await parts.colleagues.gather("running", question(asked.limit, asked.id))
    return whole(parts.running.look(asked.limit, asked.id), others, asked.limit)
