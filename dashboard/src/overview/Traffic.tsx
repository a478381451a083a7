import { SegmentedControl } from "@mantine/core";
import { useState } from "react";
import { METRICS, type Metric, metricMoments } from "../analytics/metrics";
import type { Analytics } from "../api/questions";
import { TimeChart } from "../charts/TimeChart";
import { Panel } from "../frame/Panel";

const SHOWN = ["requests", "cost", "tokens"] as const satisfies Metric[];

export function Traffic({ analytics }: { analytics: Analytics }) {
  const [metric, setMetric] = useState<(typeof SHOWN)[number]>("requests");
  const { series, format, kind, title } = METRICS[metric];
  return (
    <Panel
      title={title}
      aside={
        <SegmentedControl
          size="xs"
          aria-label="What is shown"
          value={metric}
          onChange={(value) => setMetric(value as (typeof SHOWN)[number])}
          data={SHOWN.map((value) => ({ value, label: METRICS[value].name }))}
        />
      }
    >
      <TimeChart
        key={metric}
        label={`${title} over time`}
        kind={kind}
        series={series}
        moments={metricMoments(metric, analytics.time_series)}
        bucketMs={analytics.bucket_ms}
        format={format}
        height={228}
      />
    </Panel>
  );
}
