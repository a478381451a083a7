import { describe, expect, it } from "vitest";
import { bytes, change, dollars, duration, percent, points, speed, UNKNOWN } from "./numbers";

describe("numbers", () => {
  it("shows what is not known as a dash, and zero as zero", () => {
    expect([duration(null), dollars(undefined), percent(null), speed(Number.NaN)]).toEqual(Array(4).fill(UNKNOWN));
    expect([duration(0), dollars(0), percent(0), bytes(0)]).toEqual(["0 ms", "$0", "0 %", "0 B"]);
  });

  it("changes a duration's unit without ever showing 1000 of the smaller one", () => {
    expect([0.42, 84, 999.4, 999.6, 9_994, 9_996, 59_949, 59_951, 125_000].map(duration)).toEqual([
      "0.42 ms",
      "84 ms",
      "999 ms",
      "1.00 s",
      "9.99 s",
      "10.0 s",
      "59.9 s",
      "1 m 00 s",
      "2 m 05 s",
    ]);
  });

  it("keeps the digits of small amounts and drops those of large ones", () => {
    expect([0.0000004, 0.00042, 0.0423, 0.5, 12.3, 12_345].map(dollars)).toEqual([
      "<$0.000001",
      "$0.00042",
      "$0.0423",
      "$0.500",
      "$12.30",
      "$12.3K",
    ]);
  });

  it("never rounds a share up to all or down to none", () => {
    expect([0.99999, 1, 0.0004, 0.985].map(percent)).toEqual(["99.9 %", "100 %", "<0.1 %", "98.5 %"]);
  });

  it("counts bytes in powers of ten", () => {
    expect([999, 1_000, 12_340, 999_600, 5_000_000_000].map(bytes)).toEqual([
      "999 B",
      "1.00 kB",
      "12.3 kB",
      "1.00 MB",
      "5.00 GB",
    ]);
  });

  it("tells of no change where there is nothing to compare with", () => {
    expect(change(5, 0)).toBeNull();
    expect(change(5, null)).toBeNull();
    expect(points(null, 0.5)).toBeNull();
  });

  it("tells the direction and the size of a change", () => {
    expect(change(150, 100)).toEqual({ text: "+50 %", direction: "up" });
    expect(change(50, 100)).toEqual({ text: "−50 %", direction: "down" });
    expect(change(100.2, 100)).toEqual({ text: "±0 %", direction: "same" });
    expect(change(2_000, 100)).toEqual({ text: "×20", direction: "up" });
    expect(points(0.95, 0.97)).toEqual({ text: "−2.0 pp", direction: "down" });
  });
});
