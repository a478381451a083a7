import { Button, Select, TextInput } from "@mantine/core";
import { useDebouncedCallback } from "@mantine/hooks";
import { Pause, Play, Search } from "lucide-react";
import { useMemo, useReducer, useState } from "react";
import { useSearchParams } from "wouter";
import { address } from "../api/client";
import { Live, useLinkState, useLive } from "../api/live";
import { type LogEntry, useLogHistory } from "../api/questions";
import { FILTER } from "../frame/keys";
import { PageHead } from "../frame/PageHead";
import { Empty, Failure, Loading } from "../frame/states";
import { LogLine } from "./LogLine";
import styles from "./Logs.module.css";
import { NONE, older, withNewer } from "./lines";

const LEVELS = [
  { value: "DEBUG", label: "All levels" },
  { value: "INFO", label: "Info and above" },
  { value: "WARN", label: "Warnings and errors" },
  { value: "ERROR", label: "Errors" },
];

type Level = LogEntry["level"];

const MISSED: LogEntry = { ts: null, level: null, component: null, message: "Some lines were missed here." };

export default function Logs() {
  const [search, setSearch] = useSearchParams();
  const found = LEVELS.find((each) => each.value === search.get("level"))?.value ?? "DEBUG";
  const level = (found === "DEBUG" ? null : found) as Level;
  const text = search.get("text") ?? "";
  const [paused, setPaused] = useState(false);
  function choose(name: string, value: string): void {
    setSearch(
      (before) => {
        if (value) before.set(name, value);
        else before.delete(name);
        return before;
      },
      { replace: true },
    );
  }
  return (
    <>
      <PageHead title="Logs" note={paused ? "Paused" : "Newest first"}>
        <TextFilter value={text} onChange={(value) => choose("text", value)} />
        <Select
          size="xs"
          w={170}
          aria-label="Level"
          allowDeselect={false}
          data={LEVELS}
          value={found}
          onChange={(value) => choose("level", value === "DEBUG" ? "" : (value ?? ""))}
        />
        <Button
          variant={paused ? "filled" : "default"}
          leftSection={paused ? <Play size={13} /> : <Pause size={13} />}
          onClick={() => setPaused(!paused)}
        >
          {paused ? "Go on" : "Pause"}
        </Button>
      </PageHead>
      <Lines key={`${level} ${text}`} level={level} text={text} paused={paused} />
    </>
  );
}

function TextFilter({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  const say = useDebouncedCallback(onChange, 300);
  return (
    <TextInput
      {...FILTER}
      size="xs"
      w={230}
      type="search"
      aria-label="Text"
      placeholder="Lines with this text  ( / )"
      leftSection={<Search size={14} />}
      defaultValue={value}
      maxLength={200}
      onChange={(event) => say(event.currentTarget.value.trim())}
    />
  );
}

function Lines({ level, text, paused }: { level: Level; text: string; paused: boolean }) {
  const history = useLogHistory(level, text);
  const live = useMemo(() => new Live(address("/api/logs/stream", {}, { level, text }), ["log"]), [level, text]);
  const [newer, add] = useReducer(withNewer, NONE);
  useLive(paused ? null : live, (kind, thing) => add(kind === "gap" ? MISSED : (thing as LogEntry)));
  const link = useLinkState(live);
  const before = useMemo(() => older(history.data?.entries ?? []), [history.data]);
  const lines = [...newer.lines, ...before];
  if (history.error) return <Failure error={history.error} again={() => void history.refetch()} />;
  if (history.isPending) return <Loading lines={6} />;
  return (
    <section className={`panel ${styles.panel}`} aria-label="Log lines">
      {link === "lost" && !paused && (
        <p className={styles.lost}>The stream is cut; new lines follow when it is back.</p>
      )}
      {lines.length === 0 && <Empty title="No line matches">Lines appear here as they are written.</Empty>}
      <ol className={styles.lines}>
        {lines.map((line) => (
          <LogLine key={line.key} line={line} />
        ))}
      </ol>
    </section>
  );
}
