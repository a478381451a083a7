/** What a page shows when there is nothing, nothing yet, or no answer. */

import { Button, Skeleton } from "@mantine/core";
import { TriangleAlert } from "lucide-react";
import type { ReactNode } from "react";
import { Link } from "wouter";
import styles from "./states.module.css";

const WIDTHS = ["100%", "86%", "94%", "72%", "90%", "64%"];

export function Loading({ lines = 3, height = 14 }: { lines?: number; height?: number }) {
  return (
    <div className={styles.loading} role="status">
      <span className="hidden-label">Loading</span>
      {WIDTHS.slice(0, lines).map((width) => (
        <Skeleton key={width} height={height} width={width} />
      ))}
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className={styles.empty}>
      <p className={styles.title}>{title}</p>
      {children && <div className="quiet">{children}</div>}
    </div>
  );
}

export function Failure({ error, again }: { error: Error; again?: () => void }) {
  return (
    <div className={styles.failure} role="alert">
      <TriangleAlert size={18} aria-hidden="true" />
      <p>{error.message}</p>
      {again && (
        <Button variant="default" onClick={again}>
          Try again
        </Button>
      )}
    </div>
  );
}

export function NotHere() {
  return (
    <Empty title="There is no such page">
      <Link href="/">Back to the overview</Link>
    </Empty>
  );
}
