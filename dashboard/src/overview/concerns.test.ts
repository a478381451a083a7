import { expect, it } from "vitest";
import { account } from "../test/kit";
import { concerns } from "./concerns";

const NOW = Date.parse("2026-03-12T14:00:00Z");
const at = (minutes: number) => new Date(NOW + minutes * 60_000).toISOString();
const window = (name: string, runs_out_at: string | null) => ({
  name,
  utilization: 0.5,
  status: "allowed",
  reset: at(300),
  runs_out_at,
});

it("names the account that runs out first before the others", () => {
  const accounts = [
    account({ name: "late", windows: [window("5h", at(90)), window("7d", at(80))] }),
    account({ name: "soon", windows: [window("5h", at(20))] }),
    account({ name: "calm", windows: [window("5h", null)] }),
  ];
  expect(concerns(accounts, NOW).map(({ account, at }) => [account, at])).toEqual([
    ["soon", NOW + 20 * 60_000],
    ["late", NOW + 80 * 60_000],
  ]);
});

it("puts what needs a person before what passes by itself", () => {
  const accounts = [
    account({ name: "p", state: "paused" }),
    account({ name: "l", state: "rate_limited", rate_limited_until: at(5) }),
    account({ name: "e", state: "expired" }),
    account({ name: "k", state: "auth_failed" }),
  ];
  expect(concerns(accounts, NOW).map((each) => each.account)).toEqual(["k", "e", "l", "p"]);
});

it("forgets a model that was set aside and serves again", () => {
  const aside = { model: "claude-opus-4-5", family: false, reason: "limited" };
  const told = (until: string) => concerns([account({ asides: [{ ...aside, until }] })], NOW).length;
  expect([told(at(1)), told(at(-1))]).toEqual([1, 0]);
});
