import { describe, expect, it } from "vitest";
import { exchange } from "../test/kit";
import { filterFrom, matches, searchWith } from "./filter";

describe("the filter of the list", () => {
  it("is in the address whole, and comes back from there", () => {
    const filter = { status: "error", account: "my key", model: "claude-opus-4", from: "2026-03-12T00:00:00.000Z" };
    expect(filterFrom(new URLSearchParams(searchWith(filter, {})))).toEqual(filter);
  });

  it("leaves out what was emptied, and unknown names", () => {
    expect(searchWith({ status: "error", account: "work" }, { status: null })).toBe("account=work");
    expect(filterFrom(new URLSearchParams("page=3&status="))).toEqual({});
  });

  it("takes a request that comes in as the server would", () => {
    const failed = exchange({ outcome: "rate_limited", status_code: 429, account: null, account_id: null });
    const taken = [
      { status: "error" },
      { status: "429" },
      { status: "rate_limited" },
      { account: "none" },
      { model: "claude-opus" },
      { client_key: "none" },
    ];
    const left = [
      { status: "success" },
      { status: "4" },
      { account: "work" },
      { model: "claude-op" },
      { model: "claude-opus-4-50" },
    ];
    expect(taken.map((filter) => matches(failed, filter))).toEqual(taken.map(() => true));
    expect(left.map((filter) => matches(failed, filter))).toEqual(left.map(() => false));
  });

  it("knows a key by its name and its id", () => {
    const request = exchange({ client_key_id: "id-of-laptop", client_key: "laptop" });
    const asked = ["laptop", "id-of-laptop", "none", "other"];
    expect(asked.map((client_key) => matches(request, { client_key }))).toEqual([true, true, false, false]);
  });

  it("includes the first instant of a period and not the last", () => {
    const request = exchange();
    expect(matches(request, { from: request.timestamp })).toBe(true);
    expect(matches(request, { to: request.timestamp })).toBe(false);
  });
});
