import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Live } from "./live";

class Source {
  static opened: Source[] = [];
  onopen: (() => void) | null = null;
  onerror: (() => void) | null = null;
  closed = false;
  readonly listeners = new Map<string, (event: { data: string; lastEventId: string }) => void>();

  constructor(readonly url: string) {
    Source.opened.push(this);
  }

  addEventListener(kind: string, listener: (event: { data: string; lastEventId: string }) => void): void {
    this.listeners.set(kind, listener);
  }

  close(): void {
    this.closed = true;
  }

  tell(kind: string, id: string, thing: unknown): void {
    this.listeners.get(kind)?.({ data: JSON.stringify(thing), lastEventId: id });
  }
}

class Page {
  hidden = false;
  private callbacks = new Set<() => void>();
  addEventListener = (_: string, callback: () => void) => void this.callbacks.add(callback);
  removeEventListener = (_: string, callback: () => void) => void this.callbacks.delete(callback);

  become(hidden: boolean): void {
    this.hidden = hidden;
    for (const callback of this.callbacks) callback();
  }

  get watched(): boolean {
    return this.callbacks.size > 0;
  }
}

function begin() {
  const page = new Page();
  const live = new Live(
    "/stream?level=INFO",
    ["log", "state"],
    (url) => new Source(url) as unknown as EventSource,
    page as unknown as Document,
  );
  return { page, live };
}

const open = () => Source.opened.filter((source) => !source.closed);

beforeEach(() => {
  Source.opened = [];
  vi.useFakeTimers();
});
afterEach(() => void vi.useRealTimers());

describe("a live stream", () => {
  it("is one connection for all listeners, and none without them", () => {
    const { live, page } = begin();
    const [first, second] = [{ hear: vi.fn() }, { hear: vi.fn() }];
    const stops = [live.listen(first), live.listen(second)];
    open()[0]?.tell("log", "1", { message: "x" });
    expect(open()).toHaveLength(1);
    expect(first.hear).toHaveBeenCalledWith("log", { message: "x" });
    expect(second.hear).toHaveBeenCalledTimes(1);
    for (const stop of stops) stop();
    expect(open()).toHaveLength(0);
    expect(page.watched).toBe(false);
  });

  it("rests while the tab is hidden, and goes on behind what was heard last", () => {
    const { live, page } = begin();
    live.listen({ hear: vi.fn() });
    open()[0]?.tell("log", "41", {});
    page.become(true);
    expect(open()).toHaveLength(0);
    page.become(false);
    expect(open()[0]?.url).toBe("/stream?level=INFO&after=41");
  });

  it("goes on from where it began when nothing was heard before it rested", () => {
    const { live, page } = begin();
    const listener = { hear: vi.fn() };
    live.listen(listener);
    open()[0]?.tell("start", "40", {});
    expect(listener.hear).not.toHaveBeenCalled();
    page.become(true);
    page.become(false);
    expect(open()[0]?.url).toBe("/stream?level=INFO&after=40");
  });

  it("keeps its place while nobody listens", () => {
    const { live } = begin();
    const stop = live.listen({ hear: vi.fn() });
    open()[0]?.tell("log", "41", {});
    stop();
    live.listen({ hear: vi.fn() });
    expect(open()[0]?.url).toBe("/stream?level=INFO&after=41");
  });

  it("does not lose its place by a state, which has no id", () => {
    const { live, page } = begin();
    const listener = { hear: vi.fn() };
    live.listen(listener);
    open()[0]?.tell("log", "41", {});
    open()[0]?.tell("state", "", { total: 1 });
    expect(listener.hear).toHaveBeenLastCalledWith("state", { total: 1 });
    page.become(true);
    page.become(false);
    expect(open()[0]?.url).toBe("/stream?level=INFO&after=41");
  });

  it("says that it is lost, tries again ever more seldom, and says when it is back", () => {
    const { live } = begin();
    live.listen({ hear: vi.fn() });
    const pauses: number[] = [];
    for (let failure = 0; failure < 8; failure++) {
      open()[0]?.onerror?.();
      expect(live.state).toBe("lost");
      const before = Date.now();
      vi.advanceTimersToNextTimer();
      pauses.push(Date.now() - before);
    }
    expect(pauses[0]).toBeLessThan(2_000);
    expect(Math.max(...pauses)).toBeLessThanOrEqual(25_000);
    expect(pauses[6]).toBeGreaterThan(10_000);
    open()[0]?.onopen?.();
    expect(live.state).toBe("open");
  });
});
