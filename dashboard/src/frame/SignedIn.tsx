import { ActionIcon, Tooltip } from "@mantine/core";
import { LogOut } from "lucide-react";
import { session, useChange, useSession } from "../api/questions";
import styles from "./Frame.module.css";
import { tellError } from "./notices";

/** By whose key this browser is signed in, and the way out. */
export function SignedIn() {
  const { data } = useSession();
  const end = useChange(session.end);
  if (!data?.signed_in) return null;
  return (
    <div className={styles.tools}>
      <p className={`cut small quiet ${styles.who}`} title={`Signed in with the key ${data.key}`}>
        {data.key}
      </p>
      <Tooltip label="Sign out">
        <ActionIcon
          aria-label="Sign out"
          loading={end.isPending}
          onClick={() => end.mutate(undefined, { onError: tellError })}
        >
          <LogOut size={16} />
        </ActionIcon>
      </Tooltip>
    </div>
  );
}
