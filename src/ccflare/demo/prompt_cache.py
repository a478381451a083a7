"""Token counts of a request and the prompt cache that splits them.

Tokens are characters divided by four. A cache belongs to one account: prefixes of tools, system and messages
are written at `cache_control` breakpoints and found again there or up to 19 blocks before, until their life
ends.
"""

from collections import OrderedDict
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, NamedTuple

from ccflare.demo.reply import Usage, encode

BILLING = "x-anthropic-billing-header"
LOOK_BACK = 20
LARGEST = 50_000
TTL_S = {"5m": 300.0, "1h": 3600.0}


class Segment(NamedTuple):
    """One cacheable block of a request: what is hashed, its length in characters, its breakpoint's life."""

    role: str
    block: Any
    characters: int
    ttl: str | None


def _characters(block: Any) -> int:
    if isinstance(block, str):
        return len(block)
    if isinstance(block, dict) and block.get("type") == "text" and isinstance(block.get("text"), str):
        return len(block["text"])
    return len(encode(_without_breakpoint(block)))


def _without_breakpoint(block: Any) -> Any:
    if isinstance(block, dict) and "cache_control" in block:
        return {key: value for key, value in block.items() if key != "cache_control"}
    return block


def _ttl(block: Any) -> str | None:
    control = block.get("cache_control") if isinstance(block, dict) else None
    if not isinstance(control, dict):
        return None
    return "1h" if control.get("ttl") == "1h" else "5m"


def _blocks(content: Any) -> list[Any]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if isinstance(content, str) else []


def _system(body: dict[str, Any]) -> list[Any]:
    blocks = _blocks(body.get("system"))
    first = blocks[0] if blocks else None
    if isinstance(first, dict) and str(first.get("text", "")).startswith(BILLING):
        return blocks[1:]
    return blocks


def _segments(body: dict[str, Any]) -> Iterator[Segment]:
    for tool in body.get("tools") or ():
        yield Segment("tools", tool, _characters(tool), _ttl(tool))
    for block in _system(body):
        yield Segment("system", block, _characters(block), _ttl(block))
    for message in body.get("messages") or ():
        role = str(message.get("role"))
        for block in _blocks(message.get("content")):
            yield Segment(role, block, _characters(block), _ttl(block))


def count(body: dict[str, Any]) -> int:
    """Return the input tokens of a request, at least one."""
    characters = 0
    for tool in body.get("tools") or ():
        characters += _characters(tool)
    for block in _system(body):
        characters += _characters(block)
    for message in body.get("messages") or ():
        content = message.get("content")
        if isinstance(content, str):
            characters += len(content)
        else:
            for block in _blocks(content):
                characters += _characters(block)
    return max(1, characters // 4)


class PromptCache:
    """The cached prefixes of one account."""

    def __init__(self) -> None:
        self._ends: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def clear(self) -> None:
        """Forget every prefix."""
        self._ends.clear()

    def split(self, body: dict[str, Any], minimum: int, now: float) -> Usage:
        """Divide a request's input into read, written and plain tokens, and remember what is written."""
        segments = list(_segments(body))
        total = max(1, sum(segment.characters for segment in segments) // 4)
        points: dict[int, str] = {index: one.ttl for index, one in enumerate(segments) if one.ttl}
        if not points and isinstance(body.get("cache_control"), dict) and segments:
            points = {len(segments) - 1: _ttl(body) or "5m"}
        if not points:
            return Usage(input=total)
        digests, tokens = _prefixes(str(body.get("model")), segments)
        found = self._find(points, digests, now)
        read = tokens[found] if found is not None else 0
        written = {"5m": 0, "1h": 0}
        reached = read
        for index, ttl in sorted(points.items()):
            if tokens[index] < minimum:
                continue
            written[ttl] += max(0, tokens[index] - reached)
            reached = max(reached, tokens[index])
            self._keep(digests[index], TTL_S[ttl], now)
        plain = max(0, total - reached)
        return Usage(input=plain, cache_read=read, cache_write_5m=written["5m"], cache_write_1h=written["1h"])

    def _find(self, points: dict[int, str], digests: list[bytes], now: float) -> int | None:
        for point in sorted(points, reverse=True):
            for index in range(point, max(-1, point - LOOK_BACK), -1):
                kept = self._ends.get(digests[index])
                if kept is not None and kept[0] > now:
                    self._keep(digests[index], kept[1], now)
                    return index
        return None

    def _keep(self, digest: bytes, ttl_s: float, now: float) -> None:
        self._ends[digest] = (now + ttl_s, ttl_s)
        self._ends.move_to_end(digest)
        if len(self._ends) > LARGEST:
            self._ends.popitem(last=False)


def _prefixes(model: str, segments: list[Segment]) -> tuple[list[bytes], list[int]]:
    """Return the digest of every prefix and the tokens up to its end."""
    running = blake2b(model.encode(), digest_size=16)
    digests, tokens, characters = [], [], 0
    for segment in segments:
        running.update(segment.role.encode())
        running.update(encode(_without_breakpoint(segment.block)))
        characters += segment.characters
        digests.append(running.copy().digest())
        tokens.append(characters // 4)
    return digests, tokens
