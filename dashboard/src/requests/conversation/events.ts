/** An event stream of the Messages API put together again into the message that it told. */

import { isObject } from "./blocks";

export interface Told {
  /** The message, as far as it was told; null when it never began. */
  message: Record<string, unknown> | null;
  error: { type: string; message: string } | null;
  /** `message_stop` arrived. */
  isWhole: boolean;
}

type Json = Record<string, unknown>;

export function assembled(stream: string): Told {
  const told: Told = { message: null, error: null, isWhole: false };
  const blocks: Json[] = [];
  const inputs: string[] = [];
  for (const event of eventsOf(stream)) {
    const index = typeof event.index === "number" ? event.index : -1;
    switch (event.type) {
      case "message_start":
        told.message = isObject(event.message) ? { ...event.message } : {};
        break;
      case "content_block_start":
        if (isObject(event.content_block) && index >= 0) blocks[index] = { ...event.content_block };
        break;
      case "content_block_delta":
        add(blocks[index], event.delta, inputs, index);
        break;
      case "content_block_stop":
        finish(blocks[index], inputs[index]);
        break;
      case "message_delta":
        if (told.message && isObject(event.delta)) Object.assign(told.message, event.delta);
        if (told.message && isObject(event.usage)) {
          told.message.usage = { ...(told.message.usage as Json), ...event.usage };
        }
        break;
      case "message_stop":
        told.isWhole = true;
        break;
      case "error":
        told.error = errorOf(event);
    }
  }
  for (const [index, block] of blocks.entries()) finish(block, inputs[index]);
  if (told.message) told.message.content = blocks.filter(Boolean);
  return told;
}

/** `{"type": "error", "error": {...}}`, or `{"error": "..."}`; null when it is neither. */
export function errorOf(content: Json): Told["error"] {
  const error = content.error;
  if (typeof error === "string") return { type: "error", message: error };
  if (!isObject(error)) return null;
  return { type: String(error.type ?? "error"), message: String(error.message ?? "") };
}

function add(block: Json | undefined, delta: unknown, inputs: string[], index: number): void {
  if (!block || !isObject(delta)) return;
  const append = (name: string, value: unknown) => {
    block[name] = `${block[name] ?? ""}${value ?? ""}`;
  };
  if (delta.type === "text_delta") append("text", delta.text);
  else if (delta.type === "thinking_delta") append("thinking", delta.thinking);
  else if (delta.type === "input_json_delta") inputs[index] = `${inputs[index] ?? ""}${delta.partial_json ?? ""}`;
  else if (delta.type === "citations_delta") block.citations = [...list(block.citations), delta.citation];
}

function finish(block: Json | undefined, input: string | undefined): void {
  if (!block || !input) return;
  block.input = parsed(input) ?? input;
}

function* eventsOf(stream: string): Generator<Json> {
  for (const event of stream.split(/\r\n\r\n|\n\n|\r\r/)) {
    const lines = event.split(/\r\n|\n|\r/).filter((line) => line.startsWith("data:"));
    const content = parsed(lines.map((line) => line.slice(5).trimStart()).join("\n"));
    if (isObject(content)) yield content;
  }
}

export function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}
