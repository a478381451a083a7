import { Panel } from "../frame/Panel";
import styles from "./Keys.module.css";

/** What a key lets its holder do. */
export function Roles() {
  return (
    <Panel title="Roles">
      <dl className={styles.roles}>
        <dt>proxy</dt>
        <dd>For programs: may send requests to the accounts, below /v1/. Sees nothing else.</dd>
        <dt>admin</dt>
        <dd>For people: also this dashboard and the API, with all accounts, requests, settings and keys.</dd>
      </dl>
      <p className="faint">
        Programs send a key as they send any: <code>ANTHROPIC_API_KEY</code> or <code>ANTHROPIC_AUTH_TOKEN</code>. It
        stays here: upstream gets the account’s credential alone.
      </p>
    </Panel>
  );
}
