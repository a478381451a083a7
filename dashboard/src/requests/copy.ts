/** A request as others can use it: JSON for programs, curl for a terminal. Credentials are placeholders in both. */

import type { Details } from "../api/questions";

type Payload = NonNullable<Details["payload"]>;

const CREDENTIALS = new Set(["authorization", "x-api-key", "cookie", "proxy-authorization"]);
const FRAMING = new Set(["host", "content-length", "transfer-encoding", "connection", "accept-encoding"]);

export function asJson(details: Details): string {
  return JSON.stringify(details, null, 2);
}

/** A command for a POSIX shell that repeats the request; null when its body was not kept whole. */
export function asCurl(details: Details, origin: string): string | null {
  const payload = details.payload;
  if (!payload || payload.request.body.truncated) return null;
  const { method } = details.request;
  const lines = [`curl ${quoted(origin + payload.target)}`];
  if (method !== "GET") lines.push(`-X ${method}`);
  for (const [name, value] of payload.request.headers) {
    const key = name.toLowerCase();
    if (FRAMING.has(key) || (key === "content-encoding" && payload.request.body.decoded)) continue;
    lines.push(CREDENTIALS.has(key) ? `-H "${name}: ${placeholder(key)}"` : `-H ${quoted(`${name}: ${value}`)}`);
  }
  const { content, encoding } = payload.request.body;
  if (encoding === "base64")
    return `printf %s ${quoted(content)} | base64 -d | ${[...lines, "--data-binary @-"].join(" \\\n  ")}`;
  if (content) lines.push(`--data-raw ${quoted(content)}`);
  return lines.join(" \\\n  ");
}

function placeholder(name: string): string {
  return name === "authorization"
    ? "Bearer $ANTHROPIC_API_KEY"
    : name === "x-api-key"
      ? "$ANTHROPIC_API_KEY"
      : "$SECRET";
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

export type { Payload };
