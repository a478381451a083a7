/** Things of the API for tests, with what matters filled in by the test. */

import type { Account, Attempt, Details, Exchange } from "../api/questions";

export function exchange(more: Partial<Exchange> = {}): Exchange {
  const base: Partial<Exchange> = {
    id: "x1",
    timestamp: "2026-03-12T14:00:00.000Z",
    timestamp_ms: 1_773_324_000_000,
    method: "POST",
    path: "/v1/messages",
    account_id: "a1",
    client_key_id: null,
    client_key: null,
    account: "work",
    status_code: 200,
    success: true,
    outcome: "success",
    error_message: null,
    failover_attempts: 0,
    model: "claude-opus-4-5",
    session: "5e55",
  };
  return { ...base, ...more } as Exchange;
}

export function attempt(more: Partial<Attempt> = {}): Attempt {
  return {
    account_id: "a1",
    account: "work",
    verdict: "deliver",
    status: 200,
    duration_ms: 100,
    wait_ms: 0,
    reason: null,
    choice: null,
    ...more,
  };
}

export function account(more: Partial<Account> = {}): Account {
  const base: Partial<Account> = {
    id: "a1",
    name: "work",
    state: "active",
    windows: [],
    budgets: [],
    asides: [],
    rate_limited_until: null,
    rate_limit_reset: null,
  };
  return { ...base, ...more } as Account;
}

export function details(more: Partial<Details> = {}): Details {
  return { request: exchange(), attempts: [], payload: null, payload_damaged: false, ...more };
}

type Payload = NonNullable<Details["payload"]>;

export function payload(request: unknown, response: string, more: Partial<Payload> = {}): Payload {
  return {
    target: "/v1/messages?beta=true",
    request: { headers: [["content-type", "application/json"]], body: body(JSON.stringify(request)) },
    status: 200,
    response: { headers: [], body: body(response) },
    ...more,
  };
}

export function body(content: string, more: Partial<Payload["request"]["body"]> = {}): Payload["request"]["body"] {
  const bytes = new TextEncoder().encode(content).length;
  return { content, encoding: "text", decoded: null, length: bytes, kept: bytes, truncated: false, ...more };
}
