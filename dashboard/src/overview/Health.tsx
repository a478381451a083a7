import { CircleCheck, CircleX, TriangleAlert } from "lucide-react";
import { Link } from "wouter";
import type { Schemas } from "../api/client";
import { type Account, useAccounts, useHealth } from "../api/questions";
import { useNow } from "../format/clock";
import { count } from "../format/numbers";
import { shortTime, span } from "../format/time";
import { Failure } from "../frame/states";
import { concerns } from "./concerns";
import styles from "./Overview.module.css";

type HealthView = Schemas["HealthView"];

const SAYS: Record<HealthView["status"], { words: string; tone: "good" | "warn" | "bad" }> = {
  ok: { words: "Requests can be served", tone: "good" },
  rate_limited: { words: "Every account is rate limited", tone: "warn" },
  no_accounts: { words: "There is no account", tone: "bad" },
  unavailable: { words: "No account can serve", tone: "bad" },
};

/** What the server says of itself, and everything that speaks against it. */
export function Health() {
  const health = useHealth();
  const accounts = useAccounts();
  if (health.error) return <Failure error={health.error} again={() => void health.refetch()} />;
  if (!health.data) return null;
  return <Known health={health.data} accounts={accounts.data ?? []} />;
}

function Known({ health, accounts }: { health: HealthView; accounts: Account[] }) {
  const now = useNow();
  const { words, tone } = SAYS[health.status];
  const Icon = { good: CircleCheck, warn: TriangleAlert, bad: CircleX }[tone];
  const { total, active } = health.accounts;
  return (
    <section className={styles.health} data-tone={tone} aria-label="Health">
      <p className={styles.verdict}>
        <Icon size={19} aria-hidden="true" />
        <b>{words}</b>
        {health.status === "ok" && total > 0 && (
          <span>
            by{" "}
            {active === total
              ? total === 1
                ? "the account"
                : `all ${total} accounts`
              : `${active} of ${total} accounts`}
          </span>
        )}
      </p>
      <ul className={styles.concerns}>
        {concerns(accounts, now).map(({ account, text, at }) => (
          <li key={`${account}${text}`}>
            <Link href="/accounts">{account}</Link> {text}
            {at !== null && ` ${shortTime(at, now)}`}
          </li>
        ))}
      </ul>
      <p className={styles.uptime}>
        up {span(health.uptime)}
        {health.writer.queued > 1000 && `, ${count(health.writer.queued)} rows wait to be written`}
      </p>
    </section>
  );
}
