"""What makes the simulated upstream misbehave: actions, rules that apply them, directives inside messages.

An action is a JSON object whose keys are listed in `KEYS`. It is given as a preset's name, several names, or
JSON; later keys win. Sources are asked in this order, so the last wins: the account, the rules, the `x-fake`
header, a directive.
"""

import random
import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

import msgspec

from ccflare.demo.presets import PRESETS

Action: TypeAlias = dict[str, Any]

KEYS = frozenset(
    {
        # An answer of its own.
        "status", "error", "message", "details", "headers", "html", "raw_body", "ctype",
        # The rate limit fields.
        "retry_after", "minute_reset", "unified", "no_limit_headers",
        # Time.
        "delay_headers", "delay", "delay_first_event", "pace", "jitter", "stall", "hold_open",
        # Broken and unusual forms.
        "error_event", "disconnect", "malformed", "drop_events", "newline", "chunking", "framing", "gzip",
        "gzip_sse", "coding", "interim", "close", "close_silently", "big_headers", "slow_read",
        "early_response",
        # What the model says.
        "size", "deltas", "text", "thinking", "tool", "input", "inputs", "force", "server_tool", "script",
        "stop_reason", "usage", "output_tokens", "pings", "redacted",
        # When it applies.
        "fail_first", "only_accounts",
    }
)  # fmt: skip
MATCH_KEYS = frozenset({"path", "method", "account", "model", "stream", "header", "body"})
HEAD_KEYS = frozenset({"slow_read", "early_response"})
CHOICES = {
    "malformed": frozenset(
        {
            "bad_json",
            "unknown_event",
            "comments",
            "no_event_line",
            "bad_chunk",
            "bad_status_line",
            "garbage",
            "short_length",
            "long_length",
            "truncated_json",
        }
    ),
    "framing": frozenset({"close", "length", "chunked"}),
    "newline": frozenset({"lf", "crlf"}),
    "gzip": frozenset({"always", "never", "auto"}),
    "coding": frozenset({"gzip", "deflate", "br", "zstd"}),
}
DIRECTIVE = "[[fake "


def parse_action(value: Any) -> Action:
    """Read an action in any of its forms. Raises ValueError in words for who wrote it."""
    if isinstance(value, str):
        text = value.strip()
        return _checked(_json(text)) if text.startswith("{") else _named(text.replace(",", " ").split())
    if isinstance(value, list):
        return merge(*(parse_action(item) for item in value))
    if isinstance(value, dict):
        return _checked(value)
    raise ValueError("an action is a preset's name, a list or an object")


def merge(*actions: Action) -> Action:
    """Join actions; a key of a later one replaces that key of an earlier one."""
    joined: Action = {}
    for action in actions:
        joined.update(action)
    return joined


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ValueError(f"the action is not JSON: {error}") from None


def _named(names: list[str]) -> Action:
    unknown = [name for name in names if name not in PRESETS]
    if unknown or not names:
        raise ValueError(f"unknown preset {' '.join(unknown)!r}")
    return merge(*(PRESETS[name] for name in names))


def _checked(action: Any) -> Action:
    if not isinstance(action, dict):
        raise ValueError("an action is an object")  # noqa: TRY004  # what is wrong is a user's JSON
    preset = action.get("preset")
    rest = {key: value for key, value in action.items() if key != "preset"}
    unknown = sorted(rest.keys() - KEYS)
    if unknown:
        raise ValueError(f"unknown key of an action: {', '.join(unknown)}")
    for key, allowed in CHOICES.items():
        if key in rest and rest[key] not in allowed:
            raise ValueError(f"{key} is one of {', '.join(sorted(allowed))}")
    if "chunking" in rest and not re.fullmatch(r"event|all|(bytes|group):[1-9]\d*", str(rest["chunking"])):
        raise ValueError("chunking is event, all, bytes:N or group:N")
    return rest if preset is None else merge(parse_action(preset), rest)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a rule can ask about a request. `None`: not known (yet)."""

    method: str
    path: str
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    account: str | None = None
    model: str | None = None
    stream: bool | None = None
    body: bytes | None = None


def check_match(match: dict[str, Any]) -> dict[str, Any]:
    """Return a rule's match unchanged. Raises ValueError when it could never be applied as written."""
    unknown = sorted(match.keys() - MATCH_KEYS)
    if unknown:
        raise ValueError(f"unknown key of a match: {', '.join(unknown)}")
    patterns = [match["body"]] if "body" in match else []
    patterns += list(match.get("header", {}).values())
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
    return match


def matches(match: dict[str, Any], facts: Facts) -> bool:
    """Say whether a request is the kind a rule is about. A path matches as a glob or as a part."""
    if "path" in match and match["path"] not in facts.path and not fnmatchcase(facts.path, match["path"]):
        return False
    for key, value in (("method", facts.method), ("account", facts.account), ("model", facts.model)):
        if key in match and (value is None or not fnmatchcase(value, match[key])):
            return False
    if "stream" in match and match["stream"] is not facts.stream:
        return False
    if "body" in match and (facts.body is None or not re.search(match["body"].encode(), facts.body)):
        return False
    return all(_has(facts.headers, name, pattern) for name, pattern in match.get("header", {}).items())


def _has(headers: list[tuple[bytes, bytes]], name: str, pattern: str) -> bool:
    wanted = name.lower().encode()
    return any(key.lower() == wanted and re.search(pattern.encode(), value) for key, value in headers)


@dataclass(slots=True)
class Rule:
    """An action for every request that matches, within its counts."""

    action: Action
    match: dict[str, Any] = field(default_factory=dict)
    skip: int = 0
    """Let this many matching requests pass first."""
    times: int | None = None
    """Apply this often, then never again."""
    every: int = 1
    probability: float = 1.0
    seen: int = 0
    applied: int = 0

    @property
    def about_head(self) -> bool:
        """Whether the rule acts before a request's body was read."""
        return bool(self.action.keys() & HEAD_KEYS)

    @property
    def about_accept(self) -> bool:
        """Whether the rule acts on a new connection, before anything was read."""
        return not self.match and self.action.get("disconnect", {}).get("phase") == "accept"

    def take(self, rng: random.Random) -> bool:
        """Count one matching request and say whether the rule applies to it."""
        self.seen += 1
        due = self.seen > self.skip and (self.seen - self.skip - 1) % self.every == 0
        if not due or (self.times is not None and self.applied >= self.times):
            return False
        if self.probability < 1.0 and rng.random() >= self.probability:
            return False
        self.applied += 1
        return True


class Faults:
    """The rules of one server and what they have done so far."""

    def __init__(self, rng: random.Random) -> None:
        self.rules: list[Rule] = []
        self._rng = rng
        self._failed: dict[tuple[str, str | None], int] = {}

    def clear(self) -> None:
        """Drop every rule and every count."""
        self.rules.clear()
        self._failed.clear()

    def on_accept(self) -> Action | None:
        """Return what happens to a new connection before anything is read."""
        for rule in self.rules:
            if rule.about_accept and rule.take(self._rng):
                return rule.action
        return None

    def on_head(self, facts: Facts) -> Action | None:
        """Return what the rules say while a request's body is still on its way."""
        due = [
            rule.action
            for rule in self.rules
            if rule.about_head and matches(rule.match, facts) and rule.take(self._rng)
        ]
        return merge(*due) if due else None

    def on_request(self, facts: Facts) -> list[Action]:
        """Return the actions of all rules that apply to a whole request, in the order they were made."""
        return [
            rule.action
            for rule in self.rules
            if not rule.about_head and not rule.about_accept and matches(rule.match, facts) and rule.take(self._rng)
        ]

    def resolve(self, actions: list[Action], facts: Facts, turns: int) -> Action:
        """Join actions and settle those that choose another: `script`, `fail_first`, `only_accounts`.

        Raises ValueError when a chosen action is none.
        """
        action = self._step(merge(*actions), turns)
        globs = action.pop("only_accounts", None)
        if globs is not None and not any(fnmatchcase(facts.account or "", glob) for glob in globs):
            return {}
        failing = action.pop("fail_first", None)
        if failing is not None and self._still_failing(failing, facts.account):
            action = merge(action, parse_action(failing.get("action", "529")))
        return action

    def _step(self, action: Action, turns: int) -> Action:
        script = action.pop("script", None)
        if script is None or turns >= len(script):
            return action
        return merge(action, parse_action(script[turns]))

    def _still_failing(self, failing: dict[str, Any], account: str | None) -> bool:
        key = (str(failing.get("key", "")), account if failing.get("per_account") else None)
        count = self._failed.get(key, 0)
        if count >= int(failing.get("n", 1)):
            return False
        self._failed[key] = count + 1
        return True


def directives(messages: Any) -> tuple[list[Action], int]:
    """Find `[[fake ...]]` in the newest user message that is not only tool results.

    Returns the actions and how many assistant turns have followed that message. Raises ValueError for a bad
    action.
    """
    turns = 0
    for message in reversed(messages if isinstance(messages, list) else []):
        role = message.get("role") if isinstance(message, dict) else None
        if role == "assistant":
            turns += 1
        if role != "user":
            continue
        text = user_text(message.get("content"))
        if text is not None:
            return _in_text(text), turns
    return [], turns


def user_text(content: Any) -> str | None:
    """Return the text of a message's content; None when it holds nothing but tool results."""
    if isinstance(content, str):
        return content
    texts = [
        block["text"]
        for block in content or ()
        if isinstance(block, dict) and block.get("type") == "text" and isinstance(block.get("text"), str)
    ]
    return "\n".join(texts) if texts else None


def _in_text(text: str) -> list[Action]:
    found, at = [], text.find(DIRECTIVE)
    while at >= 0:
        start = at + len(DIRECTIVE)
        end = text.find("]]", start)
        # A JSON action may itself hold "]]": the directive ends at the first one that leaves a whole object.
        while end >= 0 and text[start:].lstrip().startswith("{") and not _whole(text[start:end]):
            end = text.find("]]", end + 1)
        if end < 0:
            raise ValueError("a [[fake ...]] directive has no end")
        found.append(parse_action(text[start:end]))
        at = text.find(DIRECTIVE, end)
    return found


def _whole(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return True
