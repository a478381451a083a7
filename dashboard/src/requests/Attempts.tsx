import type { ReactNode } from "react";
import type { Attempt } from "../api/questions";
import { duration } from "../format/numbers";
import { VERDICTS } from "./outcome";
import styles from "./RequestPage.module.css";
import { chosen } from "./why";

interface Props {
  attempts: Attempt[];
  /** What comes behind them. */
  children?: ReactNode;
}

/** Every upstream try on one scale of time: whom it went to and why, what came of it, how long it took. */
export function Attempts({ attempts, children }: Props) {
  const total = Math.max(1, ...ends(attempts));
  let begin = 0;
  return (
    <ol className={styles.attempts}>
      {attempts.map((attempt, index) => {
        const wait = begin;
        const from = begin + attempt.wait_ms;
        begin = from + attempt.duration_ms;
        return (
          // biome-ignore lint/suspicious/noArrayIndexKey: attempts have no names, and never change places
          <li key={index} className={styles.attempt} data-tone={VERDICTS[attempt.verdict]?.tone ?? "idle"}>
            <span className="cut">
              {index + 1}. <b>{attempt.account ?? "without an account"}</b>
            </span>
            <span className={styles.track} aria-hidden="true">
              {attempt.wait_ms > 0 && <i className={styles.wait} style={place(wait, attempt.wait_ms, total)} />}
              <i style={place(from, attempt.duration_ms, total)} />
            </span>
            <span className={styles.verdict}>
              {attempt.status ?? "no answer"}, {VERDICTS[attempt.verdict]?.word ?? attempt.verdict}
            </span>
            <span className="number">{duration(attempt.duration_ms)}</span>
            <Reasons attempt={attempt} />
          </li>
        );
      })}
      {children}
    </ol>
  );
}

function Reasons({ attempt }: { attempt: Attempt }) {
  const why = chosen(attempt);
  const pause = attempt.wait_ms > 0 ? `after a pause of ${duration(attempt.wait_ms)}` : null;
  const before = [why, pause].filter(Boolean).join(", ");
  return (
    <>
      {before && <span className={styles.reason}>Chosen: {before}</span>}
      {attempt.reason && <span className={styles.reason}>Result: {attempt.reason}</span>}
    </>
  );
}

function ends(attempts: Attempt[]): number[] {
  let end = 0;
  return attempts.map((attempt) => {
    end += attempt.wait_ms + attempt.duration_ms;
    return end;
  });
}

function place(from: number, length: number, total: number) {
  return { left: `${(from / total) * 100}%`, width: `max(${(length / total) * 100}%, 3px)` };
}
