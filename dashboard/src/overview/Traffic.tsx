import { SegmentedControl } from "@mantine/core";
import { useState } from "react";
import { METRICS, type Metric, metricMoments } from "../analytics/metrics";
import type { Analytics } from "../api/questions";
import { TimeChart } from "../charts/TimeChart";
import { Panel } from "../frame/Panel";

const SHOWN = ["requests", "cost", "tokens"] as const satisfies Metric[];

export function Traffic({ analytics }: { analytics: Analytics }) {
  const [metric, setMetric] = useState<(typeof SHOWN)[number]>("requests");
  const { title, ...drawn } = METRICS[metric];
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
        {...drawn}
        label={`${title} over time`}
        moments={metricMoments(metric, analytics.time_series)}
        bucketMs={analytics.bucket_ms}
        height={200}
      />
    </Panel>
  );
}
