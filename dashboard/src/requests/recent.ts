/** The requests that ended since the page was opened: bounded, newest first, told to the page four times a second. */

import { useEffect, useSyncExternalStore } from "react";
import { type Live, liveRequests } from "../api/live";
import type { Exchange } from "../api/questions";

export const AT_MOST = 500;
export const TOLD_EVERY_MS = 250;

export interface Ended {
  /** Newest first. */
  requests: Exchange[];
  /** When the newest of those was heard that are not kept any more, ms: what was asked before that is incomplete. */
  incompleteAt: number;
}

export class Recent {
  private ended: Ended = { requests: [], incompleteAt: 0 };
  /** When each of `ended.requests` was heard, ms: what falls away is only missed by who asked before that. */
  private heardAt: number[] = [];
  private waiting: Exchange[] = [];
  private missed = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly callbacks = new Set<() => void>();

  hear(kind: string, thing: unknown): void {
    if (kind === "gap") this.missed = true;
    else if (kind === "request") this.waiting.unshift(thing as Exchange);
    else return;
    if (this.waiting.length > AT_MOST) {
      this.waiting.length = AT_MOST;
      this.missed = true;
    }
    this.timer ??= setTimeout(() => this.take(), TOLD_EVERY_MS);
  }

  read(): Ended {
    return this.ended;
  }

  watch(callback: () => void): () => void {
    this.callbacks.add(callback);
    return () => this.callbacks.delete(callback);
  }

  private take(): void {
    this.timer = undefined;
    const now = Date.now();
    const all = [...this.waiting, ...(this.missed ? [] : this.ended.requests)];
    const heardAt = [...this.waiting.map(() => now), ...(this.missed ? [] : this.heardAt)];
    const fellAwayAt = this.missed ? now : (heardAt[AT_MOST] ?? this.ended.incompleteAt);
    this.ended = { requests: all.slice(0, AT_MOST), incompleteAt: fellAwayAt };
    this.heardAt = heardAt.slice(0, AT_MOST);
    this.waiting = [];
    this.missed = false;
    for (const callback of this.callbacks) callback();
  }
}

const recent = new Recent();

/** Keeps hearing for as long as the component is there. */
export function useHearing(live: Live = liveRequests()): void {
  useEffect(() => live.listen(recent), [live]);
}

export function useRecent(): Ended {
  return useSyncExternalStore(
    (callback) => recent.watch(callback),
    () => recent.read(),
  );
}

/** Puts what has ended before the pages of the history; newest first, each once. */
export function merged(ended: Exchange[], pages: Exchange[][]): Exchange[] {
  const found = new Map<string, Exchange>();
  for (const request of [...ended, ...pages.flat()]) {
    if (!found.has(request.id)) found.set(request.id, request);
  }
  return [...found.values()].sort((a, b) => b.timestamp_ms - a.timestamp_ms || (a.id < b.id ? 1 : -1));
}
