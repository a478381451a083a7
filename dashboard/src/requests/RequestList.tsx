import { Button } from "@mantine/core";
import { useMediaQuery } from "@mantine/hooks";
import { useVirtualizer } from "@tanstack/react-virtual";
import { ArrowUp } from "lucide-react";
import { type KeyboardEvent, type ReactNode, useEffect, useRef } from "react";
import type { Exchange } from "../api/questions";
import { useNow } from "../format/clock";
import { count } from "../format/numbers";
import { leave, leftAt } from "./lists";
import styles from "./RequestList.module.css";
import { RequestRow } from "./RequestRow";

const ROW_PX = 36;
const NARROW_ROW_PX = 58;
const NEAR_END_ROWS = 20;

interface Props {
  rows: Exchange[];
  /** Names the list among others. */
  memory: string;
  /** How many newer requests are not shown, because the reader is further down. */
  waiting: number;
  showNewest: () => void;
  onTop: (top: boolean) => void;
  /** Asks for older ones; null when there are none or they are coming. */
  more: (() => void) | null;
  isLoading: boolean;
  /** What stands above the list. */
  children?: ReactNode;
}

export function RequestList({ rows, memory, waiting, showNewest, onTop, more, isLoading, children }: Props) {
  const scroller = useRef<HTMLDivElement>(null);
  const isNarrow = useMediaQuery("(max-width: 900px)");
  const now = useNow();
  const height = isNarrow ? NARROW_ROW_PX : ROW_PX;
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => height,
    overscan: 12,
    initialOffset: leftAt(memory),
    getItemKey: (index) => rows[index]?.id ?? index,
  });
  // biome-ignore lint/correctness/useExhaustiveDependencies: rows have another height from now on
  useEffect(() => virtual.measure(), [height]);
  const items = virtual.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (more && last >= rows.length - NEAR_END_ROWS) more();
  }, [more, last, rows.length]);

  function move(event: KeyboardEvent): void {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const index = Number((event.target as HTMLElement).closest<HTMLElement>("[data-index]")?.dataset.index);
    if (!step || Number.isNaN(index)) return;
    event.preventDefault();
    const wanted = Math.min(Math.max(index + step, 0), rows.length - 1);
    virtual.scrollToIndex(wanted);
    scrolled(); // a busy browser tells of it after the next key, which may leave this page
    if (!focusRow(wanted)) requestAnimationFrame(() => focusRow(wanted));
  }

  function focusRow(index: number): boolean {
    const link = scroller.current?.querySelector<HTMLElement>(`[data-index="${index}"] a`);
    link?.focus({ preventScroll: true });
    return link !== undefined && link !== null;
  }

  function scrolled(): void {
    const element = scroller.current;
    if (!element?.clientHeight) return; // an element that is taken away tells of a last scroll, to its top
    const offset = element.scrollTop;
    leave(memory, offset);
    onTop(offset < height);
  }

  return (
    <div className={`panel ${styles.panel}`} data-keys={rows.some((row) => row.client_key_id) || undefined}>
      <div className={`${styles.columns} ${styles.head}`} aria-hidden="true">
        <span>Time</span>
        <span>Status</span>
        <span>Model</span>
        <span>Account</span>
        <span className={styles.key}>Key</span>
        <span className="number">In, tok</span>
        <span className="number">Out, tok</span>
        <span className="number">Cost</span>
        <span className="number">First byte</span>
        <span className="number">Total</span>
        <span>Remark</span>
      </div>
      {children}
      {waiting > 0 && (
        <Button
          className={styles.newer}
          radius="xl"
          leftSection={<ArrowUp size={14} />}
          onClick={() => {
            showNewest();
            scroller.current?.scrollTo({ top: 0 });
          }}
        >
          {count(waiting)} newer
        </Button>
      )}
      <div ref={scroller} className={styles.scroller} onScroll={scrolled}>
        <ol className={styles.all} style={{ height: virtual.getTotalSize() }} aria-label="Requests" onKeyDown={move}>
          {items.map((item) => {
            const request = rows[item.index];
            return (
              request && (
                <li
                  key={item.key}
                  data-index={item.index}
                  aria-setsize={more || isLoading ? -1 : rows.length}
                  aria-posinset={item.index + 1}
                  className={styles.place}
                  style={{ height, transform: `translateY(${item.start}px)` }}
                >
                  <RequestRow request={request} now={now} />
                </li>
              )
            );
          })}
        </ol>
      </div>
    </div>
  );
}
