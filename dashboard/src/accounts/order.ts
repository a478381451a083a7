import type { Account } from "../api/questions";

/** As routing looks at them: priority first. */
export function inOrder(one: Account, other: Account): number {
  return one.priority - other.priority || one.name.localeCompare(other.name);
}

/** Whether none has ever served a request. */
export function areNew(accounts: Account[]): boolean {
  return accounts.every((account) => account.last_used === null && account.total_requests === 0);
}
