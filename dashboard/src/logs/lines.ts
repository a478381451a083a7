import type { LogEntry } from "../api/questions";

export interface Line extends LogEntry {
  /** Unlike any other line's on the page. */
  key: string;
}

/** Lines that came since the page was opened. */
export interface Newer {
  /** Newest first. */
  lines: Line[];
  /** How many there were in all, also those that have fallen away. */
  count: number;
}

export const MOST_LINES = 1_500;
export const NONE: Newer = { lines: [], count: 0 };

/** Adds what was written; the oldest lines fall away. */
export function withNewer({ lines, count }: Newer, entry: LogEntry): Newer {
  const line = { ...entry, key: `newer ${count + 1}` };
  return { lines: [line, ...lines].slice(0, MOST_LINES), count: count + 1 };
}

/** What was in the log before, newest first. */
export function older(entries: LogEntry[]): Line[] {
  return entries.map((entry, index) => ({ ...entry, key: `older ${index}` })).toReversed();
}
