/** Instants in the reader's own time zone, and spans between them. */

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const minutes = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const weekday = new Intl.DateTimeFormat("en-GB", { weekday: "short", hour: "2-digit", minute: "2-digit" });
const exact = new Intl.DateTimeFormat("en-GB", {
  dateStyle: "medium",
  timeStyle: "medium",
});

export type Instant = number | string;

const WRITTEN = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d)(?::(\d\d)(?::(\d\d(?:\.\d+)?))?)?(?:Z|([+ -])(\d\d)(?::?(\d\d))?)?)?$/;

/** Reads an instant as the server does: ISO 8601, in UTC where it says no zone, or milliseconds. NaN when it is none. */
export function milliseconds(at: Instant): number {
  if (typeof at === "number") return at;
  if (/^-?\d+$/.test(at)) return Number(at);
  const found = WRITTEN.exec(at);
  if (!found) return Number.NaN;
  const [, date, hour = "00", minute = "00", second = "00", sign = "+", hours = "00", minutes = "00"] = found;
  const offset = `${sign === " " ? "+" : sign}${hours}:${minutes}`; // a blank is a `+` that nobody has escaped
  return Date.parse(`${date}T${hour}:${minute}:${second}${offset}`);
}

/** `Europe/Berlin, UTC+2`. */
export function zoneName(now = new Date()): string {
  const offset = -now.getTimezoneOffset();
  const sign = offset < 0 ? "−" : "+";
  const [hours, rest] = [Math.floor(Math.abs(offset) / 60), Math.abs(offset) % 60];
  const utc = offset === 0 ? "UTC" : `UTC${sign}${hours}${rest ? `:${String(rest).padStart(2, "0")}` : ""}`;
  const name = Intl.DateTimeFormat().resolvedOptions().timeZone;
  return name && name !== "UTC" ? `${name}, ${utc}` : utc;
}

/** `14:03:27`, with the date before it unless it is today's. */
export function timeOfDay(at: Instant, now: number): string {
  const ms = milliseconds(at);
  return isSameDay(ms, now) ? clock.format(ms) : `${day.format(ms)} ${clock.format(ms)}`;
}

/** `14:03`, `Tue 14:03` within a week, else `12 Mar 14:03`. What is no instant stays as it is: an address may say anything. */
export function shortTime(at: Instant, now: number): string {
  const ms = milliseconds(at);
  if (Number.isNaN(new Date(ms).getTime())) return String(at);
  if (isSameDay(ms, now)) return minutes.format(ms);
  return Math.abs(ms - now) < 6.5 * 86_400_000 ? weekday.format(ms) : `${day.format(ms)} ${minutes.format(ms)}`;
}

/** `12 Mar 2026, 14:03:27` and the zone. */
export function fullTime(at: Instant): string {
  return `${exact.format(milliseconds(at))} (${zoneName()})`;
}

/** Which points of an axis get a tick: midnights where finer points span several days; null: whichever fit. */
export function ticksOf(points: number[], bucketMs: number): number[] | null {
  const span = (points.at(-1) ?? 0) - (points[0] ?? 0);
  if (bucketMs >= 86_400_000 || span <= 2 * 86_400_000) return null;
  return points.filter((at) => new Date(at).getHours() === 0 && new Date(at).getMinutes() < bucketMs / 60_000);
}

/** A tick of an axis whose points lie `bucketMs` apart. */
export function tick(at: number, bucketMs: number, spanMs: number): string {
  if (bucketMs >= 86_400_000) return day.format(at);
  return spanMs > 2 * 86_400_000 ? day.format(at) : minutes.format(at);
}

/** `2 h 14 m`, `6 d 3 h`, `48 s`: the two largest units. Never negative. */
export function span(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  const [d, h, m, s] = [
    Math.floor(seconds / 86_400),
    Math.floor((seconds % 86_400) / 3600),
    Math.floor((seconds % 3600) / 60),
    seconds % 60,
  ];
  if (d) return h ? `${d} d ${h} h` : `${d} d`;
  if (h) return m ? `${h} h ${m} m` : `${h} h`;
  if (m) return m < 10 && s ? `${m} m ${s} s` : `${m} m`;
  return `${s} s`;
}

/** `just now`, `4 m ago`. */
export function ago(at: Instant, now: number): string {
  const passed = now - milliseconds(at);
  return passed < 5_000 ? "just now" : `${span(passed < 60_000 ? passed : Math.floor(passed / 60_000) * 60_000)} ago`;
}

/** Reads the value of an `input type="datetime-local"` as the reader's own time; null when it is none. */
export function fromLocalInput(text: string): string | null {
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? null : new Date(ms).toISOString();
}

/** The reverse, to the minute. */
export function toLocalInput(at: Instant): string {
  const ms = milliseconds(at);
  if (Number.isNaN(new Date(ms).getTime())) return "";
  return new Date(ms - new Date(ms).getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

function isSameDay(one: number, other: number): boolean {
  return new Date(one).toDateString() === new Date(other).toDateString();
}
