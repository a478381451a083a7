/** The one way to the server. Every path, parameter, body and answer has the type that the server's own document gives it. */

import type { components, paths } from "./schema";

export type Schemas = components["schemas"];

type Method = "get" | "post" | "patch" | "delete";
type PathsWith<M extends Method> = { [P in keyof paths]: paths[P][M] extends object ? P : never }[keyof paths];
type Operation<P extends keyof paths, M extends Method> = NonNullable<paths[P][M]>;
type Json<T> = T extends { content: { "application/json": infer J } } ? J : never;
type Answer<O> = O extends { responses: infer R } ? Json<R[Extract<keyof R, 200 | 201>]> : never;
type Query<O> = O extends { parameters: { query?: infer Q } } ? NonNullable<Q> : never;
type Body<O> = O extends { requestBody?: infer B } ? Json<NonNullable<B>> : never;

const LONGEST_WAIT_MS = 30_000;

/** The server said no (`status`), or nothing (`status` 0). */
export class Refused extends Error {
  constructor(
    message: string,
    readonly status: number,
    /** The part of the request to blame. */
    readonly field: string | null = null,
  ) {
    super(message);
  }
}

interface Asked {
  /** Values of `{id}` and the like. */
  at?: Record<string, string>;
  query?: Record<string, unknown>;
  body?: unknown;
  signal?: AbortSignal;
  /** Who has not answered by then does not answer. */
  withinMs?: number;
}

export function read<P extends PathsWith<"get">>(
  path: P,
  asked: Omit<Asked, "query" | "body"> & { query?: Query<Operation<P, "get">> } = {},
): Promise<Answer<Operation<P, "get">>> {
  return send("GET", path, asked);
}

export function change<P extends PathsWith<M>, M extends "post" | "patch" | "delete">(
  method: M,
  path: P,
  body: Body<Operation<P, M>>,
  at: Record<string, string> = {},
): Promise<Answer<Operation<P, M>>> {
  return send(method.toUpperCase(), path, { body: body ?? {}, at });
}

async function send<T>(method: string, path: string, asked: Asked): Promise<T> {
  const init: RequestInit = { method, signal: withDeadline(asked.signal, asked.withinMs ?? LONGEST_WAIT_MS) };
  if (asked.body !== undefined) {
    init.headers = { "content-type": "application/json" };
    init.body = JSON.stringify(asked.body);
  }
  const answer = await fetch(address(path, asked.at, asked.query), init).catch((error: unknown) => {
    if (asked.signal?.aborted) throw error;
    throw new Refused("The server does not answer. Is ccflare running?", 0);
  });
  const content: unknown = await answer.json().catch(() => null);
  if (answer.ok) return content as T;
  const refusal = content as Schemas["Refusal"] | null;
  throw new Refused(
    refusal?.error ?? `The server answered ${answer.status}`,
    answer.status,
    refusal?.details?.field ?? null,
  );
}

export function address(path: string, at: Record<string, string> = {}, query: Record<string, unknown> = {}): string {
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(at[name] ?? ""));
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return text ? `${filled}?${text}` : filled;
}

function withDeadline(signal: AbortSignal | undefined, withinMs: number): AbortSignal {
  const deadline = AbortSignal.timeout(withinMs);
  return signal ? AbortSignal.any([signal, deadline]) : deadline;
}
