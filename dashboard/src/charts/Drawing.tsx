import { BarChart, LineChart } from "@mantine/charts";
import { shortTime, tick, ticksOf } from "../format/time";
import { largestOf, roundTicks } from "./scale";
import { type Drawn, isAlone, type Moment } from "./series";
import styles from "./TimeChart.module.css";

/** To the right there is room for half a label: a last tick that does not fit takes others away with it. */
const MARGIN = { top: 8, right: 26, bottom: 0, left: 0 };

export default function Drawing(drawn: Drawn) {
  return drawn.kind === "bars" ? <Bars {...drawn} /> : <Lines {...drawn} />;
}

function Bars(drawn: Drawn) {
  return (
    <BarChart
      {...common(drawn)}
      type="stacked"
      fillOpacity={1}
      maxBarWidth={28}
      barProps={{ isAnimationActive: false, shape: Column }}
      barChartProps={{ accessibilityLayer: false, margin: MARGIN, barCategoryGap: "18%" }}
    />
  );
}

function Lines(drawn: Drawn) {
  return (
    <LineChart
      {...common(drawn)}
      curveType="linear"
      connectNulls={false}
      strokeWidth={1.75}
      lineProps={({ name }) => ({
        isAnimationActive: false,
        dot: ({ cx, cy, index, stroke }) =>
          isAlone(drawn.moments, index, name) ? (
            <circle key={index} cx={cx} cy={cy} r={2} fill={stroke} />
          ) : (
            <g key={index} />
          ),
      })}
      lineChartProps={{ accessibilityLayer: false, margin: MARGIN }}
    />
  );
}

/** What both kinds have: the axes, and what is told where the pointer is. */
function common({ kind, series, moments, bucketMs, format, height, most, counted }: Drawn) {
  const instants = moments.map((each) => each.ts);
  const span = (instants.at(-1) ?? 0) - (instants[0] ?? 0);
  const ticks = ticksOf(instants, bucketMs);
  const stacked = kind === "bars";
  const names = series.map((each) => each.name);
  const largest = most ?? largestOf(moments, names, stacked);
  const heights = roundTicks(largest, stacked ? 3 : 4, counted ?? false);
  return {
    h: height,
    data: moments.map(({ ts, partial, values }) => ({ ts, partial, ...values })),
    dataKey: "ts",
    series,
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
        <Tip moment={moments.find((each) => each.ts === ts)} series={series} bucketMs={bucketMs} format={format} />
      ),
    },
    tooltipAnimationDuration: 0,
  };
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

interface TipProps extends Pick<Drawn, "series" | "bucketMs" | "format"> {
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
