"""What upstream repeats of our credential, or of anything like one, is not recorded."""

import json

import pytest

from flow.scripted import Answer, World, error

KEY = "sk-ant-api03-the-account-key-itself"


@pytest.mark.parametrize("key", ["key-a", KEY])
async def test_an_error_that_repeats_a_key_is_recorded_without_it(key: str) -> None:
    """The client gets the answer as it came; the record has a mask where the key stood."""
    world = World("a")
    world.script(a=[error(404, "not_found_error", f"Incorrect API key provided: {key}.")])
    client = await world.ask()
    assert key.encode() in client.answer
    assert key not in repr(world.rows)
    assert (world.rows[0].error_message or "").endswith("***.")


@pytest.mark.parametrize("key", ["key-a", KEY])
async def test_a_model_that_repeats_a_key_is_recorded_without_it(key: str) -> None:
    """A model's name comes from upstream, or from the client."""
    world = World("a")
    answer = {"type": "message", "model": key, "usage": {"input_tokens": 1, "output_tokens": 1}}
    world.script(a=[Answer(200, json.dumps(answer).encode())])
    await world.ask(body=json.dumps({"model": key}).encode())
    assert key not in repr(world.rows)
    assert (world.rows[0].model or "").endswith("***")
