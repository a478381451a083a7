/** The present, for what counts down. One timer serves all; it rests while the tab is hidden. */

import { useSyncExternalStore } from "react";

let now = Date.now();
let timer: ReturnType<typeof setInterval> | undefined;
const callbacks = new Set<() => void>();

function tell(): void {
  if (document.hidden) return;
  now = Date.now();
  for (const callback of callbacks) callback();
}

function subscribe(callback: () => void): () => void {
  callbacks.add(callback);
  if (callbacks.size === 1) {
    now = Date.now();
    timer = setInterval(tell, 1000);
    document.addEventListener("visibilitychange", tell);
  }
  return () => {
    callbacks.delete(callback);
    if (callbacks.size === 0) {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", tell);
    }
  };
}

/** Milliseconds since 1970, renewed every second. */
export function useNow(): number {
  return useSyncExternalStore(subscribe, () => now);
}
