/** The filter of the request list: in the address, in the question to the server, and against a request that comes in. */

import type { Exchange, RequestFilter } from "../api/questions";
import { milliseconds } from "../format/time";

const NAMES = ["status", "account", "model", "client_key", "from", "to"] as const;

export function filterFrom(search: URLSearchParams): RequestFilter {
  const filter: RequestFilter = {};
  for (const name of NAMES) {
    const value = search.get(name);
    if (value) filter[name] = value;
  }
  return filter;
}

/** The search of an address with some parts changed; an empty part is left out. */
export function searchWith(
  filter: RequestFilter,
  changes: Partial<Record<keyof RequestFilter, string | null>>,
): string {
  const search = new URLSearchParams();
  for (const name of NAMES) {
    const value = name in changes ? changes[name] : filter[name];
    if (value) search.set(name, value);
  }
  return search.toString();
}

/** Whether a request that has just ended belongs into the list, as the server would say. */
export function matches(request: Exchange, filter: RequestFilter): boolean {
  return (
    (!filter.status || hasStatus(request, filter.status)) &&
    (!filter.account || isOf(request, filter.account)) &&
    (!filter.client_key || isBy(request, filter.client_key)) &&
    (!filter.model || isModel(request.model ?? "", filter.model)) &&
    (!filter.from || request.timestamp_ms >= milliseconds(filter.from)) &&
    (!filter.to || request.timestamp_ms < milliseconds(filter.to))
  );
}

function hasStatus(request: Exchange, status: string): boolean {
  if (status === "error") return request.outcome !== "success";
  return request.outcome === status || String(request.status_code) === status;
}

export function isOf(request: Pick<Exchange, "account" | "account_id">, account: string): boolean {
  if (account === "none") return request.account_id === null;
  return request.account === account || request.account_id === account;
}

export function isBy(request: Pick<Exchange, "client_key" | "client_key_id">, key: string): boolean {
  if (key === "none") return request.client_key_id === null;
  return request.client_key === key || request.client_key_id === key;
}

export function isModel(model: string, wanted: string): boolean {
  return model === wanted || model.startsWith(`${wanted}-`);
}
