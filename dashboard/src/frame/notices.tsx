/** Short words about what was just done. Read out by screen readers, gone after some seconds. */

import { CloseButton } from "@mantine/core";
import { CircleCheck, CircleX } from "lucide-react";
import { useEffect, useSyncExternalStore } from "react";
import styles from "./notices.module.css";

interface Notice {
  id: number;
  text: string;
  bad: boolean;
}

const SHOWN_MS = 5_000;
const AT_MOST = 3;

let notices: Notice[] = [];
let next = 1;
const callbacks = new Set<() => void>();

function become(changed: Notice[]): void {
  notices = changed.slice(-AT_MOST);
  for (const callback of callbacks) callback();
}

export function tell(text: string): void {
  become([...notices, { id: next++, text, bad: false }]);
}

export function tellError(error: Error): void {
  become([...notices, { id: next++, text: error.message, bad: true }]);
}

export function Notices() {
  const shown = useSyncExternalStore(
    (callback) => {
      callbacks.add(callback);
      return () => callbacks.delete(callback);
    },
    () => notices,
  );
  return (
    <div className={styles.notices} role="status" aria-live="polite">
      {shown.map((notice) => (
        <One key={notice.id} {...notice} />
      ))}
    </div>
  );
}

function One({ id, text, bad }: Notice) {
  useEffect(() => {
    const timer = setTimeout(() => dismiss(id), bad ? 2 * SHOWN_MS : SHOWN_MS);
    return () => clearTimeout(timer);
  }, [id, bad]);
  const Icon = bad ? CircleX : CircleCheck;
  return (
    <div className={styles.notice} data-bad={bad || undefined}>
      <Icon size={17} aria-hidden="true" />
      <p>{text}</p>
      <CloseButton size="sm" aria-label="Dismiss" onClick={() => dismiss(id)} />
    </div>
  );
}

function dismiss(id: number): void {
  become(notices.filter((notice) => notice.id !== id));
}
