import type { Exchange } from "../api/questions";
import styles from "./RequestList.module.css";

interface Props {
  request: Pick<Exchange, "account" | "client_key">;
  /** What is said where there is no account. */
  none?: string;
}

/** Who serves a request of the list and who asked: two columns, and one where there is no room for both. */
export function Whose({ request: { account, client_key }, none = "no account" }: Props) {
  return (
    <>
      <span className={`cut ${styles.account}`}>
        {account ?? <span className="quiet">{none}</span>}
        {client_key && <span className={styles.besides}>, for {client_key}</span>}
      </span>
      <span className={`cut ${styles.key}`} title={client_key ?? undefined}>
        {client_key ?? ""}
      </span>
    </>
  );
}
