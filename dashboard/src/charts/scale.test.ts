import { expect, test } from "vitest";
import { largestOf, roundTicks } from "./scale";

test("ticks are round, begin at zero and reach the largest value", () => {
  expect(roundTicks(58, 3, true)).toEqual([0, 20, 40, 60]);
  expect(roundTicks(0.14, 4, false)).toEqual([0, 0.05, 0.1, 0.15]);
  expect(roundTicks(10.06, 4, false)).toEqual([0, 5, 10, 15]);
  for (const largest of [0.0003, 0.7, 1, 3, 9.99, 10, 101, 4999, 2.3e9]) {
    const ticks = roundTicks(largest, 4, false);
    expect(ticks.at(-1)).toBeGreaterThanOrEqual(largest);
    expect(ticks.length).toBeLessThanOrEqual(5);
  }
});

test("what is counted has no tick between two numbers", () => {
  expect(roundTicks(1, 3, true)).toEqual([0, 1]);
  expect(roundTicks(2, 3, true)).toEqual([0, 1, 2]);
  for (let largest = 1; largest < 200; largest++) {
    expect(roundTicks(largest, 3, true).every(Number.isInteger)).toBe(true);
  }
});

test("nothing has an axis too", () => {
  expect(roundTicks(0, 3, true)).toEqual([0, 1]);
  expect(roundTicks(0, 4, false)).toEqual([0]);
});

test("stacked values are added, others are not, and gaps count as nothing", () => {
  const moments = [{ values: { a: 3, b: 4 } }, { values: { a: 5, b: null } }];
  expect(largestOf(moments, ["a", "b"], true)).toBe(7);
  expect(largestOf(moments, ["a", "b"], false)).toBe(5);
  expect(largestOf([], ["a"], true)).toBe(0);
});
