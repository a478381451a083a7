import type { Account } from "../api/questions";
import { useNow } from "../format/clock";
import { milliseconds, shortTime, span } from "../format/time";
import styles from "./Accounts.module.css";
import { named } from "./windows";

/** What an account does not serve for now, although it serves everything else. `brief` leaves out why. */
export function Asides({ account, brief = false }: { account: Account; brief?: boolean }) {
  const now = useNow();
  const asides = account.asides.filter((aside) => milliseconds(aside.until) > now);
  if (asides.length === 0) return null;
  return (
    <ul className={styles.asides}>
      {asides.map((aside) => (
        <li key={`${aside.model}${aside.family}`}>
          Not asked for <b>{named(aside)}</b> until {shortTime(aside.until, now)}, in{" "}
          {span(milliseconds(aside.until) - now)}
          {!brief && `: ${aside.reason}`}
        </li>
      ))}
    </ul>
  );
}
