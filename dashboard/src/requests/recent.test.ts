import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { exchange } from "../test/kit";
import { AT_MOST, merged, Recent } from "./recent";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function ended(number: number) {
  return exchange({ id: `x${String(number).padStart(5, "0")}`, timestamp_ms: number });
}

describe("what has just ended", () => {
  it("is told newest first, and many at once", () => {
    const recent = new Recent();
    const told = vi.fn();
    recent.watch(told);
    for (const number of [1, 2, 3]) recent.hear("request", ended(number));
    expect(told).not.toHaveBeenCalled();
    vi.runAllTimers();
    expect(told).toHaveBeenCalledTimes(1);
    expect(recent.read().requests.map((each) => each.timestamp_ms)).toEqual([3, 2, 1]);
    expect(recent.read().incompleteAt).toBe(0);
  });

  it("misses nothing for who asked since, however long it goes on", () => {
    const recent = new Recent();
    const one = (number: number) => {
      recent.hear("request", ended(number));
      vi.advanceTimersByTime(1_000);
    };
    for (let number = 0; number < AT_MOST; number++) one(number);
    const askedAt = Date.now();
    for (let number = 0; number < AT_MOST; number++) one(AT_MOST + number);
    expect(recent.read().incompleteAt).toBeLessThan(askedAt);
    one(2 * AT_MOST);
    one(2 * AT_MOST + 1);
    expect(recent.read().incompleteAt).toBeGreaterThanOrEqual(askedAt);
  });

  it("is no request that runs", () => {
    const recent = new Recent();
    recent.hear("running", { total: 1, requests: [{ id: "r" }] });
    vi.runAllTimers();
    expect(recent.read().requests).toEqual([]);
  });

  it("is bounded, and says when some were dropped", () => {
    const recent = new Recent();
    for (let number = 0; number < 3 * AT_MOST; number++) recent.hear("request", ended(number));
    vi.runAllTimers();
    expect(recent.read().requests).toHaveLength(AT_MOST);
    expect(recent.read().requests[0]?.timestamp_ms).toBe(3 * AT_MOST - 1);
    expect(recent.read().incompleteAt).toBe(Date.now());
  });

  it("begins anew behind a gap", () => {
    const recent = new Recent();
    recent.hear("request", ended(1));
    vi.runAllTimers();
    recent.hear("gap", { missed: 7 });
    recent.hear("request", ended(9));
    vi.runAllTimers();
    expect(recent.read().requests.map((each) => each.timestamp_ms)).toEqual([9]);
    expect(recent.read().incompleteAt).toBeGreaterThan(0);
  });
});

describe("the list", () => {
  it("has each request once, newest first, whatever overlaps", () => {
    const rows = merged([ended(5), ended(4)], [[ended(4), ended(3)], [ended(2)]]);
    expect(rows.map((each) => each.timestamp_ms)).toEqual([5, 4, 3, 2]);
  });

  it("orders requests of one instant by their ids, as the server does", () => {
    const [a, b] = [exchange({ id: "a" }), exchange({ id: "b" })];
    expect(merged([a], [[b]]).map((each) => each.id)).toEqual(["b", "a"]);
  });
});
