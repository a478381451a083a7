import { expect, it } from "vitest";
import { segments } from "./segments";

it("draws from zero to the largest value, over the whole width", () => {
  expect(segments([0, 5, 10], 100, 20)).toEqual(["0,20 50,10 100,0"]);
});

it("leaves gaps where nothing is known, and shows a value between two of them", () => {
  expect(segments([1, 1, null, 1, null], 100, 20)).toEqual(["0,0 25,0", "75,0 75.5,0"]);
});

it("draws nothing of nothing, and a flat line of zeros", () => {
  expect(segments([null, null], 100, 20)).toEqual([]);
  expect(segments([0, 0], 100, 20)).toEqual(["0,20 100,20"]);
});
