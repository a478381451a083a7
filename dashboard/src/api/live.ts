/**
 * Server-sent events. One connection per stream for the whole page, open while somebody listens and the tab is seen:
 * a browser has six connections to a server, and tabs in the background must not hold them.
 */

import { useEffect, useRef, useSyncExternalStore } from "react";

export type LinkState = "connecting" | "open" | "lost";

const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 20_000;

export interface Listener {
  /** The JSON of an event, and its kind: `gap` tells that some were missed. */
  hear(kind: string, thing: unknown): void;
}

export class Live {
  state: LinkState = "connecting";
  private source: EventSource | null = null;
  private lastId = "";
  private pauseMs = FIRST_PAUSE_MS;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly listeners = new Set<Listener>();
  private readonly watchers = new Set<() => void>();

  constructor(
    private readonly url: string,
    /** Of the events, besides `gap`. */
    private readonly kinds: readonly string[],
    private readonly connect: (url: string) => EventSource = (url) => new EventSource(url),
    private readonly page: Pick<Document, "hidden" | "addEventListener" | "removeEventListener"> = document,
  ) {}

  /** Returns how to stop listening. */
  listen(listener: Listener): () => void {
    this.listeners.add(listener);
    this.page.addEventListener("visibilitychange", this.settle);
    this.settle();
    return () => {
      this.listeners.delete(listener);
      if (!this.listeners.size) this.page.removeEventListener("visibilitychange", this.settle);
      this.settle();
    };
  }

  /** Calls back when `state` changes. */
  watch(callback: () => void): () => void {
    this.watchers.add(callback);
    return () => this.watchers.delete(callback);
  }

  private readonly settle = (): void => {
    const wanted = this.listeners.size > 0 && !this.page.hidden;
    if (wanted && !this.source) this.open();
    if (!wanted) this.close();
  };

  private open(): void {
    clearTimeout(this.timer);
    const separator = this.url.includes("?") ? "&" : "?";
    const source = this.connect(this.lastId ? `${this.url}${separator}after=${this.lastId}` : this.url);
    this.source = source;
    source.onopen = () => {
      this.pauseMs = FIRST_PAUSE_MS;
      this.become("open");
    };
    source.onerror = () => this.retry();
    source.addEventListener("start", (event) => {
      this.lastId = event.lastEventId; // the place to go on from before anything was heard
    });
    for (const kind of [...this.kinds, "gap"]) {
      source.addEventListener(kind, (event) => {
        if (event.lastEventId) this.lastId = event.lastEventId; // states have none
        const thing: unknown = JSON.parse(event.data);
        for (const listener of this.listeners) listener.hear(kind, thing);
      });
    }
  }

  private close(): void {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  private retry(): void {
    this.close();
    this.become("lost");
    this.timer = setTimeout(() => this.settle(), this.pauseMs * (0.75 + Math.random() / 2));
    this.pauseMs = Math.min(this.pauseMs * 2, LONGEST_PAUSE_MS);
  }

  private become(state: LinkState): void {
    if (this.state === state) return;
    this.state = state;
    for (const callback of this.watchers) callback();
  }
}

let requests: Live | undefined;

/** Requests as they end (`request`), and those that run (`running`). */
export function liveRequests(): Live {
  requests ??= new Live("/api/requests/stream", ["request", "running"]);
  return requests;
}

export function useLinkState(live: Live): LinkState {
  return useSyncExternalStore(
    (callback) => live.watch(callback),
    () => live.state,
  );
}

/** Hears a stream for as long as the component is there. `live` null: nothing is heard. */
export function useLive(live: Live | null, hear: (kind: string, thing: unknown) => void): void {
  const latest = useRef(hear);
  latest.current = hear;
  useEffect(() => live?.listen({ hear: (kind, thing) => latest.current(kind, thing) }), [live]);
}
