import { execFileSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { body, details, payload } from "../test/kit";
import { asCurl } from "./copy";

/** What a shell makes of a command: the arguments that curl would get. */
function argumentsOf(command: string): string[] {
  const script = `curl() { for each in "$@"; do printf '%s\\0' "$each"; done; }\n${command}`;
  return execFileSync("sh", ["-c", script], { env: { ANTHROPIC_API_KEY: "mine", SECRET: "s" } })
    .toString()
    .split("\0")
    .slice(0, -1);
}

function command(request: object, headers: [string, string][] = []): string | null {
  const kept = payload(request, "{}");
  kept.request.headers = headers;
  return asCurl(details({ payload: kept }), "http://localhost:8080");
}

describe("a request as a curl command", () => {
  it("gives the shell the very body, whatever is in it", () => {
    const request = { text: 'it\'s "quoted" $HOME `id` \\ 漢字\nline' };
    const given = argumentsOf(command(request) ?? "");
    expect(given[0]).toBe("http://localhost:8080/v1/messages?beta=true");
    expect(given[given.indexOf("--data-raw") + 1]).toBe(JSON.stringify(request));
  });

  it("has placeholders for credentials, and leaves framing to curl", () => {
    const text = command({}, [
      ["Authorization", "Bearer ***"],
      ["X-Api-Key", "***"],
      ["Content-Length", "2"],
      ["anthropic-version", "2023-06-01"],
    ]);
    expect(argumentsOf(text ?? "").filter((each) => each.includes(": "))).toEqual([
      "Authorization: Bearer mine",
      "X-Api-Key: mine",
      "anthropic-version: 2023-06-01",
    ]);
    expect(text).not.toContain("***");
  });

  it("is none where the body was not kept whole, or nothing was", () => {
    const kept = payload({}, "{}");
    kept.request.body = body("{", { truncated: true });
    expect(asCurl(details({ payload: kept }), "")).toBeNull();
    expect(asCurl(details(), "")).toBeNull();
  });
});
