import { describe, expect, it } from "vitest";
import { body, payload } from "../../test/kit";
import { type Conversation, conversationOf } from "./conversation";
import { assembled } from "./events";

function stream(...events: Record<string, unknown>[]): string {
  return events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join("");
}

const START = {
  type: "message_start",
  message: { role: "assistant", content: [], usage: { input_tokens: 3, output_tokens: 1 } },
};
const block = (index: number, content_block: object) => ({ type: "content_block_start", index, content_block });
const delta = (index: number, more: object) => ({ type: "content_block_delta", index, delta: more });
const STOP = { type: "message_stop" };

const WHOLE = stream(
  START,
  block(0, { type: "thinking", thinking: "" }),
  delta(0, { type: "thinking_delta", thinking: "Let me " }),
  delta(0, { type: "thinking_delta", thinking: "see." }),
  { type: "ping" },
  block(1, { type: "text", text: "" }),
  delta(1, { type: "text_delta", text: "Grüße, " }),
  delta(1, { type: "text_delta", text: "漢字" }),
  block(2, { type: "tool_use", id: "t2", name: "Read", input: {} }),
  delta(2, { type: "input_json_delta", partial_json: '{"path": ' }),
  delta(2, { type: "input_json_delta", partial_json: '"a.txt"}' }),
  { type: "content_block_stop", index: 2 },
  { type: "message_delta", delta: { stop_reason: "tool_use" }, usage: { output_tokens: 9 } },
  STOP,
);

function talk(request: object, response: string): Conversation {
  const found = conversationOf(payload(request, response));
  if (!found) throw new Error("no conversation");
  return found;
}

describe("an event stream", () => {
  it("becomes the message that it told", () => {
    const told = assembled(WHOLE);
    expect(told.isWhole).toBe(true);
    expect(told.message).toMatchObject({
      stop_reason: "tool_use",
      usage: { input_tokens: 3, output_tokens: 9 },
      content: [
        { type: "thinking", thinking: "Let me see." },
        { type: "text", text: "Grüße, 漢字" },
        { type: "tool_use", name: "Read", input: { path: "a.txt" } },
      ],
    });
  });

  it("gives what there is wherever it is cut", () => {
    for (let end = 0; end <= WHOLE.length; end += 3) {
      const told = assembled(WHOLE.slice(0, end));
      expect(told.isWhole && end < WHOLE.length - 2).toBe(false);
    }
    expect(assembled("data: [1,2]\n\ndata: {not json\n\nnonsense").message).toBeNull();
  });

  it("shows the input of a tool as text where it broke off", () => {
    const cut = stream(
      START,
      block(0, { type: "tool_use", id: "t", name: "Read" }),
      delta(0, { type: "input_json_delta", partial_json: '{"pa' }),
    );
    expect(assembled(cut).message).toMatchObject({ content: [{ input: '{"pa' }] });
  });

  it("tells the error in its midst", () => {
    const cut = stream(START, { type: "error", error: { type: "overloaded_error", message: "Overloaded" } });
    expect(assembled(cut)).toMatchObject({
      isWhole: false,
      error: { type: "overloaded_error", message: "Overloaded" },
    });
  });

  it("reads lines that end like on any system", () => {
    expect(assembled(WHOLE.replaceAll("\n", "\r\n")).message).toEqual(assembled(WHOLE).message);
  });
});

describe("a conversation", () => {
  it("has the system prompt first and the answer last", () => {
    const { turns, tools, missing } = talk(
      {
        system: "Be brief.",
        tools: [{ name: "Read" }, { type: "web_search" }],
        messages: [{ role: "user", content: "Hi" }],
      },
      JSON.stringify({ role: "assistant", content: [{ type: "text", text: "Hello" }] }),
    );
    expect(turns.map((turn) => [turn.role, turn.isAnswer])).toEqual([
      ["system", false],
      ["user", false],
      ["assistant", true],
    ]);
    expect(tools).toEqual(["Read", "web_search"]);
    expect(missing).toBeNull();
  });

  it("has each tool call together with its result, and no empty turn left of it", () => {
    const { turns } = talk(
      {
        messages: [
          { role: "user", content: "Go" },
          { role: "assistant", content: [{ type: "tool_use", id: "t1", name: "Bash", input: { command: "ls" } }] },
          {
            role: "user",
            content: [{ type: "tool_result", tool_use_id: "t1", is_error: true, content: "no such file" }],
          },
        ],
      },
      WHOLE,
    );
    expect(turns.map((turn) => turn.role)).toEqual(["user", "assistant", "assistant"]);
    expect(turns[1]?.blocks[0]).toMatchObject({
      name: "Bash",
      result: { isError: true, blocks: [{ text: "no such file" }] },
    });
    expect(turns[2]?.blocks[2]).toMatchObject({ name: "Read", input: { path: "a.txt" }, result: null });
  });

  it("keeps a result whose call is not there", () => {
    const { turns } = talk(
      { messages: [{ role: "user", content: [{ type: "tool_result", tool_use_id: "gone", content: "x" }] }] },
      "{}",
    );
    expect(turns[0]?.blocks[0]).toMatchObject({ kind: "tool_result", result: { toolUseId: "gone" } });
  });

  it("shows pictures and documents as placeholders that say what they are", () => {
    const source = { type: "base64", media_type: "image/png", data: "A".repeat(4000) };
    const small = { ...source, data: "JVBERi0=" };
    const document = { type: "document", title: "Plan", source: { type: "file", file_id: "file_1" } };
    const { turns } = talk(
      {
        messages: [{ role: "user", content: [{ type: "image", source }, { type: "image", source: small }, document] }],
      },
      "{}",
    );
    expect(turns[0]?.blocks).toEqual([
      { kind: "media", what: "image", note: "image/png, 3.00 kB" },
      { kind: "media", what: "image", note: "image/png, 5 B" },
      { kind: "media", what: "document", note: "Plan, file, file_1" },
    ]);
  });

  it("shows what it does not know as it is", () => {
    const { turns } = talk({ messages: [{ role: "user", content: [{ type: "hologram", depth: 3 }, 7] }] }, "{}");
    expect(turns[0]?.blocks).toMatchObject([
      { kind: "other", type: "hologram", content: { depth: 3 } },
      { kind: "other", type: "unknown" },
    ]);
  });

  it("tells the error that came instead of an answer", () => {
    const { error, turns } = talk(
      { messages: [] },
      JSON.stringify({ type: "error", error: { type: "api_error", message: "No" } }),
    );
    expect([error, turns]).toEqual([{ type: "api_error", message: "No" }, []]);
  });

  it("says what is missing", () => {
    const request = { messages: [] };
    expect(talk(request, WHOLE.slice(0, -40)).missing).toBe("The answer broke off.");
    const cut = payload(request, WHOLE);
    cut.response.body.truncated = true;
    expect(conversationOf(cut)?.missing).toMatch(/longer than what is kept/);
  });

  it("is none where the request is none, or was cut", () => {
    expect(conversationOf(payload({ model: "x" }, "{}"))).toBeNull();
    const cut = payload({}, "{}");
    cut.request.body = body('{"messages": [{"role": "us', { truncated: true });
    expect(conversationOf(cut)).toBeNull();
  });
});
