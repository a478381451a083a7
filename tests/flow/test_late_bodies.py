"""A head that upstream has sent does not wait for a body that has not come."""

import asyncio

from flow.scripted import Answer, Client, World


async def test_a_head_leaves_before_a_late_body() -> None:
    """Where nothing of the body is needed for a judgement, as for a request without any account."""
    world, client = World(""), Client(b"{}")
    world.script(nobody=[Answer(body=b"", forever=True)])
    task = asyncio.create_task(world.ask(client))
    async with asyncio.timeout(5):
        await client.flushed.wait()
    assert (client.status, bytes(client.answer), client.ended) == (200, b"", None)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    world.assert_quiet()
