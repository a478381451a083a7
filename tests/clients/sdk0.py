"""Run by the environment with the old Python SDK: `sdk0.py BASE_URL KEY SCENARIO...` prints one JSON object."""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import anthropic

MODEL = "claude-sonnet-5-5"
TOOL: Any = {"name": "look", "description": "Looks.", "input_schema": {"type": "object", "properties": {}}}


def asked(text: str = "Hello", **more: Any) -> Any:
    """Return the arguments of a message."""
    return {"model": MODEL, "max_tokens": 256, "messages": [{"role": "user", "content": text}], **more}


def message(client: anthropic.Anthropic) -> Any:
    """Ask for a message."""
    found: Any = client.messages.create(**asked("Good morning"))
    return {"text": found.content[0].text, "request_id": found._request_id}


def stream(client: anthropic.Anthropic) -> Any:
    """Ask for a stream."""
    with client.messages.stream(**asked("Stream this")) as events:
        text = "".join(events.text_stream)
        return {"text": text, "stop_reason": events.get_final_message().stop_reason}


def tools(client: anthropic.Anthropic) -> Any:
    """Go once around a tool loop."""
    first = asked("Look", tools=[TOOL], tool_choice={"type": "any"})
    found: Any = client.messages.create(**first)
    call = next(block for block in found.content if block.type == "tool_use")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "A tree"}
    turns = [*first["messages"], {"role": "assistant", "content": found.content}, {"role": "user", "content": [result]}]
    return client.messages.create(**{**first, "messages": turns, "tool_choice": {"type": "auto"}}).stop_reason


def count(client: anthropic.Anthropic) -> Any:
    """Count tokens and list models."""
    counted = client.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "x" * 400}])
    return {"tokens": counted.input_tokens, "models": [model.id for model in client.models.list()]}


def parallel(client: anthropic.Anthropic) -> Any:
    """Ask for twenty messages at once."""

    async def all_of_them() -> list[str]:
        async with anthropic.AsyncAnthropic(base_url=str(client.base_url), api_key=client.api_key) as many:
            found: Any = await asyncio.gather(*(many.messages.create(**asked(f"n {n}.")) for n in range(20)))
        return [one.content[0].text for one in found]

    return asyncio.run(all_of_them())


def refused(client: anthropic.Anthropic) -> Any:
    """Make a mistake."""
    return _error(lambda: client.messages.create(**asked("[[fake 404]]")))


def cut(client: anthropic.Anthropic) -> Any:
    """Read a stream that breaks off."""
    return _error(lambda: list(client.messages.create(**asked("[[fake disconnect-mid]]"), stream=True)))


def limited(client: anthropic.Anthropic) -> Any:
    """Ask with the usual retries."""
    return _error(lambda: client.with_options(max_retries=2).messages.create(**asked()))


def _error(call: Callable[[], Any]) -> Any:
    began = time.monotonic()
    try:
        call()
    except Exception as error:  # noqa: BLE001  # whatever it is is the result
        return {
            "class": type(error).__name__,
            "request_id": getattr(error, "request_id", None),
            "seconds": time.monotonic() - began,
        }
    return None


SCENARIOS = {one.__name__: one for one in (message, stream, tools, count, parallel, refused, cut, limited)}


def main() -> None:
    """Run the scenarios that were named."""
    base_url, key, *names = sys.argv[1:]
    with anthropic.Anthropic(base_url=base_url, api_key=key, max_retries=0) as client:
        results = {name: SCENARIOS[name](client) for name in names}
    sys.stdout.write(json.dumps({"version": anthropic.__version__, **results}))


main()
