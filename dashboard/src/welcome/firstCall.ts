/** A command for a terminal that asks for one short answer. */
export function firstCall(origin: string): string {
  const body = { model: "claude-haiku-4-5", max_tokens: 32, messages: [{ role: "user", content: "Say hello" }] };
  return `curl ${origin}/v1/messages -H 'content-type: application/json' -H 'anthropic-version: 2023-06-01' -d '${JSON.stringify(body)}'`;
}
