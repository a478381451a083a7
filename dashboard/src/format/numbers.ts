/** Numbers as people read them. Each carries its unit; what is not known is a dash, never a zero. */

export const UNKNOWN = "–";

type Maybe = number | null | undefined;

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

function known(value: Maybe): value is number {
  return value !== null && value !== undefined && Number.isFinite(value);
}

function significant(value: number, digits: number): string {
  const rounded = Number(value.toPrecision(digits));
  const places = rounded === 0 ? 0 : Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(rounded))));
  return rounded.toFixed(Math.min(places, 6));
}

/** `12,345`. */
export function count(value: Maybe): string {
  return known(value) ? whole.format(value) : UNKNOWN;
}

/** `12.3K`: for tiles and axes. */
export function brief(value: Maybe): string {
  return known(value) ? compact.format(value) : UNKNOWN;
}

/** `84 ms`, `1.24 s`, `2 m 05 s`. */
export function duration(ms: Maybe): string {
  if (!known(ms)) return UNKNOWN;
  if (ms < 1) return ms <= 0 ? "0 ms" : `${significant(ms, 2)} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 9_995) return `${(ms / 1000).toFixed(2)} s`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)} m ${String(seconds % 60).padStart(2, "0")} s`;
}

/** `$12.30`; small amounts keep their digits: `$0.0042`. */
export function dollars(usd: Maybe): string {
  if (!known(usd)) return UNKNOWN;
  if (usd === 0) return "$0";
  if (usd >= 10_000) return `$${compact.format(usd)}`;
  if (usd >= 1) return `$${usd.toFixed(2)}`;
  return usd < 0.000_001 ? "<$0.000001" : `$${significant(usd, usd < 0.01 ? 2 : 3)}`;
}

/** `98.5 %` of a share from 0 to 1. All but all is never rounded up to all. */
export function percent(share: Maybe): string {
  if (!known(share)) return UNKNOWN;
  const value = share * 100;
  if (value > 99.9 && value < 100) return "99.9 %";
  if (value > 0 && value < 0.1) return "<0.1 %";
  return `${value % 1 === 0 || value >= 99.95 ? value.toFixed(0) : value.toFixed(1)} %`;
}

/** `63 tok/s`. */
export function speed(tokensPerSecond: Maybe): string {
  return known(tokensPerSecond) ? `${significant(tokensPerSecond, 2)} tok/s` : UNKNOWN;
}

/** `1.2 kB`. */
export function bytes(value: Maybe): string {
  if (!known(value)) return UNKNOWN;
  if (value < 1000) return `${value} B`;
  for (const [unit, size] of [
    ["kB", 1e3],
    ["MB", 1e6],
    ["GB", 1e9],
  ] as const) {
    if (value < size * 999.5) return `${significant(value / size, 3)} ${unit}`;
  }
  return `${significant(value / 1e12, 3)} TB`;
}

export interface Change {
  text: string;
  direction: "up" | "down" | "same";
}

/** How a number stands against the one before; null where there is nothing to compare with. */
export function change(now: Maybe, before: Maybe): Change | null {
  if (!known(now) || !known(before) || before === 0) return null;
  const share = (now - before) / Math.abs(before);
  if (Math.abs(share) < 0.005) return { text: "±0 %", direction: "same" };
  const direction = share > 0 ? "up" : "down";
  const sign = share > 0 ? "+" : "−";
  if (share >= 9.995) return { text: `×${brief(now / before)}`, direction };
  return { text: `${sign}${Math.round(Math.abs(share) * 100)} %`, direction };
}

/** The same for shares, in percentage points. */
export function points(now: Maybe, before: Maybe): Change | null {
  if (!known(now) || !known(before)) return null;
  const difference = (now - before) * 100;
  if (Math.abs(difference) < 0.05) return { text: "±0 pp", direction: "same" };
  const sign = difference > 0 ? "+" : "−";
  return { text: `${sign}${Math.abs(difference).toFixed(1)} pp`, direction: difference > 0 ? "up" : "down" };
}
