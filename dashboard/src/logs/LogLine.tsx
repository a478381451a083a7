import { memo } from "react";
import { fullTime, timeOfDay } from "../format/time";
import styles from "./Logs.module.css";
import type { Line } from "./lines";

export const LogLine = memo(({ line }: { line: Line }) => (
  <li className={styles.line} data-level={line.level ?? undefined}>
    {line.ts ? (
      <time dateTime={line.ts} title={fullTime(line.ts)}>
        {timeOfDay(line.ts, Date.now())}
      </time>
    ) : (
      <span />
    )}
    <b>{line.level ?? ""}</b>
    <span className={`cut ${styles.component}`}>{line.component}</span>
    <span className={styles.message}>{line.message}</span>
  </li>
));
