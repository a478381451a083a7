import { Tooltip } from "@mantine/core";
import { Link } from "wouter";
import type { Account } from "../api/questions";
import { useNow } from "../format/clock";
import { count } from "../format/numbers";
import { ago, fullTime, milliseconds, span } from "../format/time";
import { AccountActions } from "./AccountActions";
import styles from "./Accounts.module.css";
import { Asides } from "./Asides";
import { StateSign } from "./StateSign";
import { Why } from "./Why";
import { WindowBars } from "./WindowBars";

export function AccountCard({ account }: { account: Account }) {
  return (
    <article className={`panel ${styles.card}`} aria-labelledby={`name-${account.id}`} data-state={account.state}>
      <header className={styles.cardHead}>
        <h2 id={`name-${account.id}`} className="cut">
          {account.name}
        </h2>
        <StateSign state={account.state} />
        <AccountActions account={account} />
      </header>
      <Why account={account} />
      <div className={styles.windows}>
        <WindowBars account={account} />
        <Asides account={account} />
      </div>
      <Numbers account={account} />
    </article>
  );
}

function Numbers({ account }: { account: Account }) {
  const now = useNow();
  const facts: [string, string, (string | null)?][] = [
    ["Kind", account.kind === "oauth" ? "Sign-in" : "API key"],
    ["Priority", String(account.priority)],
    ["Requests", count(account.requests)],
    ["Running", count(account.in_flight)],
    ["Sessions", count(account.sessions)],
    ["Last used", account.last_used ? ago(account.last_used, now) : "never", account.last_used],
  ];
  if (account.expires_at) facts.push(["Token ends", until(account.expires_at, now), account.expires_at]);
  if (account.base_url) facts.push(["Address", account.base_url.replace(/^https:\/\//, "")]);
  return (
    <footer className={styles.foot}>
      <dl className={styles.numbers}>
        {facts.map(([name, value, at]) => (
          <div key={name} className="cut">
            <dt>{name}</dt>
            <dd className="cut">
              {at ? (
                <Tooltip label={fullTime(at)}>
                  <span>{value}</span>
                </Tooltip>
              ) : (
                value
              )}
            </dd>
          </div>
        ))}
      </dl>
      {account.refresh_error && <p className={styles.why}>Last refresh failed: {account.refresh_error}</p>}
      <Link className={`small ${styles.more}`} href={`/requests?account=${encodeURIComponent(account.name)}`}>
        Its requests
      </Link>
    </footer>
  );
}

function until(at: string, now: number): string {
  const left = milliseconds(at) - now;
  return left > 0 ? `in ${span(left)}` : "ended";
}
