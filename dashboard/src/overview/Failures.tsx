import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";
import { read } from "../api/client";
import { useNow } from "../format/clock";
import { fullTime, timeOfDay } from "../format/time";
import { Panel } from "../frame/Panel";
import { remark, Status } from "../requests/RequestRow";
import styles from "./Overview.module.css";

const SHOWN = 3;

export function Failures() {
  const now = useNow();
  const { data } = useQuery({
    queryKey: ["failures"],
    queryFn: ({ signal }) => read("/api/requests", { query: { status: "error", limit: SHOWN }, signal }),
    refetchInterval: 10_000,
  });
  return (
    <Panel
      title="Latest failures"
      aside={
        <Link href="/requests?status=error" className="small quiet">
          All failures
        </Link>
      }
    >
      {data?.requests.length === 0 && <p className="faint">None in the history.</p>}
      <ul className={styles.failures}>
        {data?.requests.map((request) => (
          <li key={request.id}>
            <Link href={`/requests/${request.id}`}>
              <time title={fullTime(request.timestamp_ms)}>{timeOfDay(request.timestamp_ms, now)}</time>
              <Status request={request} />
              <span className="cut">{remark(request)}</span>
            </Link>
          </li>
        ))}
      </ul>
    </Panel>
  );
}
