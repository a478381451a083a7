import type { ReactNode } from "react";
import styles from "./PageHead.module.css";

export function PageHead({ title, note, children }: { title: string; note?: ReactNode; children?: ReactNode }) {
  return (
    <header className={styles.head}>
      <h1>{title}</h1>
      {note && <p className="quiet">{note}</p>}
      {children && <div className={styles.controls}>{children}</div>}
    </header>
  );
}
