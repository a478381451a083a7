import { lazy, Suspense } from "react";
import { useSearchParams } from "wouter";
import { areNew } from "../accounts/order";
import { RANGE_NAMES, RangeChoice, rangeFrom } from "../analytics/RangeChoice";
import { useAccounts, useAnalytics } from "../api/questions";
import { PageHead } from "../frame/PageHead";
import { Failure, Loading } from "../frame/states";
import { useRecent } from "../requests/recent";
import { AccountsPanel } from "./AccountsPanel";
import { Failures } from "./Failures";
import { Health } from "./Health";
import { ModelsPanel } from "./ModelsPanel";
import styles from "./Overview.module.css";
import { RunningStrip } from "./RunningStrip";
import { Tiles } from "./Tiles";
import { Traffic } from "./Traffic";

const Welcome = lazy(() => import("../welcome/Welcome"));

/** Is it healthy, what does it cost, which account runs out when: in one screen. */
export default function Overview() {
  const [search, setSearch] = useSearchParams();
  const range = rangeFrom(search);
  const accounts = useAccounts();
  const analytics = useAnalytics({ range });
  const recent = useRecent();
  const isNew =
    accounts.data && areNew(accounts.data) && analytics.data?.overview.requests === 0 && !recent.requests.length;
  if (isNew) {
    return (
      <Suspense fallback={<Loading />}>
        <Welcome accounts={accounts.data} />
      </Suspense>
    );
  }
  return (
    <>
      <PageHead title="Overview" note={`The last ${RANGE_NAMES[range]}, against the ${RANGE_NAMES[range]} before`}>
        <RangeChoice value={range} onChange={(chosen) => setSearch({ range: chosen }, { replace: true })} />
      </PageHead>
      <div className={styles.page}>
        <Health />
        <RunningStrip />
        {analytics.error && !analytics.data && (
          <Failure error={analytics.error} again={() => void analytics.refetch()} />
        )}
        {analytics.data ? <Tiles analytics={analytics.data} /> : !analytics.error && <Loading lines={4} height={22} />}
        <div className={styles.columns}>
          <div className={styles.left}>
            {analytics.data && <Traffic analytics={analytics.data} />}
            {analytics.data && <ModelsPanel analytics={analytics.data} />}
          </div>
          <div className={styles.right}>
            <AccountsPanel accounts={accounts.data} error={accounts.error} />
            <Failures />
          </div>
        </div>
      </div>
    </>
  );
}
