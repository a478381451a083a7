"""What was said in the latest requests of the sample: a programmer's session, and what goes wrong."""

import json
from typing import Any

import rawhttp
from harness import Upstream, ask, client_headers
from sample_history import HAIKU, OPUS, SONNET

SESSION = "2f6c1f0e-5a40-4d0e-9d55-6a0f0e3b8c11"
QUESTION = "The nightly import fails with `KeyError: 'currency'`. Find out why and mend it, with a test."
SYSTEM = (
    "You are a careful programmer in a repository of a shop's back office. Read before you write. Keep changes small, "
    "say what you did and why, and run the tests that your change touches."
)
TOOLS = [
    {
        "name": "read_file",
        "description": "Return the text of a file of the repository.",
        "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    },
    {
        "name": "run_tests",
        "description": "Run tests and return what they print.",
        "input_schema": {"type": "object", "properties": {"paths": {"type": "array", "items": {"type": "string"}}}},
    },
]
CODE = """\
def total(order: dict[str, Any]) -> Money:
    amount = sum(Decimal(line["price"]) * line["count"] for line in order["lines"])
    return Money(amount, order["currency"])
"""
OUTPUT = """\
tests/test_orders.py::test_total_of_one_line PASSED
tests/test_orders.py::test_order_without_currency_uses_the_shops PASSED

2 passed in 0.31 s
"""
THOUGHTS = (
    "Orders from before March have no `currency`. The import reads them again every night, so the error is not about "
    "new data. Look at how the total is made first."
)
ANSWER = (
    "Orders that were written before March have no `currency`; `total` took it for granted. It now falls back to the "
    "shop's own currency, in the one place where orders are read:\n\n"
    "1. `orders/read.py`: `currency` is filled in when a row has none.\n"
    "2. `tests/test_orders.py`: an order without a currency has the shop's.\n\n"
    "Both tests pass. The import of last night can simply be repeated."
)


def talk(port: int, upstream: Upstream) -> None:
    """Send the session's turns and some requests of other clients, the oldest first."""
    _say(upstream, text="Three tickets are about refunds, two about delivery times.")
    _send(port, HAIKU, [_user("Sort these tickets by what they are about.")], session="tickets")
    upstream.rule("400-too-long", match={"model": OPUS}, times=1)
    _send(port, OPUS, [_user("Summarise the attached minutes of the whole year.")], session="minutes")
    upstream.rule("529", match={"model": HAIKU}, times=1)
    _say(upstream, failures=1, text="Dear customer, your parcel is on its way and arrives on Thursday.")
    _send(port, HAIKU, [_user("Draft an answer to ticket 4711.")], session="tickets")
    _session(port, upstream)


def _session(port: int, upstream: Upstream) -> None:
    first = _user(QUESTION, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}})
    _say(upstream, thinking=THOUGHTS, tool="read_file", input={"path": "orders/read.py"})
    _send(port, SONNET, [first], thinking=True)
    read = _called("toolu_01read", "read_file", {"path": "orders/read.py"}, CODE, "I look at how a total is made.")
    _say(upstream, tool="run_tests", input={"paths": ["tests/test_orders.py"]})
    _send(port, SONNET, [first, *read])
    tested = _called("toolu_02test", "run_tests", {"paths": ["tests/test_orders.py"]}, OUTPUT, "Now the tests.")
    upstream.rule("529", match={"model": SONNET}, times=1)
    _say(upstream, failures=1, thinking="The tests pass; say what was done.", text=ANSWER)
    _send(port, SONNET, [first, *read, *tested], thinking=True)


def _say(upstream: Upstream, *, failures: int = 0, **action: Any) -> None:
    """Have the next answer after so many failed tries say this."""
    upstream.rule({"thinking": False, "deltas": 24} | action, skip=failures, times=1)


def _send(
    port: int, model: str, messages: list[Any], *, session: str = SESSION, thinking: bool = False
) -> rawhttp.Answer:
    body: dict[str, Any] = {"model": model, "max_tokens": 4096, "stream": True, "system": SYSTEM, "tools": TOOLS}
    if thinking:
        body["thinking"] = {"type": "enabled", "budget_tokens": 2048}
    cached = [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}]
    asked = body | {"system": cached, "messages": messages}
    return ask(port, json.dumps(asked).encode(), headers=[*client_headers(session), ("User-Agent", "sample/1.0")])


def _user(text: str, *blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text}, *blocks]}


def _called(call: str, name: str, given: dict[str, Any], result: str, said: str) -> list[dict[str, Any]]:
    """Return a tool call and its result as the next request repeats them."""
    use = {"type": "tool_use", "id": call, "name": name, "input": given}
    answer = {"type": "tool_result", "tool_use_id": call, "content": result}
    return [
        {"role": "assistant", "content": [{"type": "text", "text": said}, use]},
        {"role": "user", "content": [answer]},
    ]


PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
"""One pixel, as a screenshot would be."""
