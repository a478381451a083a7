import { useRef } from "react";
import type { Running } from "../api/questions";
import { useNow } from "../format/clock";
import { bytes, UNKNOWN } from "../format/numbers";
import { fullTime, span } from "../format/time";
import { Panel } from "../frame/Panel";
import { Empty } from "../frame/states";
import { Attempts } from "./Attempts";
import { clientOf, Group } from "./Facts";
import { LiveSign } from "./LiveSign";
import styles from "./RequestPage.module.css";
import { ageOf, doing } from "./running";
import { chosen } from "./why";

/** A request that has not ended: what is known of it so far. */
export function StillRunning({ request }: { request: Running }) {
  const now = useNow();
  const heard = useRef({ request, at: Date.now() });
  if (heard.current.request !== request) heard.current = { request, at: Date.now() };
  const shown = { ...heard.current, endedAt: null };
  return (
    <>
      <div className={styles.facts}>
        <Group
          facts={[
            ["Model", request.model ?? UNKNOWN],
            ["Account", request.account ?? "none yet"],
          ]}
        />
        <Group
          facts={[
            ["Running for", span(ageOf(shown, now))],
            ["Now", doing(shown)],
          ]}
        />
        <Group
          facts={[
            ["Sent / received", `${bytes(request.request_bytes)} / ${bytes(request.response_bytes)}`],
            ["Client", clientOf(request)],
          ]}
        />
      </div>
      <Panel title="Why this account">
        <Attempts attempts={request.attempts}>
          {request.account && request.choice && (
            <li className={styles.attempt} data-tone="live">
              <span className="cut">
                {request.failed_attempts + 1}. <b>{request.account}</b>
              </span>
              <span className={styles.reason}>Chosen: {chosen(request, now)}</span>
            </li>
          )}
        </Attempts>
      </Panel>
      <section className="panel" aria-label="What was said">
        <div className="inside">
          <Empty title="What is said can be read when the request has ended">This page turns into it by itself.</Empty>
        </div>
      </section>
    </>
  );
}

export function RunningTitle({ request }: { request: Running }) {
  return (
    <>
      <h1 className={styles.title}>
        <LiveSign /> <span className="mono">{request.method}</span> <span className="mono cut">{request.path}</span>
      </h1>
      <p className="quiet">
        Running, since <time dateTime={request.timestamp}>{fullTime(request.timestamp_ms)}</time>
      </p>
    </>
  );
}
