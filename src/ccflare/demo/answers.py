"""What the simulated model says: content blocks, stop reason and token counts, from a request and an action.

The default answer repeats the end of what was said, behind characters that break naive byte handling.
"""

from typing import Any, NamedTuple

import msgspec

from ccflare.demo.faults import Action, user_text
from ccflare.demo.reply import Ids, Usage, encode

UNUSUAL = " — naïve café, 漢字かな, 👩‍👩‍👧‍👦 🇪🇺, שלום مرحبا"
GREETING = "Hello from the fake upstream. You said: "
SIGNATURE = "EqQBCkYIARgCKkDsimulated0signature0of0a0thinking0block0that0nobody0may0change=="
FILLER = "The quick brown fox jumps over the lazy dog while the upstream keeps on talking. "
THOUGHT = "The user said something; a short and friendly answer that repeats it will do."
REFUSED = {"type": "refusal", "category": None, "explanation": "simulated"}
STOP_SEQUENCE = "\n\nHuman:"
QUERY_TOKENS = 400
"""What the results of a web search add to the input."""


class Message(NamedTuple):
    """An answer of the model before it is put on the wire."""

    id: str
    model: str
    blocks: list[dict[str, Any]]
    stop_reason: str
    stop_sequence: str | None
    usage: Usage
    """Final counts."""
    started: Usage
    """What `message_start` tells: the input side, before server tools, and one token of output."""
    context_edits: bool = False
    """The request asked for context management, so the answer reports on it."""


def compose(body: dict[str, Any], action: Action, input_usage: Usage, ids: Ids) -> Message:
    """Say what the model answers."""
    blocks = _blocks(body, action, ids)
    stop_reason, sequence = _stop(blocks, action)
    characters = thought = searches = 0
    for block in blocks:
        length = _characters(block)
        characters += length
        thought += length if block["type"] == "thinking" else 0
        searches += block["type"] == "server_tool_use"
    produced, thinking = max(1, characters // 4), thought // 4
    limit = body.get("max_tokens")
    if isinstance(limit, int) and produced > limit and "output_tokens" not in action and "size" not in action:
        produced, thinking = limit, min(thinking, limit)
        if stop_reason == "end_turn":
            _shorten(blocks, limit * 4)
            stop_reason = "max_tokens"
    usage = Usage(
        input=input_usage.input + searches * QUERY_TOKENS,
        output=int(action.get("output_tokens", produced)),
        cache_read=input_usage.cache_read,
        cache_write_5m=input_usage.cache_write_5m,
        cache_write_1h=input_usage.cache_write_1h,
        thinking=thinking,
        web_searches=searches,
    )
    started = msgspec.structs.replace(input_usage, output=1)
    if "usage" in action:
        usage, started = _told(usage, action["usage"]), _told(started, action["usage"], keep_output=True)
    edits = "context_management" in body
    return Message(ids.new("msg_"), body["model"], blocks, stop_reason, sequence, usage, started, edits)


def as_json(message: Message) -> dict[str, Any]:
    """Describe the answer as the body of a request that did not stream."""
    value: dict[str, Any] = {
        "model": message.model,
        "id": message.id,
        "type": "message",
        "role": "assistant",
        "content": message.blocks,
        "stop_reason": message.stop_reason,
        "stop_sequence": message.stop_sequence,
        "usage": usage_json(message.usage),
    }
    if message.stop_reason == "refusal":
        value["stop_details"] = REFUSED
    if message.context_edits:
        value["context_management"] = {"applied_edits": []}
    return value


def usage_json(usage: Usage) -> dict[str, Any]:
    """Describe token counts in the service's names."""
    value = {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write_5m + usage.cache_write_1h,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_5m,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": usage.output,
        "output_tokens_details": {"thinking_tokens": usage.thinking},
        "service_tier": "standard",
        "inference_geo": "global",
    }
    if usage.web_searches:
        value["server_tool_use"] = {"web_search_requests": usage.web_searches}
    return value


def _told(usage: Usage, told: dict[str, int], *, keep_output: bool = False) -> Usage:
    """Replace counts by what an action says; its names are those of `Usage`."""
    values = {name: getattr(usage, name) for name in usage.__struct_fields__}
    values.update({name: count for name, count in told.items() if name in values})
    if keep_output:
        values["output"], values["thinking"] = usage.output, usage.thinking
    return Usage(**values)


def newest_text(messages: list[Any]) -> str:
    """Return the newest user text of a conversation, or nothing."""
    for message in reversed(messages):
        if message.get("role") == "user":
            text = user_text(message.get("content"))
            if text:
                return text
    return ""


def _blocks(body: dict[str, Any], action: Action, ids: Ids) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    thought = _thought(body, action)
    if thought is not None:
        blocks.append({"type": "thinking", "thinking": thought, "signature": SIGNATURE})
    if action.get("redacted"):
        blocks.append({"type": "redacted_thinking", "data": SIGNATURE})
    if action.get("server_tool"):
        blocks.extend(_search(ids))
    calls = _calls(body, action, ids)
    text = _text(body, action, has_calls=bool(calls))
    if text:
        block: dict[str, Any] = {"type": "text", "text": text}
        if action.get("server_tool"):
            block["citations"] = [_citation()]
        blocks.append(block)
    return blocks + calls


def _thought(body: dict[str, Any], action: Action) -> str | None:
    asked = action.get("thinking")
    if asked is None:
        setting = body.get("thinking")
        asked = isinstance(setting, dict) and setting.get("type") in {"enabled", "adaptive"}
    if not asked:
        return None
    return asked if isinstance(asked, str) else THOUGHT


def _text(body: dict[str, Any], action: Action, *, has_calls: bool) -> str:
    if "text" in action:
        return str(action["text"])
    if "size" in action:
        size = int(action["size"])
        return (FILLER * (size // len(FILLER) + 1))[:size]
    schema = _schema(body)
    if schema is not None:
        return encode(sample(schema)).decode()
    if has_calls:
        return ""
    return GREETING + newest_text(body["messages"])[-160:] + UNUSUAL


def _schema(body: dict[str, Any]) -> dict[str, Any] | None:
    output = body.get("output_config")
    chosen = output.get("format") if isinstance(output, dict) else None
    if not isinstance(chosen, dict) or chosen.get("type") != "json_schema":
        return None
    schema = chosen.get("schema")
    return schema if isinstance(schema, dict) else {}


def _calls(body: dict[str, Any], action: Action, ids: Ids) -> list[dict[str, Any]]:
    """Return the tool calls: as the action names them, or because the request leaves no choice."""
    if "tools" not in body and not action.get("force"):
        return []
    tools = [tool for tool in body.get("tools") or () if isinstance(tool, dict) and "input_schema" in tool]
    name = action.get("tool")
    if name is None:
        name = _forced(body, tools)
    if name is None:
        return []
    tool = next((tool for tool in tools if tool.get("name") == name), None)
    if tool is None and not action.get("force"):
        return []
    default = sample(tool["input_schema"]) if tool is not None else {}
    inputs = action.get("inputs") or [action.get("input", default)]
    return [{"type": "tool_use", "id": ids.new("toolu_"), "name": name, "input": value} for value in inputs]


def _forced(body: dict[str, Any], tools: list[dict[str, Any]]) -> str | None:
    choice = body.get("tool_choice")
    if not isinstance(choice, dict) or not tools:
        return None
    if choice.get("type") == "tool":
        return choice.get("name")
    return tools[0].get("name") if choice.get("type") == "any" else None


def sample(schema: Any) -> Any:
    """Return a value that fits a JSON schema of the usual kind."""
    if not isinstance(schema, dict):
        return None
    if schema.get("enum"):
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    variants = next((schema[key] for key in ("anyOf", "oneOf", "allOf") if schema.get(key)), None)
    return sample(variants[0]) if variants else _typed_sample(schema)


def _typed_sample(schema: dict[str, Any]) -> Any:
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object" or "properties" in schema:
        return {name: sample(part) for name, part in (schema.get("properties") or {}).items()}
    if kind == "array":
        return [sample(schema.get("items"))] * max(1, int(schema.get("minItems", 1)))
    simple = {
        "string": "sample",
        "integer": int(schema.get("minimum", 1)),
        "number": schema.get("minimum", 1.5),
    }
    return {**simple, "boolean": True, "null": None}.get(str(kind))


def _search(ids: Ids) -> list[dict[str, Any]]:
    call = ids.new("srvtoolu_")
    result = {
        "type": "web_search_result",
        "title": "A simulated page",
        "url": "https://example.invalid/page",
        "encrypted_content": "c2ltdWxhdGVk",
        "page_age": None,
    }
    return [
        {"type": "server_tool_use", "id": call, "name": "web_search", "input": {"query": "simulated query"}},
        {"type": "web_search_tool_result", "tool_use_id": call, "content": [result]},
    ]


def _citation() -> dict[str, Any]:
    return {
        "type": "web_search_result_location",
        "cited_text": "simulated",
        "url": "https://example.invalid/page",
        "title": "A simulated page",
        "encrypted_index": "c2lt",
    }


def _characters(block: dict[str, Any]) -> int:
    match block["type"]:
        case "text":
            return len(block["text"])
        case "thinking":
            return len(block["thinking"])
        case "tool_use" | "server_tool_use":
            return len(encode(block["input"]))
        case _:
            return 0


def _stop(blocks: list[dict[str, Any]], action: Action) -> tuple[str, str | None]:
    reason = action.get("stop_reason")
    if reason == "stop_sequence":
        return "stop_sequence", STOP_SEQUENCE
    if reason is not None:
        return str(reason), None
    called = bool(blocks) and blocks[-1]["type"] == "tool_use"
    return ("tool_use" if called else "end_turn"), None


def _shorten(blocks: list[dict[str, Any]], characters: int) -> None:
    for block in blocks:
        key = "thinking" if block["type"] == "thinking" else "text"
        if key in block:
            block[key] = block[key][:characters]
            characters = max(0, characters - len(block[key]))
