import { describe, expect, it } from "vitest";
import {
  ago,
  fromLocalInput,
  milliseconds,
  shortTime,
  span,
  tick,
  ticksOf,
  timeOfDay,
  toLocalInput,
  zoneName,
} from "./time";

const NOW = new Date(2026, 2, 12, 14, 3, 27).getTime();
const HOUR = 3_600_000;
const DAY = 24 * HOUR;

describe("time", () => {
  it("says the date only where it is not today's", () => {
    expect(timeOfDay(NOW - HOUR, NOW)).toBe("13:03:27");
    expect(timeOfDay(NOW - 2 * DAY, NOW)).toBe("10 Mar 14:03:27");
    expect([
      shortTime(NOW, NOW),
      shortTime(NOW + 2 * DAY, NOW),
      shortTime(new Date(2026, 1, 10, 14, 3).getTime(), NOW),
    ]).toEqual(["14:03", "Sat 14:03", "10 Feb 14:03"]);
  });

  it("reads what the server takes in an address, and leaves alone what nobody can read", () => {
    const at = Date.UTC(2026, 2, 12, 13, 0, 0);
    const forms = ["2026-03-12T13:00:00Z", "2026-03-12T13:00", "2026-03-12 13:00:00", "2026-03-12T13"];
    const offsets = ["15:00:00+02:00", "15:00+02", "15+0200", "15:00 02:00", "08:30:00.000-04:30"];
    for (const text of [String(at), ...forms, ...offsets.map((time) => `2026-03-12T${time}`)]) {
      expect([text, milliseconds(text)]).toEqual([text, at]);
    }
    expect(milliseconds("2026-03-12")).toBe(Date.UTC(2026, 2, 12));
    for (const text of ["garbage", "99999999999999999"]) {
      expect([shortTime(text, NOW), toLocalInput(text)]).toEqual([text, ""]);
    }
    expect(toLocalInput(String(at))).toBe(toLocalInput(at));
  });

  it("says a span in its two largest units, and never a negative one", () => {
    expect([48_000, 125_000, 20 * 60_000, 2 * HOUR + 14 * 60_000, 6 * DAY + 3 * HOUR, -5_000].map(span)).toEqual([
      "48 s",
      "2 m 5 s",
      "20 m",
      "2 h 14 m",
      "6 d 3 h",
      "0 s",
    ]);
  });

  it("does not count seconds of what is minutes ago", () => {
    expect([ago(NOW, NOW), ago(NOW - 40_000, NOW), ago(NOW - 250_000, NOW)]).toEqual([
      "just now",
      "40 s ago",
      "4 m ago",
    ]);
  });

  it("reads a local field back as it was written", () => {
    const iso = fromLocalInput("2026-03-12T14:03");
    expect(iso && toLocalInput(iso)).toBe("2026-03-12T14:03");
    expect(fromLocalInput("")).toBeNull();
    expect(toLocalInput("never")).toBe("");
  });

  it("marks an axis by days where it spans several", () => {
    expect(tick(NOW, HOUR, DAY)).toBe("14:03");
    expect(tick(NOW, HOUR, 7 * DAY)).toBe("12 Mar");
    expect(tick(NOW, DAY, DAY)).toBe("12 Mar");
  });

  it("has one tick a day where hours span several days", () => {
    const begin = new Date(2026, 2, 9, 5).getTime();
    const hours = Array.from({ length: 72 }, (_, index) => begin + index * HOUR);
    expect(ticksOf(hours, HOUR)?.map((at) => new Date(at).toDateString())).toEqual([
      "Tue Mar 10 2026",
      "Wed Mar 11 2026",
      "Thu Mar 12 2026",
    ]);
    expect(ticksOf(hours.slice(0, 24), HOUR)).toBeNull();
  });

  it("names the zone with its distance from UTC", () => {
    expect(zoneName()).toMatch(/UTC/);
  });
});
