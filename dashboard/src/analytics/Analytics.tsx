import { Switch } from "@mantine/core";
import { useSearchParams } from "wouter";
import { type Period, useAnalytics } from "../api/questions";
import { TimeChart } from "../charts/TimeChart";
import { count } from "../format/numbers";
import { PageHead } from "../frame/PageHead";
import { Panel } from "../frame/Panel";
import { Empty, Failure, Loading } from "../frame/states";
import { AccountFilter, KeyFilter, ModelFilter, StatusFilter } from "../requests/Filters";
import styles from "./Analytics.module.css";
import { Costs } from "./Costs";
import { MainChart } from "./MainChart";
import { keyRow, MeasureTable, modelRow } from "./MeasureTable";
import { METRICS, type Metric, metricMoments } from "./metrics";
import { RangeChoice, rangeFrom } from "./RangeChoice";
import { TokenBreakdown } from "./TokenBreakdown";

const SMALL: Metric[] = ["errors", "cache"];
/** Of a legend above a chart; one without is so much higher, so that both end together. */
const LEGEND_PX = 29;

export default function Analytics() {
  const [search, setSearch] = useSearchParams();
  const isCumulative = search.get("mode") === "cumulative";
  const metric = Object.keys(METRICS).find((each) => each === search.get("metric")) as Metric | undefined;
  const period: Period = { range: rangeFrom(search), mode: isCumulative ? "cumulative" : "per_model" };
  for (const name of ["model", "account", "key", "status"] as const) {
    const value = search.get(name);
    if (value) period[name] = value;
  }
  const { data, error, refetch } = useAnalytics(period);
  function choose(name: string, value: string | null): void {
    setSearch(
      (before) => {
        if (value) before.set(name, value);
        else before.delete(name);
        return before;
      },
      { replace: true },
    );
  }
  return (
    <>
      <PageHead title="Analytics">
        <ModelFilter value={search.get("model") ?? ""} onChange={(value) => choose("model", value)} />
        <StatusFilter value={search.get("status")} onChange={(value) => choose("status", value)} />
        <AccountFilter value={search.get("account")} onChange={(value) => choose("account", value)} />
        <KeyFilter value={search.get("key")} onChange={(value) => choose("key", value)} />
        <RangeChoice value={period.range} onChange={(value) => choose("range", value)} />
      </PageHead>
      {error && <Failure error={error} again={() => void refetch()} />}
      {!data && !error && <Loading lines={6} height={26} />}
      {data && data.overview.requests === 0 && (
        <Empty title="No requests in this period">A longer one may have some.</Empty>
      )}
      {data && data.overview.requests > 0 && (
        <div className={styles.page}>
          <MainChart
            analytics={data}
            metric={metric ?? "requests"}
            onMetric={(value) => choose("metric", value)}
            tools={
              <Switch
                size="xs"
                label="Running sums"
                checked={isCumulative}
                onChange={(event) => choose("mode", event.currentTarget.checked ? "cumulative" : null)}
              />
            }
          />
          <div className={styles.half}>
            {SMALL.map((each) => (
              <Panel key={each} title={METRICS[each].title}>
                <TimeChart
                  {...METRICS[each]}
                  label={METRICS[each].title}
                  moments={metricMoments(each, data.time_series)}
                  bucketMs={data.bucket_ms}
                  height={METRICS[each].series.length > 1 ? 150 : 150 + LEGEND_PX}
                />
              </Panel>
            ))}
          </div>
          <Panel title="Models" aside={<span className="faint">{count(data.models.length)} in this period</span>}>
            <MeasureTable kind="Model" rows={data.models.map(modelRow)} />
          </Panel>
          {data.client_keys.some((row) => row.id) && (
            <Panel title="Client keys" aside={<span className="faint">Who asked</span>}>
              <MeasureTable kind="Key" rows={data.client_keys.map(keyRow)} />
            </Panel>
          )}
          <div className={styles.thirds}>
            <TokenBreakdown tokens={data.token_breakdown} hits={data.overview.cache_hit_rate} />
            <Costs
              title="Cost by model"
              rows={data.costs.by_model.map((row) => ({ ...row, name: row.model }))}
              names={data.models.map((row) => row.model)}
            />
            <Costs title="Cost by account" rows={data.costs.by_account} names={data.accounts.map((row) => row.name)} />
          </div>
        </div>
      )}
    </>
  );
}
