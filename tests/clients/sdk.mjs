// Run by node: `sdk.mjs PACKAGE_DIRECTORY BASE_URL KEY SCENARIO...` prints one JSON object.
import { pathToFileURL } from "node:url";
import { join } from "node:path";

const [directory, baseURL, apiKey, ...names] = process.argv.slice(2);
const { default: Anthropic } = await import(pathToFileURL(join(directory, "index.mjs")));
const client = new Anthropic({ baseURL, apiKey, maxRetries: 0 });
const model = "claude-sonnet-5-5";
const tool = { name: "look", description: "Looks.", input_schema: { type: "object", properties: {} } };

function asked(text = "Hello", more = {}) {
  return { model, max_tokens: 256, messages: [{ role: "user", content: text }], ...more };
}

async function failure(call) {
  const began = performance.now();
  try {
    await call();
  } catch (error) {
    return { class: error.constructor.name, request_id: error.requestID ?? null, seconds: (performance.now() - began) / 1000 };
  }
  return null;
}

async function events(text) {
  for await (const event of await client.messages.create(asked(text, { stream: true }))) void event;
}

const scenarios = {
  async message() {
    const found = await client.messages.create(asked("Good morning"));
    return { text: found.content[0].text, request_id: found._request_id };
  },
  async stream() {
    const stream = client.messages.stream(asked("Stream this"));
    let text = "";
    stream.on("text", (part) => (text += part));
    const final = await stream.finalMessage();
    return { text, stop_reason: final.stop_reason };
  },
  async tools() {
    const first = asked("Look", { tools: [tool], tool_choice: { type: "any" } });
    const found = await client.messages.create(first);
    const call = found.content.find((block) => block.type === "tool_use");
    const result = { type: "tool_result", tool_use_id: call.id, content: "A tree" };
    const messages = [...first.messages, { role: "assistant", content: found.content }, { role: "user", content: [result] }];
    return (await client.messages.create({ ...first, messages, tool_choice: { type: "auto" } })).stop_reason;
  },
  async count() {
    const counted = await client.messages.countTokens({ model, messages: [{ role: "user", content: "x".repeat(400) }] });
    const models = (await client.models.list()).data.map((one) => one.id);
    return { tokens: counted.input_tokens, models };
  },
  async parallel() {
    const all = Array.from({ length: 20 }, (_, n) => client.messages.create(asked(`n ${n}.`)));
    return (await Promise.all(all)).map((one) => one.content[0].text);
  },
  refused: () => failure(() => client.messages.create(asked("[[fake 404]]"))),
  cut: () => failure(() => events("[[fake disconnect-mid]]")),
  limited: () => failure(() => client.messages.create(asked(), { maxRetries: 2 })),
};

const results = {};
for (const name of names) results[name] = await scenarios[name]();
console.log(JSON.stringify(results));
