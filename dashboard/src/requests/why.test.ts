import { expect, it } from "vitest";
import type { Attempt } from "../api/questions";
import { attempt, details, exchange } from "../test/kit";
import { chosen, explanation } from "./why";

const home = { account_id: "a2", account: "home" };
const session: Attempt["choice"] = { why: "session", words: "its session's account", instead_of: null, until: null };

it("says what came of the accounts before the one that served", () => {
  const attempts = [attempt({ verdict: "next", status: 429, reason: "rate limited (five_hour)" }), attempt(home)];
  expect(explanation(details({ attempts }))).toBe("home served it, because of work (rate limited (five_hour)).");
});

it("says what put the account first, and nothing where that was not recorded", () => {
  expect(explanation(details({ attempts: [attempt({ choice: session })] }))).toBe(
    "work was chosen first: its session's account.",
  );
  expect(explanation(details({ attempts: [attempt()] }))).toBe("work was chosen first.");
});

it("tells tries with one account from a change of account", () => {
  const attempts = [attempt({ verdict: "retry", status: 529, choice: session }), attempt()];
  expect(explanation(details({ attempts }))).toBe(
    "work was chosen first: its session's account. It served after 1 more try.",
  );
});

it("does not take a renewed token for a failure", () => {
  const attempts = [attempt({ verdict: "refresh", status: 401 }), attempt()];
  expect(explanation(details({ attempts }))).toBe("work was chosen first.");
});

it("says until when the session's own account could not serve, once", () => {
  const until = "2026-03-12T14:03:00.000Z";
  const standIn = { why: "stand_in", words: "it stands in for its session's account work", instead_of: "work", until };
  const now = Date.parse(until) - 60_000;
  expect(chosen({ choice: standIn }, now)).toMatch(
    /^it stands in for its session's account work \(back at \d\d:\d\d\)$/,
  );
  expect(chosen({ choice: { ...standIn, why: "again", words: "the same account again" } }, now)).toBe(
    "the same account again",
  );
  expect(chosen({ choice: null }, now)).toBeNull();
});

it("says when nothing helped, nothing was sent, or no account was there", () => {
  const none = (attempts: ReturnType<typeof attempt>[]) =>
    explanation(details({ request: exchange({ success: false }), attempts }));
  expect(none([attempt({ verdict: "next" }), attempt({ ...home, verdict: "next" })])).toMatch(/^None of 2 tries/);
  expect(none([])).toBe("Nothing was sent upstream.");
  expect(none([attempt({ account_id: null, account: null })])).toMatch(/client's own credential/);
});
