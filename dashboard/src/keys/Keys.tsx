import { Button, Switch } from "@mantine/core";
import { Plus } from "lucide-react";
import { useState } from "react";
import { type ClientKey, useClientKeys, useSession } from "../api/questions";
import { PageHead } from "../frame/PageHead";
import { Failure, Loading } from "../frame/states";
import { CreateKey } from "./CreateKey";
import styles from "./Keys.module.css";
import { KeyTable } from "./KeyTable";
import { Roles } from "./Roles";

export default function Keys() {
  const { data, error, isPending, refetch } = useClientKeys();
  const { data: session } = useSession();
  const [creating, setCreating] = useState(false);
  const [revokedToo, setRevokedToo] = useState(false);
  const inForce = data?.filter(isInForce) ?? [];
  const revoked = (data?.length ?? 0) - inForce.length;
  return (
    <>
      <PageHead title="Client keys" note={data && data.length > 0 && `${inForce.length} in force`}>
        {revoked > 0 && (
          <Switch
            size="xs"
            label={`${revoked} revoked`}
            checked={revokedToo}
            onChange={(event) => setRevokedToo(event.currentTarget.checked)}
          />
        )}
        <Button leftSection={<Plus size={15} />} onClick={() => setCreating(true)}>
          Create key
        </Button>
      </PageHead>
      {error && !data && <Failure error={error} again={() => void refetch()} />}
      {isPending && <Loading lines={4} height={30} />}
      <div className="stack">
        {data && !session?.required && <Open />}
        {data && (revokedToo ? data : inForce).length > 0 && <KeyTable keys={revokedToo ? data : inForce} />}
        <Roles />
      </div>
      {creating && (
        <CreateKey first={!inForce.some((key) => key.role === "admin")} onClose={() => setCreating(false)} />
      )}
    </>
  );
}

export function isInForce(key: ClientKey): boolean {
  return key.revoked_at === null;
}

function Open() {
  return (
    <section className={`panel ${styles.open}`} aria-label="No key is needed">
      <h2>No key is needed so far</h2>
      <p>
        Whoever reaches this port may use the accounts. With the first key that ends: every request needs one then, at
        once, and so does this dashboard. The first key is an admin’s, and signs this browser in.
      </p>
    </section>
  );
}
