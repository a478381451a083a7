import type { Account } from "../api/questions";
import { useNow } from "../format/clock";
import { milliseconds, span } from "../format/time";
import styles from "./StateSign.module.css";
import { backAt } from "./windows";

/** Why it gets no requests, and until when. */
export function Why({ account }: { account: Account }) {
  const now = useNow();
  const back = backAt(account);
  if (account.state === "active" && !account.reason) return null;
  const parts = [
    account.reason,
    account.state === "paused" && account.paused_at && `for ${span(now - milliseconds(account.paused_at))}`,
    account.state === "rate_limited" && back && `back in ${span(back - now)}`,
    account.state === "expired" && "sign in again to use it",
    account.state === "auth_failed" && "check its key, then resume it",
  ];
  return <p className={styles.why}>{parts.filter(Boolean).join(", ") || "No reason was given."}</p>;
}
