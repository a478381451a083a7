import { useState } from "react";
import { Link } from "wouter";
import type { RequestFilter } from "../api/questions";
import { useNow } from "../format/clock";
import { count } from "../format/numbers";
import { fullTime, span, timeOfDay } from "../format/time";
import { LiveSign } from "./LiveSign";
import list from "./RequestList.module.css";
import styles from "./RunningRows.module.css";
import { ageOf, doing, mayMatch, type Shown, useRunning } from "./running";
import { Whose } from "./Whose";

const SHOWN = 5;

/** The requests that run, above those that have ended; the longest first. Nothing when there are none. */
export function RunningRows({ filter }: { filter: RequestFilter }) {
  const { shown, more } = useRunning();
  const [all, setAll] = useState(false);
  const found = shown.filter((each) => mayMatch(each, filter));
  if (found.length === 0) return null;
  const rows = all ? found : found.slice(0, SHOWN);
  const others = found.length - rows.length + (Object.keys(filter).length > 0 ? 0 : more);
  return (
    <section className={styles.running} aria-label="Running requests">
      <ol className={styles.rows}>
        {rows.map((each) => (
          <li key={each.request.id}>
            <RunningRow shown={each} />
          </li>
        ))}
      </ol>
      {(others > 0 || all) && (
        <button
          type="button"
          className={styles.more}
          disabled={!all && found.length === rows.length}
          aria-expanded={all}
          onClick={() => setAll(!all)}
        >
          {others > 0 ? `${count(others)} more running` : "Show fewer"}
        </button>
      )}
    </section>
  );
}

function RunningRow({ shown }: { shown: Shown }) {
  const now = useNow();
  const { request } = shown;
  return (
    <Link href={`/requests/${request.id}`} className={`${list.columns} ${list.row}`} data-tone="live">
      <time dateTime={request.timestamp} title={fullTime(request.timestamp_ms)} className={list.time}>
        {timeOfDay(request.timestamp_ms, now)}
      </time>
      <span className={list.status}>
        <LiveSign ended={shown.endedAt !== null} />
      </span>
      <span className={`cut ${list.model}`} title={request.model ?? request.path}>
        {request.model ?? <span className="quiet">{request.path}</span>}
      </span>
      <Whose request={request} none="no account yet" />
      <span className={`cut ${styles.doing}`}>{doing(shown)}</span>
      <span className={`number ${list.total}`}>{span(ageOf(shown, now))}</span>
    </Link>
  );
}
