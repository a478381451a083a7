/** Why a request went where it went, in a sentence or two. */

import type { Attempt, Details } from "../api/questions";
import { shortTime } from "../format/time";

export function explanation({ request, attempts }: Pick<Details, "request" | "attempts">): string {
  const last = attempts.at(-1);
  if (!last) return request.success ? "No attempt was recorded." : "Nothing was sent upstream.";
  if (last.account_id === null) {
    return "No account was usable, so the request was forwarded with the client's own credential.";
  }
  const name = nameOf(last);
  const failed = attempts
    .slice(0, -1)
    .filter((attempt) => attempt.verdict !== "deliver" && attempt.verdict !== "refresh");
  const others = failed.filter((attempt) => attempt.account_id !== last.account_id);
  if (last.verdict !== "deliver") return `${sentence(failed.length + 1)} ${name} was the last that was tried.`;
  if (others.length === 0) {
    const [first] = attempts;
    const why = first && chosen(first);
    const tries = failed.length > 0 ? ` It served after ${count(failed.length, "more try", "more tries")}.` : "";
    return `${name} was chosen first${why ? `: ${why}` : ""}.${tries}`;
  }
  const reasons = others.map((attempt) => `${nameOf(attempt)} (${attempt.reason ?? attempt.status ?? "no answer"})`);
  return `${name} served it, because of ${[...new Set(reasons)].join("; ")}.`;
}

/** Why an attempt went to its account, with the instant; null where that was not recorded. */
export function chosen({ choice }: Pick<Attempt, "choice">, now = Date.now()): string | null {
  if (!choice) return null;
  return choice.until && choice.why !== "again"
    ? `${choice.words} (back at ${shortTime(choice.until, now)})`
    : choice.words;
}

function nameOf(attempt: Attempt): string {
  return attempt.account ?? "an account that is gone";
}

function sentence(tries: number): string {
  return tries === 1 ? "The one try did not succeed." : `None of ${tries} tries succeeded.`;
}

function count(number: number, one: string, many: string): string {
  return `${number} ${number === 1 ? one : many}`;
}
