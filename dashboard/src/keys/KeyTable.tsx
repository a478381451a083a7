import { Button } from "@mantine/core";
import { useState } from "react";
import { Link } from "wouter";
import type { ClientKey } from "../api/questions";
import { useNow } from "../format/clock";
import { count, dollars } from "../format/numbers";
import { ago, fullTime, milliseconds } from "../format/time";
import { ScrollTable } from "../frame/ScrollTable";
import styles from "./Keys.module.css";
import { Revoke } from "./Revoke";

export function KeyTable({ keys }: { keys: ClientKey[] }) {
  const [revoking, setRevoking] = useState<ClientKey | null>(null);
  return (
    <section className={`panel ${styles.list}`} aria-label="Keys">
      <ScrollTable name="Keys">
        <table className="table">
          <thead>
            <tr>
              <th scope="col">Key</th>
              <th scope="col">Role</th>
              <th scope="col">Bodies</th>
              <th scope="col" className="number">
                Requests
              </th>
              <th scope="col" className="number">
                Cost
              </th>
              <th scope="col">Last used</th>
              <th scope="col">Created</th>
              <th scope="col">
                <span className="hidden-label">Actions</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {keys.map((key) => (
              <Row key={key.id} shown={key} revoke={() => setRevoking(key)} />
            ))}
          </tbody>
        </table>
      </ScrollTable>
      {revoking && <Revoke revoked={revoking} onClose={() => setRevoking(null)} />}
    </section>
  );
}

function Row({ shown, revoke }: { shown: ClientKey; revoke: () => void }) {
  return (
    <tr>
      <td>
        <Link href={`/requests?client_key=${encodeURIComponent(shown.id)}`}>{shown.name}</Link>
      </td>
      <td>{shown.role}</td>
      <td className={shown.store_payloads ? "quiet" : ""}>{shown.store_payloads ? "kept" : "not kept"}</td>
      <td className="number">{count(shown.requests)}</td>
      <td className="number">{dollars(shown.cost_usd)}</td>
      <td>{shown.last_used ? <When at={shown.last_used} /> : <span className="quiet">never</span>}</td>
      <td>
        <When at={shown.created_at} />
      </td>
      <td className="number">
        {shown.revoked_at ? (
          <span className="quiet" title={fullTime(milliseconds(shown.revoked_at))}>
            revoked
          </span>
        ) : (
          <Button variant="subtle" color="red" size="compact-sm" aria-label={`Revoke ${shown.name}`} onClick={revoke}>
            Revoke
          </Button>
        )}
      </td>
    </tr>
  );
}

function When({ at }: { at: string }) {
  const ms = milliseconds(at);
  return (
    <time dateTime={at} title={fullTime(ms)}>
      {ago(ms, useNow())}
    </time>
  );
}
