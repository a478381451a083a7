import { Link } from "wouter";
import { Asides } from "../accounts/Asides";
import { inOrder } from "../accounts/order";
import { StateSign } from "../accounts/StateSign";
import { Why } from "../accounts/Why";
import { WindowBars } from "../accounts/WindowBars";
import type { Account } from "../api/questions";
import { count } from "../format/numbers";
import { Panel } from "../frame/Panel";
import { Failure, Loading } from "../frame/states";
import styles from "./Overview.module.css";

export function AccountsPanel({ accounts, error }: { accounts: Account[] | undefined; error: Error | null }) {
  return (
    <Panel
      title="Accounts"
      className={styles.accounts}
      aside={
        <Link href="/accounts" className="small quiet">
          All accounts
        </Link>
      }
    >
      {error && !accounts && <Failure error={error} />}
      {!accounts && !error && <Loading lines={4} />}
      <ul className={styles.list}>
        {accounts?.toSorted(inOrder).map((account) => (
          <li key={account.id}>
            <div className={styles.accountHead}>
              <b className="cut">{account.name}</b>
              <StateSign state={account.state} />
              <span className="faint">{count(account.in_flight)} running</span>
            </div>
            <Why account={account} />
            <Asides account={account} brief />
            <WindowBars account={account} brief />
          </li>
        ))}
      </ul>
    </Panel>
  );
}
