"""Smaller resources of the simulated upstream: models, files, the OpenAI-compatible form, and an echo."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from ccflare.demo.accounts import SimulatedAccount
from ccflare.demo.answers import Message
from ccflare.demo.reply import EVENTS, Ids, Refusal, Reply, encode, rfc3339
from ccflare.demo.request import Request

MODELS = {
    "claude-opus-5-5": "Claude Opus 5.5",
    "claude-sonnet-5-5": "Claude Sonnet 5.5",
    "claude-haiku-5-5": "Claude Haiku 5.5",
    "claude-opus-4-1-20250805": "Claude Opus 4.1",
    "claude-sonnet-4-20250514": "Claude Sonnet 4",
    "claude-3-5-haiku-20241022": "Claude Haiku 3.5",
    "claude-3-opus-20240229": "Claude Opus 3",
}
RELEASED = "2026-01-01T00:00:00Z"
DISPOSITION = re.compile(rb'filename="([^"]*)"')


def _model(model_id: str) -> dict[str, Any]:
    return {
        "type": "model",
        "id": model_id,
        "display_name": MODELS[model_id],
        "created_at": RELEASED,
        "max_input_tokens": 200_000,
        "max_tokens": 64_000,
    }


def models(query: str) -> Reply | Refusal:
    """Answer `GET /v1/models`, a page at a time."""
    asked = parse_qs(query)
    try:
        limit = int(asked.get("limit", ["20"])[0])
    except ValueError:
        return Refusal(400, "limit: Input should be a valid integer")
    if not 1 <= limit <= 1000:
        return Refusal(400, "limit: Input should be between 1 and 1000")
    names = list(MODELS)
    after = asked.get("after_id", [""])[0]
    start = names.index(after) + 1 if after in MODELS else 0
    page = names[start : start + limit]
    return Reply(
        200,
        encode(
            {
                "data": [_model(name) for name in page],
                "has_more": start + limit < len(names),
                "first_id": page[0] if page else None,
                "last_id": page[-1] if page else None,
            }
        ),
    )


def model(model_id: str) -> Reply | Refusal:
    """Answer `GET /v1/models/{id}`."""
    return Reply(200, encode(_model(model_id))) if model_id in MODELS else Refusal(404, f"model: {model_id}")


def echo(request: Request, account: str | None) -> Reply:
    """Report what arrived, exactly: not something the real service does."""
    return Reply(
        200,
        encode(
            {
                "method": request.method,
                "target": request.target,
                "path": request.path,
                "query": request.query,
                "http_version": request.version,
                "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.headers],
                "account": account,
                "body_bytes": len(request.body),
                "body_sha256": hashlib.sha256(request.body).hexdigest(),
                "body": request.body[:65_536].decode("latin-1"),
            }
        ),
    )


@dataclass(frozen=True, slots=True)
class File:
    """An uploaded file."""

    id: str
    account: str
    name: str
    mime_type: str
    content: bytes
    made_at: float


class Files:
    """All files of one server; each belongs to the account that uploaded it."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._files: dict[str, File] = {}

    def clear(self) -> None:
        """Forget every file."""
        self._files.clear()

    def create(self, request: Request, account: SimulatedAccount, now: float) -> Reply | Refusal:
        """Keep the first file of a multipart form (RFC 7578)."""
        part = _first_file(request.body, request.fields.get(b"content-type", b""))
        if part is None:
            return Refusal(400, "file: Field required")
        name, mime_type, content = part
        file = File(self._ids.new("file_"), account.name, name, mime_type, content, now)
        self._files[file.id] = file
        return Reply(200, encode(_described(file)))

    def find(self, file_id: str, account: SimulatedAccount) -> File | Refusal:
        """Return an account's own file."""
        file = self._files.get(file_id)
        if file is None or file.account != account.name:
            return Refusal(404, f"File not found: {file_id}")
        return file

    def page(self, account: SimulatedAccount) -> Reply:
        """List an account's files."""
        own = [_described(file) for file in self._files.values() if file.account == account.name]
        edge = {"first_id": own[0]["id"] if own else None, "last_id": own[-1]["id"] if own else None}
        return Reply(200, encode({"data": own, "has_more": False, **edge}))

    def answer(self, file: File, method: str, *, content: bool) -> Reply:
        """Show, send or delete a file."""
        if content:
            return Reply(200, file.content, content_type=file.mime_type.encode("latin-1"))
        if method == "DELETE":
            del self._files[file.id]
            return Reply(200, encode({"id": file.id, "type": "file_deleted"}))
        return Reply(200, encode(_described(file)))


def _described(file: File) -> dict[str, Any]:
    return {
        "type": "file",
        "id": file.id,
        "filename": file.name,
        "mime_type": file.mime_type,
        "size_bytes": len(file.content),
        "created_at": rfc3339(int(file.made_at)),
        "downloadable": True,
    }


def _first_file(body: bytes, content_type: bytes) -> tuple[str, str, bytes] | None:
    _, _, boundary = content_type.partition(b"boundary=")
    boundary = boundary.split(b";")[0].strip().strip(b'"')
    if not boundary:
        return None
    for part in body.split(b"--" + boundary)[1:]:
        head, _, content = part.partition(b"\r\n\r\n")
        named = DISPOSITION.search(head)
        if named is not None:
            kind = re.search(rb"(?i)content-type:\s*([^\r\n]+)", head)
            mime_type = kind.group(1).decode("latin-1") if kind else "application/octet-stream"
            return named.group(1).decode("utf-8", "replace"), mime_type, content.removesuffix(b"\r\n")
    return None


# The OpenAI-compatible endpoint.


def chat_request(body: dict[str, Any]) -> dict[str, Any]:
    """Translate a chat completion request into a message request."""
    messages = [one for one in body.get("messages") or () if isinstance(one, dict)]
    system = [str(one.get("content")) for one in messages if one.get("role") in {"system", "developer"}]
    kept = [
        {"role": one["role"], "content": _chat_text(one.get("content"))}
        for one in messages
        if one.get("role") in {"user", "assistant"}
    ]
    translated = {
        **body,
        "messages": kept,
        "max_tokens": body.get("max_tokens") or body.get("max_completion_tokens") or 4096,
    }
    for name in ("tools", "tool_choice", "temperature", "top_p"):
        translated.pop(name, None)
    return {**translated, "system": "\n".join(system)} if system else translated


def _chat_text(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content)


def chat_answer(message: Message, now: float, *, stream: bool, with_usage: bool) -> Reply:
    """Render an answer as a chat completion, whole or as a stream that ends with `data: [DONE]`."""
    text = "".join(block["text"] for block in message.blocks if block["type"] == "text")
    usage = {
        "prompt_tokens": message.usage.total_input,
        "completion_tokens": message.usage.output,
        "total_tokens": message.usage.total_input + message.usage.output,
    }
    base = {"id": message.id, "created": int(now), "model": message.model}
    if not stream:
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        body = encode({**base, "object": "chat.completion", "choices": [choice], "usage": usage})
        return Reply(200, body, usage=message.usage)
    events = [b"data: %b\n\n" % encode(part) for part in _chat_chunks(base, text, usage if with_usage else None)]
    events.append(b"data: [DONE]\n\n")
    return Reply(200, content_type=EVENTS, events=events, started=message.started, usage=message.usage)


def _chat_chunks(base: dict[str, Any], text: str, usage: dict[str, int] | None) -> Iterator[dict[str, Any]]:
    base = {**base, "object": "chat.completion.chunk"}
    yield {
        **base,
        "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}],
    }
    for at in range(0, len(text), 24):
        yield {
            **base,
            "choices": [{"index": 0, "delta": {"content": text[at : at + 24]}, "finish_reason": None}],
        }
    yield {**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    if usage is not None:
        yield {**base, "choices": [], "usage": usage}
