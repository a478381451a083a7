import { Select, Switch } from "@mantine/core";
import { type ReactNode, useState } from "react";
import type { Analytics } from "../api/questions";
import { colorsOf } from "../charts/colors";
import { TimeChart } from "../charts/TimeChart";
import { Panel } from "../frame/Panel";
import styles from "./Analytics.module.css";
import { METRICS, type Metric, metricMoments, modelMoments } from "./metrics";

interface Props {
  analytics: Analytics;
  metric: Metric;
  onMetric: (metric: Metric) => void;
  tools: ReactNode;
}

export function MainChart({ analytics, metric, onMetric, tools }: Props) {
  const [wantsModels, setWantsModels] = useState(false);
  const models = wantsModels ? analytics.models_over_time : null;
  const description = METRICS[metric];
  const colors = colorsOf(analytics.models.map(({ model }) => model));
  const series = models
    ? models.map(({ model }) => ({ name: model ?? "", label: model ?? "unknown", color: colors.get(model) ?? "" }))
    : description.series;
  return (
    <Panel
      title={models ? `${description.name} by model` : description.title}
      aside={
        <div className={styles.tools}>
          {tools}
          <Switch
            size="xs"
            label="By model"
            checked={models !== null}
            disabled={analytics.models_over_time === null}
            onChange={(event) => setWantsModels(event.currentTarget.checked)}
          />
          <Select
            size="xs"
            w={140}
            aria-label="What is shown"
            allowDeselect={false}
            data={Object.entries(METRICS).map(([value, { name }]) => ({ value, label: name }))}
            value={metric}
            onChange={(value) => value && onMetric(value as Metric)}
          />
        </div>
      }
    >
      <TimeChart
        key={`${metric}${models !== null}`}
        {...description}
        label={`${description.title} over time`}
        series={series}
        moments={
          models ? modelMoments(metric, analytics.time_series, models) : metricMoments(metric, analytics.time_series)
        }
        bucketMs={analytics.bucket_ms}
        height={260}
      />
    </Panel>
  );
}
