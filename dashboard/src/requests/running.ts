/** The requests that run, as the server told them last. Each state replaces the one before: nothing piles up here. */

import { useEffect, useSyncExternalStore } from "react";
import { type LinkState, type Live, liveRequests } from "../api/live";
import type { Exchange, RequestFilter, Running, RunningRequests } from "../api/questions";
import { isBy, isModel, isOf } from "./filter";
import { TOLD_EVERY_MS } from "./recent";

/** How long one that has ended is kept in its place until the history tells of it. */
export const KEPT_MS = 2_000;
const ENDED_REMEMBERED = 500;

export interface Shown {
  request: Running;
  /** When its age was what `request` says, ms. */
  at: number;
  /** When it was not told any more, ms; null while it runs. */
  endedAt: number | null;
}

export interface Now {
  /** False before the server has told anything, and while it cannot. */
  known: boolean;
  /** The longest first. */
  shown: Shown[];
  /** How many run besides. */
  more: number;
}

const NOTHING: Now = { known: false, shown: [], more: 0 };

export class RunningNow {
  private now: Now = NOTHING;
  private readonly ended = new Set<string>();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly callbacks = new Set<() => void>();

  hear(kind: string, thing: unknown): void {
    if (kind === "running") this.take(thing as RunningRequests, Date.now());
    if (kind === "request") this.end((thing as Exchange).id);
  }

  read(): Now {
    return this.now;
  }

  watch(callback: () => void): () => void {
    this.callbacks.add(callback);
    return () => this.callbacks.delete(callback);
  }

  /** Nobody knows any more what runs. */
  clear(): void {
    if (this.now !== NOTHING) this.become(NOTHING);
  }

  private take({ requests, total }: RunningRequests, at: number): void {
    const running = requests.filter(({ id }) => !this.ended.has(id));
    const ids = new Set(running.map(({ id }) => id));
    const before = this.now.shown.filter(({ request }) => !ids.has(request.id));
    const ending = before.map((each) => ({ ...each, endedAt: each.endedAt ?? at }));
    const shown = [...running.map((request) => ({ request, at, endedAt: null })), ...ending];
    this.become({
      known: true,
      shown: shown.filter((each) => isKept(each, at)).sort(longestFirst),
      more: total - requests.length,
    });
    if (ending.length > 0) this.timer ??= setTimeout(() => this.tidy(), KEPT_MS);
  }

  private tidy(): void {
    this.timer = undefined;
    const shown = this.now.shown.filter((each) => isKept(each, Date.now()));
    if (shown.some((each) => each.endedAt !== null)) this.timer = setTimeout(() => this.tidy(), KEPT_MS);
    if (shown.length < this.now.shown.length) this.become({ ...this.now, shown });
  }

  /** Its row in the history comes with the next ones; until then it keeps its place. */
  private end(id: string): void {
    this.ended.add(id);
    const [oldest] = this.ended;
    if (oldest !== undefined && this.ended.size > ENDED_REMEMBERED) this.ended.delete(oldest);
    if (this.now.shown.some(({ request }) => request.id === id)) setTimeout(() => this.drop(id), TOLD_EVERY_MS);
  }

  private drop(id: string): void {
    this.become({ ...this.now, shown: this.now.shown.filter(({ request }) => request.id !== id) });
  }

  private become(now: Now): void {
    this.now = now;
    for (const callback of this.callbacks) callback();
  }
}

function isKept({ endedAt }: Shown, now: number): boolean {
  return endedAt === null || now - endedAt < KEPT_MS;
}

function longestFirst(one: Shown, other: Shown): number {
  return one.request.timestamp_ms - other.request.timestamp_ms || (one.request.id < other.request.id ? -1 : 1);
}

const running = new RunningNow();

/** Keeps hearing for as long as the component is there; while nobody tells, nothing is known. */
export function useHearingRunning(link: LinkState, live: Live = liveRequests()): void {
  useEffect(() => live.listen(running), [live]);
  useEffect(() => {
    if (link === "lost") running.clear();
  }, [link]);
  useEffect(() => {
    const hide = () => document.hidden && running.clear();
    document.addEventListener("visibilitychange", hide);
    return () => document.removeEventListener("visibilitychange", hide);
  }, []);
}

export function useRunning(): Now {
  return useSyncExternalStore(
    (callback) => running.watch(callback),
    () => running.read(),
  );
}

/** How long it has run, ms; it stands still once it has ended. */
export function ageOf({ request, at, endedAt }: Shown, now: number): number {
  return Math.max(0, request.age_ms + Math.max(0, (endedAt ?? now) - at));
}

/** Whether it may still turn into a request that the list shows. How it will end nobody knows. */
export function mayMatch({ request }: Shown, filter: RequestFilter): boolean {
  return (
    !filter.status &&
    (!filter.account || isOf(request, filter.account)) &&
    (!filter.client_key || isBy(request, filter.client_key)) &&
    (!filter.model || isModel(request.model ?? "", filter.model)) &&
    (!filter.from || request.timestamp_ms >= Date.parse(filter.from)) &&
    (!filter.to || request.timestamp_ms < Date.parse(filter.to))
  );
}

const PHASES: Record<Running["phase"], string> = {
  reading: "its request comes in",
  choosing: "an account is chosen",
  waiting: "waits for the answer",
  pausing: "pauses before the next try",
  answering: "the answer comes in",
};

/** What it does now, and what it has been through. */
export function doing({ request, endedAt }: Shown): string {
  const tries = request.failed_attempts;
  const phase = endedAt === null ? PHASES[request.phase] : "has ended";
  return tries > 0 ? `${phase}, after ${tries} other ${tries === 1 ? "try" : "tries"}` : phase;
}
