/** What client and model said to each other, read from the kept bodies of one exchange. */

import type { Details } from "../../api/questions";
import { blocksOf, isObject, matched, type Turn } from "./blocks";
import { assembled, errorOf, parsed, type Told } from "./events";

export interface Conversation {
  turns: Turn[];
  /** Names of the tools that the client offered. */
  tools: string[];
  error: Told["error"];
  /** What of it is missing, in words; null when nothing is. */
  missing: string | null;
}

type Payload = NonNullable<Details["payload"]>;

/** Null when the bodies are no conversation, or cannot be read. */
export function conversationOf(payload: Payload): Conversation | null {
  const asked = payload.request.body.encoding === "text" ? parsed(payload.request.body.content) : undefined;
  const answer = payload.response.body.encoding === "text" ? answerOf(payload.response.body.content) : null;
  if (!isObject(asked) || !("messages" in asked)) return null;
  const turns = [...systemOf(asked), ...messagesOf(asked)];
  if (answer?.message) turns.push({ role: "assistant", blocks: blocksOf(answer.message.content), isAnswer: true });
  const tools = Array.isArray(asked.tools) ? asked.tools.filter(isObject) : [];
  return {
    turns: matched(turns),
    tools: tools.map((tool) => String(tool.name ?? tool.type ?? "?")),
    error: answer?.error ?? null,
    missing: missingOf(payload, answer),
  };
}

function systemOf(asked: Record<string, unknown>): Turn[] {
  const blocks = blocksOf(asked.system);
  return blocks.length ? [{ role: "system", blocks, isAnswer: false }] : [];
}

function messagesOf(asked: Record<string, unknown>): Turn[] {
  const messages = Array.isArray(asked.messages) ? asked.messages.filter(isObject) : [];
  return messages.map((message) => ({
    role: message.role === "assistant" || message.role === "system" ? message.role : "user",
    blocks: blocksOf(message.content),
    isAnswer: false,
  }));
}

function answerOf(content: string): Told | null {
  const whole = parsed(content);
  if (isObject(whole)) {
    const error = errorOf(whole);
    return { message: error || !("content" in whole) ? null : whole, error, isWhole: true };
  }
  const told = assembled(content);
  return told.message || told.error ? told : null;
}

function missingOf(payload: Payload, answer: Told | null): string | null {
  if (payload.response.body.truncated) return "The answer was longer than what is kept; its end is missing here.";
  if (!answer) return payload.status === null ? "There was no answer." : "The answer is no message; see the response.";
  if (!answer.isWhole && !answer.error) return "The answer broke off.";
  return null;
}
