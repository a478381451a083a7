/** How a request ended, in a word, a tone and a sign: colour is never the only one. */

import type { Exchange } from "../api/questions";

export type Outcome = Exchange["outcome"];
export type Tone = "good" | "warn" | "bad" | "idle";

export const OUTCOMES: Record<Outcome, { word: string; tone: Tone; sign: string }> = {
  success: { word: "Success", tone: "good", sign: "●" },
  rate_limited: { word: "Rate limited", tone: "warn", sign: "◆" },
  overloaded: { word: "Overloaded", tone: "warn", sign: "◆" },
  disconnected: { word: "Client left", tone: "idle", sign: "○" },
  client_error: { word: "Client error", tone: "bad", sign: "▲" },
  server_error: { word: "Server error", tone: "bad", sign: "▲" },
  interrupted: { word: "Interrupted", tone: "bad", sign: "▲" },
  other: { word: "Other", tone: "idle", sign: "○" },
};

export const VERDICTS: Record<string, { word: string; tone: Tone }> = {
  deliver: { word: "delivered", tone: "good" },
  retry: { word: "tried again", tone: "warn" },
  next: { word: "next account", tone: "warn" },
  refresh: { word: "token refreshed", tone: "idle" },
  broken: { word: "broke off", tone: "bad" },
  cancelled: { word: "client left", tone: "idle" },
};
