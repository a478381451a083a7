import { useState } from "react";
import { useLocation, useSearch } from "wouter";
import { useAccounts, useRequests } from "../api/questions";
import { count } from "../format/numbers";
import { PageHead } from "../frame/PageHead";
import { Empty, Failure, Loading } from "../frame/states";
import { Filters } from "./Filters";
import { filterFrom, matches, searchWith } from "./filter";
import { RequestList } from "./RequestList";
import styles from "./Requests.module.css";
import { RunningRows } from "./RunningRows";
import { type Ended, merged, useRecent } from "./recent";
import { mayMatch, useRunning } from "./running";

export default function Requests() {
  const search = useSearch();
  const [, go] = useLocation();
  const filter = filterFrom(new URLSearchParams(search));
  const history = useRequests(filter);
  const recent = useRecent();
  const [held, setHeld] = useState<Ended | null>(null);
  const pages = history.data?.pages.map((page) => page.requests) ?? [];
  const ended = (held ?? recent).requests.filter((request) => matches(request, filter));
  const rows = merged(ended, pages);
  const waiting = held ? recent.requests.filter((each) => matches(each, filter)).length - ended.length : 0;
  const someRun = useRunning().shown.some((each) => mayMatch(each, filter));
  const incomplete = history.dataUpdatedAt > 0 && recent.incompleteAt > history.dataUpdatedAt;

  function showNewest(): void {
    setHeld(null);
    if (incomplete) void history.refetch();
  }

  if (incomplete && !held && !history.isFetching) void history.refetch();
  return (
    <div className={styles.page}>
      <PageHead title="Requests">
        <Filters
          filter={filter}
          onChange={(changes) => go(`/requests?${searchWith(filter, changes)}`, { replace: true })}
        />
      </PageHead>
      {history.isError && !history.data ? (
        <Failure error={history.error} again={() => void history.refetch()} />
      ) : history.isPending ? (
        <Loading lines={6} height={24} />
      ) : rows.length === 0 && !someRun ? (
        <Nothing filtered={search !== ""} clear={() => go("/requests")} />
      ) : (
        <RequestList
          key={search}
          memory={search}
          rows={rows}
          waiting={waiting}
          showNewest={showNewest}
          onTop={(top) => setHeld(top ? null : recent)}
          more={history.hasNextPage && !history.isFetchingNextPage ? () => void history.fetchNextPage() : null}
          isLoading={history.isFetchingNextPage}
        >
          <RunningRows filter={filter} />
        </RequestList>
      )}
      <p className="faint" aria-live="polite">
        {rows.length > 0 &&
          (history.hasNextPage
            ? `${count(rows.length)} loaded; older ones as you scroll`
            : `${count(rows.length)} requests, all there are`)}
      </p>
    </div>
  );
}

function Nothing({ filtered, clear }: { filtered: boolean; clear: () => void }) {
  const accounts = useAccounts();
  if (filtered) {
    return (
      <Empty title="No request matches the filter">
        <button type="button" className={styles.plain} onClick={clear}>
          Show all requests
        </button>
      </Empty>
    );
  }
  return (
    <Empty title="No requests yet">
      {accounts.data?.length === 0 ? (
        "Add an account first, then point a client here."
      ) : (
        <>
          Point a client here: <code>ANTHROPIC_BASE_URL={location.origin}</code>
        </>
      )}
    </Empty>
  );
}
