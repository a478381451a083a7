import { expect, it } from "vitest";
import { attempt, details, exchange } from "../test/kit";
import { explanation } from "./why";

const home = { account_id: "a2", account: "home" };

it("says what came of the accounts before the one that served", () => {
  const attempts = [attempt({ verdict: "next", status: 429, reason: "rate limited (five_hour)" }), attempt(home)];
  expect(explanation(details({ attempts }))).toBe("home served it, because of work (rate limited (five_hour)).");
});

it("tells tries with one account from a change of account", () => {
  const attempts = [attempt({ verdict: "retry", status: 529 }), attempt()];
  expect(explanation(details({ attempts }))).toBe("work served it after 1 more try.");
});

it("does not take a renewed token for a failure", () => {
  const attempts = [attempt({ verdict: "refresh", status: 401 }), attempt()];
  expect(explanation(details({ attempts }))).toMatch(/^work was chosen first/);
});

it("says when nothing helped, nothing was sent, or no account was there", () => {
  const none = (attempts: ReturnType<typeof attempt>[]) =>
    explanation(details({ request: exchange({ success: false }), attempts }));
  expect(none([attempt({ verdict: "next" }), attempt({ ...home, verdict: "next" })])).toMatch(/^None of 2 tries/);
  expect(none([])).toBe("Nothing was sent upstream.");
  expect(none([attempt({ account_id: null, account: null })])).toMatch(/client's own credential/);
});
