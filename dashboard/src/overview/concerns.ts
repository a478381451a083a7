/** What an operator should know about the accounts, the most pressing first. */

import { backAt, named, runningOut, windowName } from "../accounts/windows";
import type { Account } from "../api/questions";
import { milliseconds } from "../format/time";

export interface Concern {
  account: string;
  text: string;
  /** An instant that belongs to the end of the text, ms. */
  at: number | null;
}

const MOST = 4;

export function concerns(accounts: Account[], now: number): Concern[] {
  const found: Concern[] = [];
  const of = (state: Account["state"]) => accounts.filter((account) => account.state === state);
  for (const { name } of of("auth_failed")) found.push({ account: name, text: "has its key refused", at: null });
  for (const { name } of of("expired")) found.push({ account: name, text: "needs a new sign-in", at: null });
  for (const account of of("rate_limited")) {
    const at = backAt(account);
    found.push({ account: account.name, text: at ? "is limited until" : "is limited", at });
  }
  for (const { account, window, at } of runningOut(accounts)) {
    found.push({ account: account.name, text: `runs out of its ${windowName(window.name)} at about`, at });
  }
  for (const account of of("active")) {
    const aside = account.asides.find((each) => milliseconds(each.until) > now);
    if (aside)
      found.push({
        account: account.name,
        text: `is not asked for ${named(aside)} until`,
        at: milliseconds(aside.until),
      });
  }
  for (const { name } of of("paused")) found.push({ account: name, text: "is paused", at: null });
  return found.slice(0, MOST);
}
