"""Sample traffic: conversations of the official SDK, as programs have them."""

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # an extra: only the demo needs the SDK, and only when it runs
    from anthropic import Anthropic
    from anthropic.types import MessageParam

GENTLE_PAUSE_S = 5.0
GENTLE_ROUNDS = 100
"""Of a conversation's turns: two hours, some thousand requests."""

SONNET, HAIKU, OPUS = "claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-5"


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns that repeat what was said before, at a steady pace."""

    name: str
    model: str
    turns: int
    pause_s: float
    streamed: bool

    @property
    def user_id(self) -> str:
        """What the SDK sends as `metadata.user_id`: it makes the conversation one session."""
        return f"demo-{self.name}"


CONVERSATIONS = (
    Conversation("docs", SONNET, 12, 0.9, streamed=True),
    Conversation("review", OPUS, 12, 0.7, streamed=True),
    Conversation("chat", HAIKU, 16, 0.5, streamed=False),
    Conversation("tests", SONNET, 12, 0.8, streamed=True),
    Conversation("search", HAIKU, 14, 0.6, streamed=False),
)


def converse(conversation: Conversation, base_url: str, stop: threading.Event) -> int:
    """Hold a conversation until it ends or `stop` is set. Returns the number of turns that failed."""
    from anthropic import Anthropic, APIError

    failed = 0
    messages: list[MessageParam] = []
    with Anthropic(api_key="any-key-will-do", base_url=base_url, max_retries=0, timeout=30) as client:
        for turn in range(1, conversation.turns + 1):
            messages.append({"role": "user", "content": f"Question {turn} about {conversation.name}"})
            try:
                messages.append({"role": "assistant", "content": _ask(client, conversation, messages)})
            except APIError:
                failed += 1
                messages.pop()
            if stop.wait(conversation.pause_s):
                break
    return failed


def keep_talking(conversation: Conversation, base_url: str, stop: threading.Event) -> int:
    """Hold a conversation again and again, slowly and not for ever. Returns the number of turns that failed."""
    failed = 0
    for _ in range(GENTLE_ROUNDS):
        if stop.is_set():
            break
        failed += converse(replace(conversation, pause_s=GENTLE_PAUSE_S), base_url, stop)
    return failed


def _ask(client: "Anthropic", conversation: Conversation, messages: "list[MessageParam]") -> str:
    """Send one turn and return the text of the answer."""
    if conversation.streamed:
        with client.messages.stream(
            model=conversation.model,
            max_tokens=200,
            metadata={"user_id": conversation.user_id},
            messages=messages,
        ) as stream:
            return stream.get_final_text()
    answer = client.messages.create(
        model=conversation.model,
        max_tokens=200,
        metadata={"user_id": conversation.user_id},
        messages=messages,
    )
    return "".join(block.text for block in answer.content if block.type == "text")
