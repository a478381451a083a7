import { BarChart, LineChart } from "@mantine/charts";
import { useState } from "react";
import { shortTime, tick, ticksOf } from "../format/time";
import { largestOf, roundTicks } from "./scale";
import styles from "./TimeChart.module.css";

export interface Series {
  name: string;
  label: string;
  color: string;
}

/** Values by the series' names. null: nothing is known there, and nothing is drawn. */
export interface Moment {
  ts: number;
  /** The bucket is not over, or only a part of it is in the period. */
  partial: boolean;
  values: Record<string, number | null>;
}

interface Props {
  /** What is seen, for who cannot see it. */
  label: string;
  kind: "bars" | "lines";
  series: Series[];
  moments: Moment[];
  bucketMs: number;
  /** A value with its unit. */
  format: (value: number | null) => string;
  height?: number;
  /** The top of the axis: 1 for shares. */
  most?: number;
  /** The values are counted: the axis has no fractions. */
  counted?: boolean;
}

const MARGIN = { top: 8, right: 6, bottom: 0, left: 0 };

export function TimeChart({ label, kind, series, moments, bucketMs, format, height = 220, most, counted }: Props) {
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set());
  const shown = series.filter((each) => !hidden.has(each.name));
  const span = (moments.at(-1)?.ts ?? 0) - (moments[0]?.ts ?? 0);
  const ticks = ticksOf(
    moments.map((each) => each.ts),
    bucketMs,
  );
  const names = shown.map((each) => each.name);
  const heights = roundTicks(
    most ?? largestOf(moments, names, kind === "bars"),
    most ? 4 : kind === "bars" ? 3 : 4,
    counted ?? false,
  );
  const common = {
    h: height,
    data: moments.map(({ ts, partial, values }) => ({ ts, partial, ...values })),
    dataKey: "ts",
    series: shown.map(({ name, label, color }) => ({ name, label, color })),
    gridAxis: "x" as const,
    tickLine: "none" as const,
    strokeDasharray: "2 4",
    xAxisProps: {
      tickFormatter: (ts: number) => tick(ts, bucketMs, span),
      minTickGap: 36,
      interval: "equidistantPreserveStart" as const,
      ...(ticks && { ticks }),
      axisLine: { stroke: "var(--line-strong)" },
    },
    yAxisProps: {
      tickFormatter: (value: number) => format(value),
      width: "auto" as const,
      ticks: heights,
      interval: 0,
      domain: [0, heights.at(-1) || "auto"] as [number, number | "auto"],
    },
    tooltipProps: {
      content: ({ label: ts }: { label?: unknown }) => (
        <Tip moment={moments.find((each) => each.ts === ts)} series={shown} bucketMs={bucketMs} format={format} />
      ),
    },
    tooltipAnimationDuration: 0,
  };
  return (
    <figure className={styles.chart} aria-label={label}>
      {series.length > 1 && (
        <Legend series={series} hidden={hidden} toggle={(name) => setHidden(toggled(hidden, name))} />
      )}
      <div aria-hidden="true">
        {kind === "bars" ? (
          <BarChart
            {...common}
            type="stacked"
            fillOpacity={1}
            maxBarWidth={28}
            barProps={{ isAnimationActive: false, shape: Column }}
            barChartProps={{ accessibilityLayer: false, margin: MARGIN, barCategoryGap: "18%" }}
          />
        ) : (
          <LineChart
            {...common}
            curveType="linear"
            connectNulls={false}
            withDots={moments.length <= 2}
            strokeWidth={1.75}
            lineProps={{ isAnimationActive: false }}
            lineChartProps={{ accessibilityLayer: false, margin: MARGIN }}
          />
        )}
      </div>
    </figure>
  );
}

interface ColumnProps {
  x?: number | undefined;
  y?: number | undefined;
  width?: number | undefined;
  height?: number | undefined;
  fill?: string | undefined;
  payload?: Pick<Moment, "partial">;
}

/** What is still growing, or begins before the period, is drawn pale. */
function Column({ x, y, width, height, fill, payload }: ColumnProps) {
  if (!width || !height) return null;
  return <rect x={x} y={y} width={width} height={height} fill={fill} opacity={payload?.partial ? 0.45 : 1} />;
}

function Legend({
  series,
  hidden,
  toggle,
}: {
  series: Series[];
  hidden: ReadonlySet<string>;
  toggle: (name: string) => void;
}) {
  return (
    <ul className={styles.legend}>
      {series.map(({ name, label, color }) => (
        <li key={name}>
          <button type="button" aria-pressed={!hidden.has(name)} onClick={() => toggle(name)}>
            <i style={{ background: color }} aria-hidden="true" />
            {label}
          </button>
        </li>
      ))}
    </ul>
  );
}

interface TipProps extends Pick<Props, "series" | "bucketMs" | "format"> {
  moment: Moment | undefined;
}

function Tip({ moment, series, bucketMs, format }: TipProps) {
  if (!moment) return null;
  const now = Date.now();
  return (
    <div className={styles.tip}>
      <p>
        {shortTime(moment.ts, now)} – {shortTime(moment.ts + bucketMs, now)}
        {moment.partial && <span className="faint"> a part of it</span>}
      </p>
      <dl>
        {series.map(({ name, label, color }) => (
          <div key={name}>
            <dt>
              <i style={{ background: color }} />
              {label}
            </dt>
            <dd>{format(moment.values[name] ?? null)}</dd>
          </div>
        ))}
      </dl>
    </div>
  );
}

function toggled(hidden: ReadonlySet<string>, name: string): ReadonlySet<string> {
  const changed = new Set(hidden);
  if (!changed.delete(name)) changed.add(name);
  return changed;
}
