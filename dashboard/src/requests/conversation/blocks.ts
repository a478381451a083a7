/** A conversation of the Messages API as people read it: turns of blocks, each tool call with its result. */

import { bytes } from "../../format/numbers";

export type Block =
  | { kind: "text"; text: string }
  | { kind: "thinking"; text: string; isRedacted: boolean }
  | { kind: "tool_use"; id: string; name: string; input: unknown; result: ToolResult | null }
  | { kind: "tool_result"; result: ToolResult }
  | { kind: "media"; what: "image" | "document"; note: string }
  | { kind: "other"; type: string; content: unknown };

export interface ToolResult {
  toolUseId: string;
  blocks: Block[];
  isError: boolean;
}

export interface Turn {
  role: "system" | "user" | "assistant";
  blocks: Block[];
  /** What upstream answered, not what the client sent along. */
  isAnswer: boolean;
}

type Json = Record<string, unknown>;

export function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The blocks of a message's content: text, or a list of blocks. What is unknown is shown as it is. */
export function blocksOf(content: unknown): Block[] {
  if (typeof content === "string") return content ? [{ kind: "text", text: content }] : [];
  if (!Array.isArray(content)) return content === undefined || content === null ? [] : [other(content)];
  return content.map(blockOf);
}

function blockOf(block: unknown): Block {
  if (!isObject(block)) return other(block);
  switch (block.type) {
    case "text":
      return { kind: "text", text: text(block.text) };
    case "thinking":
      return { kind: "thinking", text: text(block.thinking), isRedacted: false };
    case "redacted_thinking":
      return { kind: "thinking", text: "", isRedacted: true };
    case "image":
    case "document":
      return { kind: "media", what: block.type, note: noteOn(block) };
  }
  const type = text(block.type);
  if (type === "tool_use" || type === "server_tool_use" || type === "mcp_tool_use") {
    return { kind: "tool_use", id: text(block.id), name: text(block.name), input: block.input, result: null };
  }
  if (type.endsWith("tool_result")) return { kind: "tool_result", result: resultOf(block) };
  return other(block);
}

function resultOf(block: Json): ToolResult {
  return {
    toolUseId: text(block.tool_use_id),
    blocks: blocksOf(block.content),
    isError: block.is_error === true,
  };
}

/** `image/png, 12.3 kB` for what is in the body; an address or an id for what is not. */
function noteOn(block: Json): string {
  const source = isObject(block.source) ? block.source : {};
  const title = text(block.title);
  const data = text(source.data);
  const kind = text(source.media_type) || text(source.type);
  const size = data && source.type === "base64" ? bytes(sizeOf(data)) : "";
  const where = text(source.url) || text(source.file_id);
  return [title, kind, size, where].filter(Boolean).join(", ");
}

/** How many bytes base64 stands for. */
function sizeOf(base64: string): number {
  return Math.floor(base64.replace(/=+$/, "").length * 0.75);
}

/** Puts each result to the call it belongs to; turns that have nothing left are dropped. */
export function matched(turns: Turn[]): Turn[] {
  const calls = new Map<string, Extract<Block, { kind: "tool_use" }>>();
  const shown: Turn[] = [];
  for (const turn of turns) {
    const blocks: Block[] = [];
    for (const block of turn.blocks) {
      const call = block.kind === "tool_result" ? calls.get(block.result.toolUseId) : undefined;
      if (block.kind === "tool_use") calls.set(block.id, block);
      if (call && block.kind === "tool_result" && !call.result) call.result = block.result;
      else blocks.push(block);
    }
    if (blocks.length > 0 || turn.blocks.length === 0) shown.push({ ...turn, blocks });
  }
  return shown;
}

function other(content: unknown): Block {
  const type = isObject(content) && typeof content.type === "string" ? content.type : "unknown";
  return { kind: "other", type, content };
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}
