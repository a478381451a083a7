import { Link } from "wouter";
import { useNow } from "../format/clock";
import { count, UNKNOWN } from "../format/numbers";
import { span } from "../format/time";
import { LiveSign } from "../requests/LiveSign";
import { ageOf, doing, useRunning } from "../requests/running";
import styles from "./RunningStrip.module.css";

const SHOWN = 4;

/** What runs at this moment, the longest first, on one line that is always there. */
export function RunningStrip() {
  const now = useNow();
  const { known, shown, more } = useRunning();
  const running = shown.filter((each) => each.endedAt === null);
  const others = running.length - SHOWN + more;
  return (
    <section className={styles.strip} aria-label="Running requests">
      <h2 className={styles.count}>{words(known, running.length + more)}</h2>
      <ul className={styles.list}>
        {running.slice(0, SHOWN).map((each) => (
          <li key={each.request.id}>
            <Link href={`/requests/${each.request.id}`} className={styles.one ?? ""} title={doing(each)}>
              <LiveSign />
              <span className={`cut ${styles.model}`}>{each.request.model ?? each.request.path}</span>
              <span className="cut quiet">{each.request.account ?? "no account yet"}</span>
              <b className={styles.age}>{span(ageOf(each, now))}</b>
            </Link>
          </li>
        ))}
      </ul>
      {others > 0 && (
        <Link href="/requests" className={`small quiet ${styles.others}`}>
          {count(others)} more
        </Link>
      )}
    </section>
  );
}

function words(known: boolean, running: number): string {
  if (known && running === 0) return "Nothing is running";
  return `${known ? count(running) : UNKNOWN} running`;
}
