"""What was worked out from a request's head counts for the next request with the same head, and for no other."""

import pytest

from flow.scripted import Client, World

SESSION = (b"X-Claude-Code-Session-Id", b"s1")
KEY = (b"x-api-key", b"dummy")


@pytest.mark.parametrize(
    "target", [b"/v1/messages?beta=true", b"/v1/messages/count_tokens", b"/v1/x/sk-ant-secret", b"/no"]
)
async def test_a_head_that_comes_again_is_recorded_the_same(target: bytes) -> None:
    """Method, path and session are those of a head that comes alone, and are not worked out again."""
    known, alone = World(), World()
    for headers in ([SESSION, KEY], [KEY]):
        first, second = (Client(b"{}", method=b"PUT", target=target, headers=headers) for _ in range(2))
        second.memory = first.memory
        await known.ask(first)
        found = first.memory.asked
        await known.ask(second)
        assert found is not None
        assert second.memory.asked is found
        for _ in range(2):
            await alone.ask(Client(b"{}", method=b"PUT", target=target, headers=headers))

    said = [[(row.method, row.path, row.session, row.status_code) for row in world.rows] for world in (known, alone)]
    assert said[0] == said[1]
    assert len(set(said[0])) == (1 if target == b"/no" else 2)
