import { memo } from "react";
import { Link } from "wouter";
import type { Exchange } from "../api/questions";
import { brief, count, dollars, duration, UNKNOWN } from "../format/numbers";
import { fullTime, timeOfDay } from "../format/time";
import { OUTCOMES } from "./outcome";
import styles from "./RequestList.module.css";
import { Whose } from "./Whose";

interface Props {
  request: Exchange;
  now: number;
}

/** One request in the list: a link to all that is known of it. */
export const RequestRow = memo(Row, (a, b) => a.request === b.request && sameDay(a.now, b.now));

function Row({ request, now }: Props) {
  const { word, tone } = OUTCOMES[request.outcome];
  const isMessage = request.path.startsWith("/v1/messages") && !request.path.includes("count_tokens");
  return (
    <Link href={`/requests/${request.id}`} className={`${styles.columns} ${styles.row}`} data-tone={tone}>
      <time dateTime={request.timestamp} title={fullTime(request.timestamp_ms)} className={styles.time}>
        {timeOfDay(request.timestamp_ms, now)}
      </time>
      <span className={styles.status}>
        <Status request={request} />
        <span className="hidden-label">{word}</span>
      </span>
      <span className={`cut ${styles.model}`} title={request.model ?? request.path}>
        {isMessage ? (request.model ?? UNKNOWN) : <span className="quiet">{request.path}</span>}
      </span>
      <Whose request={request} />
      <span className={`number ${styles.in}`} title={tokens("Input", request.prompt_tokens)}>
        {brief(request.prompt_tokens)}
      </span>
      <span className={`number ${styles.out}`} title={tokens("Output", request.output_tokens)}>
        {brief(request.output_tokens)}
      </span>
      <span className={`number ${styles.cost}`}>{dollars(request.cost_usd)}</span>
      <span className={`number ${styles.first}`}>{duration(request.first_byte_ms)}</span>
      <span className={`number ${styles.total}`}>{duration(request.response_time_ms)}</span>
      <span className={`cut ${styles.remark}`}>{remark(request)}</span>
    </Link>
  );
}

export function Status({ request }: { request: Exchange }) {
  const { sign, tone } = OUTCOMES[request.outcome];
  return (
    <span className={styles.code} data-tone={tone}>
      <i aria-hidden="true">{sign}</i>
      {request.status_code}
    </span>
  );
}

/** What is unusual about a request, in a few words. */
export function remark(request: Exchange): string {
  const tries = request.failover_attempts;
  const moved = tries > 0 ? `after ${tries} other ${tries === 1 ? "try" : "tries"}` : "";
  return [request.error_message ?? (request.success ? "" : OUTCOMES[request.outcome].word), moved]
    .filter(Boolean)
    .join(", ");
}

function tokens(kind: string, number: number | null): string {
  return number === null ? `${kind} tokens: not said` : `${kind}: ${count(number)} tokens`;
}

function sameDay(one: number, other: number): boolean {
  return Math.floor(one / 3_600_000) === Math.floor(other / 3_600_000);
}
