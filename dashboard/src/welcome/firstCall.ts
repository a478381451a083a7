/** A command for a terminal that asks for one short answer; a key that is needed comes from a variable. */
export function firstCall(origin: string, needsKey: boolean): string {
  const body = { model: "claude-haiku-4-5", max_tokens: 32, messages: [{ role: "user", content: "Say hello" }] };
  const key = needsKey ? ` -H "x-api-key: $ANTHROPIC_API_KEY"` : "";
  return `curl ${origin}/v1/messages${key} -H 'content-type: application/json' -H 'anthropic-version: 2023-06-01' -d '${JSON.stringify(body)}'`;
}
