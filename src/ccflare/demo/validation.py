"""Which message requests the service refuses, in its own words.

Clients match on these sentences, so they follow the service's wording (November 2026) where that is known.
"""

from typing import Any

import msgspec

from ccflare.demo.reply import Refusal

NEW_VERSION = b"2026-10-21"
SAMPLING = ("temperature", "top_p", "top_k")
ROLES = frozenset({"user", "assistant", "system"})


def read_json(body: bytes) -> dict[str, Any] | Refusal:
    """Decode a request body that must be a JSON object."""
    try:
        value = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        return Refusal(400, f"The request body is not valid JSON: {error}")
    except UnicodeDecodeError as error:
        return Refusal(400, f"The request body is not valid UTF-8: {error.reason}")
    if not isinstance(value, dict):
        return Refusal(400, "Input should be a valid dictionary")
    return value


def check_version(version: bytes | None) -> Refusal | None:
    """Refuse a request without `anthropic-version`."""
    return Refusal(400, "anthropic-version: header is required") if not version else None


def check(body: dict[str, Any], version: bytes, *, needs_max_tokens: bool) -> Refusal | None:
    """Return why a message (or token counting) request is refused, or None."""
    for field in ("model", "messages"):
        if field not in body:
            return Refusal(400, f"{field}: Field required")
    if needs_max_tokens and "max_tokens" not in body:
        return Refusal(400, "max_tokens: Field required")
    return _fields(body, version) or _messages(body["messages"])


def _fields(body: dict[str, Any], version: bytes) -> Refusal | None:
    return _model(body["model"]) or _numbers(body) or _sampling(body, version)


def _model(model: Any) -> Refusal | None:
    if not isinstance(model, str) or not model:
        return Refusal(400, "model: Input should be a valid string")
    if model.startswith("claude-nonexistent"):
        return Refusal(404, f"model: {model}")
    return None


def _numbers(body: dict[str, Any]) -> Refusal | None:
    limit = body.get("max_tokens", 1)
    if not isinstance(limit, int) or isinstance(limit, bool):
        return Refusal(400, "max_tokens: Input should be a valid integer")
    if limit < 1:
        return Refusal(400, "max_tokens: Input should be greater than or equal to 1")
    if not isinstance(body.get("stream", False), bool):
        return Refusal(400, "stream: Input should be a valid boolean")
    return None


def _sampling(body: dict[str, Any], version: bytes) -> Refusal | None:
    if version >= NEW_VERSION:
        extra = next((name for name in SAMPLING if name in body), None)
        if extra is not None:
            return Refusal(400, f"{extra}: Extra inputs are not permitted")
    return None


def _messages(messages: Any) -> Refusal | None:
    if not isinstance(messages, list):
        return Refusal(400, "messages: Input should be a valid list")
    if not messages:
        return Refusal(400, "messages: at least one message is required")
    for index, message in enumerate(messages):
        problem = _message(index, message, last=index == len(messages) - 1)
        if problem is not None:
            return problem
    plain = all([type(message["content"]) is str for message in messages])  # noqa: C419  # a list is twice as fast here
    return None if plain else _tool_pairs(messages)


def _message(index: int, message: Any, *, last: bool) -> Refusal | None:
    if not isinstance(message, dict):
        return Refusal(400, f"messages.{index}: Input should be a valid dictionary")
    role = message.get("role")
    if role not in ROLES:
        return Refusal(400, f'messages: Unexpected role "{role}". Allowed roles are "user" or "assistant".')
    content = message.get("content")
    if content is None:
        return Refusal(400, f"messages.{index}.content: Field required")
    if not isinstance(content, str | list):
        return Refusal(400, f"messages.{index}.content: Input should be a valid list")
    if not content and not (last and role == "assistant"):
        return Refusal(400, f"messages.{index}: {role} messages must have non-empty content")
    return None if isinstance(content, str) else _blocks(index, content)


def _blocks(index: int, content: list[Any]) -> Refusal | None:
    for number, block in enumerate(content):
        if not isinstance(block, dict):
            return Refusal(400, f"messages.{index}.content.{number}: Input should be a valid dictionary")
        kind = block.get("type")
        if kind is None:
            return Refusal(400, f"messages.{index}.content.{number}.type: Field required")
        if kind == "text" and not block.get("text"):
            return Refusal(400, "messages: text content blocks must be non-empty")
    return None


def _ids(message: Any, kind: str, key: str) -> list[str]:
    content = message.get("content")
    if not isinstance(content, list):
        return []
    return [str(block.get(key)) for block in content if block.get("type") == kind]


def _tool_pairs(messages: list[Any]) -> Refusal | None:
    """Every tool call must be answered in the next message, and nothing else may be."""
    called: list[str] = []
    for index, message in enumerate(messages):
        if message.get("role") == "system":
            continue
        answered = _ids(message, "tool_result", "tool_use_id")
        missing = [call for call in called if call not in answered]
        if missing:
            return _unanswered(index - 1, missing)
        unknown = next((answer for answer in answered if answer not in called), None)
        if unknown is not None:
            return Refusal(
                400,
                f"messages.{index}.content.0: unexpected `tool_use_id` found in `tool_result` blocks: "
                f"{unknown}. Each `tool_result` block must have a corresponding `tool_use` block in the "
                "previous message.",
            )
        called = _ids(message, "tool_use", "id")
    return _unanswered(len(messages) - 1, called) if called else None


def _unanswered(index: int, calls: list[str]) -> Refusal:
    return Refusal(
        400,
        f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: "
        f"{', '.join(calls)}. Each `tool_use` block must have a corresponding `tool_result` block in the "
        "next message.",
    )
