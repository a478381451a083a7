import { afterEach, expect, it, vi } from "vitest";
import { address, change, Refused, read } from "./client";

afterEach(() => void vi.unstubAllGlobals());

function answers(status: number, content: unknown): ReturnType<typeof vi.fn> {
  const fetch = vi.fn(async () => new Response(JSON.stringify(content), { status }));
  vi.stubGlobal("fetch", fetch);
  return fetch;
}

it("writes an address from its parts, and leaves out what is not said", () => {
  expect(address("/api/requests/{id}", { id: "a/b?c" })).toBe("/api/requests/a%2Fb%3Fc");
  expect(address("/x", {}, { a: "1 2", b: null, c: undefined, d: "", e: 0 })).toBe("/x?a=1+2&e=0");
});

it("says what the server refused, and which part was to blame", async () => {
  answers(409, { error: "the name is taken", details: { field: "name", problem: "taken" } });
  const refused = await change("post", "/api/accounts", { name: "a", api_key: "k" }).catch((error: unknown) => error);
  expect(refused).toMatchObject({ message: "the name is taken", status: 409, field: "name" });
});

it("says that nobody answers where nobody does, or where the answer is no JSON", async () => {
  vi.stubGlobal(
    "fetch",
    vi.fn(async () => Promise.reject(new TypeError("failed"))),
  );
  await expect(read("/health")).rejects.toMatchObject({ status: 0 });
  vi.stubGlobal(
    "fetch",
    vi.fn(async () => new Response("<html>", { status: 502 })),
  );
  await expect(read("/health")).rejects.toBeInstanceOf(Refused);
});

it("sends every change as JSON, because the server takes nothing else", async () => {
  const fetch = answers(200, {});
  await change("delete", "/api/requests", { confirm: "clear" });
  expect(fetch.mock.calls[0]?.[1]).toMatchObject({
    method: "DELETE",
    headers: { "content-type": "application/json" },
    body: '{"confirm":"clear"}',
  });
});

it("does not wait for ever for a server that hangs", async () => {
  const hangs = (_: string, { signal }: { signal: AbortSignal }) =>
    new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  vi.stubGlobal("fetch", vi.fn(hangs));
  await expect(read("/health", { withinMs: 1 })).rejects.toMatchObject({ status: 0 });
});
