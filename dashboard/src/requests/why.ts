/** Why a request went where it went, in a sentence or two. */

import type { Details } from "../api/questions";

export function explanation({ request, attempts }: Details): string {
  const last = attempts.at(-1);
  if (!last) return request.success ? "No attempt was recorded." : "Nothing was sent upstream.";
  if (last.account_id === null) {
    return "No account was usable, so the request was forwarded with the client's own credential.";
  }
  const name = last.account ?? "an account that is gone";
  const failed = attempts
    .slice(0, -1)
    .filter((attempt) => attempt.verdict !== "deliver" && attempt.verdict !== "refresh");
  const others = failed.filter((attempt) => attempt.account_id !== last.account_id);
  if (last.verdict !== "deliver") return `${sentence(failed.length + 1)} ${name} was the last that was tried.`;
  if (failed.length === 0) {
    const how = request.session ? "by its session, or else by priority and headroom" : "by priority and headroom";
    return `${name} was chosen first: ${how}.`;
  }
  if (others.length === 0) return `${name} served it after ${count(failed.length, "more try", "more tries")}.`;
  const reasons = others.map(
    (attempt) => `${attempt.account ?? "an account"} (${attempt.reason ?? attempt.status ?? "no answer"})`,
  );
  return `${name} served it, because of ${[...new Set(reasons)].join("; ")}.`;
}

function sentence(tries: number): string {
  return tries === 1 ? "The one try did not succeed." : `None of ${tries} tries succeeded.`;
}

function count(number: number, one: string, many: string): string {
  return `${number} ${number === 1 ? one : many}`;
}
