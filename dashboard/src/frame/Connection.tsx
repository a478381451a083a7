import { Tooltip } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef } from "react";
import { liveRequests, useLinkState } from "../api/live";
import { useHealth } from "../api/questions";
import { useHearing } from "../requests/recent";
import { useHearingRunning } from "../requests/running";
import styles from "./Connection.module.css";

const SAYS = {
  connecting: ["Connecting", "The stream of requests is being opened."],
  open: ["Live", "Requests appear while they run."],
  lost: ["Connection lost", "The server does not answer. What is shown may be old; it is tried again by itself."],
} as const;

/** Shows whether what is seen is the present. */
export function Connection() {
  useHearing();
  const link = useLinkState(liveRequests());
  const health = useHealth();
  const state = health.isError ? "lost" : link;
  useHearingRunning(link);
  useRefreshWhenBack(state);
  const [word, meaning] = SAYS[state];
  return (
    <Tooltip label={meaning}>
      <p className={styles.sign} data-state={state} role="status">
        <i aria-hidden="true" />
        {word}
      </p>
    </Tooltip>
  );
}

/** What was asked while nobody answered is asked again. */
function useRefreshWhenBack(state: keyof typeof SAYS): void {
  const queries = useQueryClient();
  const before = useRef(state);
  useEffect(() => {
    if (before.current === "lost" && state === "open") void queries.invalidateQueries();
    before.current = state;
  }, [state, queries]);
}
