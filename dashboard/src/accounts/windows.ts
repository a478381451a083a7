/** How an account's windows stand, in words and in the order in which they matter. */

import type { Account } from "../api/questions";
import { milliseconds } from "../format/time";

export type Window = Account["windows"][number];
export type Tone = "good" | "warn" | "bad";

const NEARLY_FULL = 0.8;

const NAMES: Record<string, string> = {
  "5h": "5 hours",
  "7d": "7 days",
  "7d_opus": "7 days, Opus",
  "7d_sonnet": "7 days, Sonnet",
};

export function windowName(name: string): string {
  return NAMES[name] ?? name.replaceAll("_", " ");
}

/** `bad`: used up or refused. `warn`: it will be used up before it begins anew, or is nearly so. */
export function toneOf(window: Window): Tone {
  if (window.status === "rejected" || (window.utilization ?? 0) >= 1) return "bad";
  if (window.runs_out_at !== null || (window.utilization ?? 0) >= NEARLY_FULL) return "warn";
  return "good";
}

/** `claude-opus-4-1`, or `opus models`. */
export function named(aside: Pick<Account["asides"][number], "model" | "family">): string {
  return aside.family ? `${aside.model} models` : aside.model;
}

export interface RunsOut {
  account: Account;
  window: Window;
  at: number;
}

/** The accounts that can serve, the one that is used up first before all others. */
export function runningOut(accounts: Account[]): RunsOut[] {
  const found: RunsOut[] = [];
  for (const account of accounts.filter((each) => each.state === "active")) {
    const windows = account.windows.filter((window) => window.runs_out_at !== null);
    windows.sort((a, b) => milliseconds(a.runs_out_at ?? 0) - milliseconds(b.runs_out_at ?? 0));
    const [window] = windows;
    if (window?.runs_out_at) found.push({ account, window, at: milliseconds(window.runs_out_at) });
  }
  return found.sort((a, b) => a.at - b.at);
}

/** When an account that is limited serves again; null when that is not known. */
export function backAt(account: Account): number | null {
  const at = account.rate_limited_until ?? (account.state === "rate_limited" ? account.rate_limit_reset : null);
  return at === null ? null : milliseconds(at);
}
