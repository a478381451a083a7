import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Running } from "../api/questions";
import { exchange } from "../test/kit";
import { ageOf, doing, KEPT_MS, mayMatch, RunningNow } from "./running";

beforeEach(() => void vi.useFakeTimers({ now: 1_800_000_000_000 }));
afterEach(() => void vi.useRealTimers());

function run(id: string, more: Partial<Running> = {}): Running {
  const base: Partial<Running> = {
    id,
    timestamp_ms: 1_799_999_990_000,
    age_ms: 10_000,
    phase: "waiting",
    account: "work",
    account_id: "a1",
    model: "claude-opus-4-5",
    failed_attempts: 0,
    attempts: [],
  };
  return { ...base, ...more } as Running;
}

function told(now: RunningNow, ...ids: string[]): void {
  now.hear("running", { total: ids.length, requests: ids.map((id) => run(id)) });
}

const ids = (now: RunningNow) => now.read().shown.map(({ request }) => request.id);

describe("what runs", () => {
  it("is the newest state, whatever was told before", () => {
    const now = new RunningNow();
    told(now, "a", "b");
    told(now, "b", "c");
    expect(ids(now)).toEqual(["a", "b", "c"]);
    vi.advanceTimersByTime(2 * KEPT_MS);
    expect(ids(now)).toEqual(["b", "c"]);
    now.hear("running", { total: 60, requests: [run("b")] });
    expect(now.read().more).toBe(59);
  });

  it("keeps its place until its row in the history is there, and does not come back then", () => {
    const now = new RunningNow();
    told(now, "a", "b");
    now.hear("request", exchange({ id: "a" }));
    expect(ids(now)).toEqual(["a", "b"]);
    vi.advanceTimersByTime(250);
    expect(ids(now)).toEqual(["b"]);
    told(now, "a", "b");
    expect(ids(now)).toEqual(["b"]);
  });

  it("does not grow with what has ended", () => {
    const now = new RunningNow();
    for (let number = 0; number < 3_000; number++) {
      told(now, `x${number}`);
      now.hear("request", exchange({ id: `x${number}` }));
      vi.advanceTimersByTime(300);
    }
    expect(ids(now)).toEqual([]);
    expect(vi.getTimerCount()).toBeLessThan(3);
  });

  it("is not known while the connection is lost", () => {
    const now = new RunningNow();
    told(now, "a");
    now.clear();
    expect(now.read()).toEqual({ known: false, shown: [], more: 0 });
  });
});

describe("a request that runs", () => {
  const at = 1_800_000_000_000;

  it("ages by the reader's clock from what the server said, and stands still when it has ended", () => {
    expect(ageOf({ request: run("a"), at, endedAt: null }, at + 5_000)).toBe(15_000);
    expect(ageOf({ request: run("a"), at, endedAt: at + 1_000 }, at + 5_000)).toBe(11_000);
    expect(ageOf({ request: run("a"), at, endedAt: null }, at - 60_000)).toBe(10_000);
  });

  it("is shown where its end may belong: nobody knows its status", () => {
    const shown = { request: run("a"), at, endedAt: null };
    expect(mayMatch(shown, {})).toBe(true);
    expect(mayMatch(shown, { account: "work", model: "claude-opus" })).toBe(true);
    expect(mayMatch(shown, { account: "home" })).toBe(false);
    expect(mayMatch(shown, { model: "claude-opus-4-5x" })).toBe(false);
    expect(mayMatch(shown, { status: "error" })).toBe(false);
    expect(mayMatch(shown, { from: "2030-01-01T00:00:00Z" })).toBe(false);
    expect(mayMatch(shown, { to: "2020-01-01T00:00:00Z" })).toBe(false);
  });

  it("says what it does and what it has been through", () => {
    expect(doing({ request: run("a", { failed_attempts: 2 }), at, endedAt: null })).toBe(
      "waits for the answer, after 2 other tries",
    );
    expect(doing({ request: run("a"), at, endedAt: at })).toBe("has ended");
  });
});
