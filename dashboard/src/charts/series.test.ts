import { expect, test } from "vitest";
import { isAlone, type Moment } from "./series";

test("a point between two gaps is alone, and only that one", () => {
  const moments: Moment[] = [1, null, 2, null, 3, 4].map((a, ts) => ({ ts, partial: false, values: { a } }));
  expect(moments.map((_, index) => isAlone(moments, index, "a"))).toEqual([true, false, true, false, false, false]);
});
