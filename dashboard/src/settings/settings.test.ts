import { expect, it } from "vitest";
import type { Setting } from "../api/questions";
import { grouped } from "./groups";
import { fieldOf, inWords, isOverridden, listFrom, numberFrom, typedOf } from "./values";

function setting(name: string, more: Partial<Setting> = {}): Setting {
  return { name, value: "", source: "default", choices: null, meaning: `About ${name}.`, ...more } as Setting;
}

it("shows every setting in exactly one group", () => {
  const names = [
    "port",
    "client_id",
    "client_keys",
    "retry_delay_ms",
    "http_proxy",
    "something_new",
    "log_level",
    "data_retention_days",
  ];
  const shown = grouped(
    names.map((name) => setting(name)),
    "",
  ).flatMap(([, members]) => members.map((each) => each.name));
  expect(shown.toSorted()).toEqual(names.toSorted());
  expect(grouped([setting("something_new")], "")[0]?.[0]).toBe("More");
});

it("finds a setting by its meaning, whatever the case", () => {
  expect(grouped([setting("port"), setting("host")], "ABOUT HO").flatMap(([, members]) => members)).toHaveLength(1);
});

it("chooses the field by the kind of value", () => {
  expect([
    fieldOf(setting("a", { value: true })),
    fieldOf(setting("b", { value: "x", choices: ["x", "y"] })),
    fieldOf(setting("c", { value: 3 })),
    fieldOf(setting("d", { value: [] })),
    fieldOf(setting("e", { value: "x" })),
  ]).toEqual(["switch", "choice", "number", "list", "text"]);
});

it("does not offer to edit what the file cannot change", () => {
  expect(
    ["default", "file", "environment", "flag"].map((source) =>
      isOverridden(setting("a", { source: source as Setting["source"] })),
    ),
  ).toEqual([false, false, true, true]);
});

it("reads lists however they are written, and says long numbers in words", () => {
  expect(listFrom(" a.example,b.example\n c ,")).toEqual(["a.example", "b.example", "c"]);
  expect(inWords(setting("session_duration_ms", { value: 3_600_000 }))).toBe("= 1 h");
  expect(inWords(setting("payload_budget_bytes", { value: 1_073_741_824 }))).toBe("= 1.07 GB");
  expect(inWords(setting("port", { value: 8080 }))).toBeNull();
});

it("takes a number as it is shown, and nothing that only has digits in it", () => {
  for (const value of [0, 7, 1000, 1234567, 0.25, 1000000000]) expect(numberFrom(typedOf(value))).toBe(value);
  expect(typedOf(1234567)).toBe("1 234 567");
  expect([" 12 ", "-5", "10 000"].map(numberFrom)).toEqual([12, -5, 10_000]);
  for (const text of ["", "1e9", "1GB", "1 GB", "1,5", "1 2", "12 3456", "ten"])
    expect([text, numberFrom(text)]).toEqual([text, null]);
});
