import styles from "./LiveSign.module.css";

/** Stands where an ended request has its status. */
export function LiveSign({ ended = false }: { ended?: boolean }) {
  return (
    <span className={styles.live} data-ended={ended || undefined}>
      <i aria-hidden="true" />
      {ended ? "Ended" : "Live"}
    </span>
  );
}
