import { expect, it } from "vitest";
import type { LogEntry } from "../api/questions";
import { MOST_LINES, NONE, older, withNewer } from "./lines";

const entry: LogEntry = { ts: null, level: "INFO", component: "Proxy", message: "the same each time" };

it("has a key of its own for every line, also for equal ones and those that come at once", () => {
  const twice = [entry, entry].reduce(withNewer, NONE);
  const keys = [...twice.lines, ...older([entry, entry])].map((line) => line.key);
  expect(new Set(keys).size).toBe(4);
});

it("keeps the key of a line for as long as it is shown, and shows the newest first", () => {
  const one = withNewer(NONE, entry);
  const two = withNewer(one, { ...entry, message: "later" });
  expect(two.lines[0]?.message).toBe("later");
  expect(two.lines[1]?.key).toBe(one.lines[0]?.key);
  expect(older([entry, { ...entry, message: "later" }])[0]?.message).toBe("later");
});

it("does not grow without end, and does not use a key again", () => {
  let newer = NONE;
  for (let number = 0; number < MOST_LINES + 10; number++) newer = withNewer(newer, entry);
  expect(newer.lines).toHaveLength(MOST_LINES);
  expect(newer.lines[0]?.key).toBe(`newer ${MOST_LINES + 10}`);
});
