/** What can be drawn over time: which series it has, in which unit, and how it is read from a point. */

import type { Measures, Point } from "../api/questions";
import type { Moment, Series } from "../charts/series";
import { brief, dollars, duration, percent, speed } from "../format/numbers";

export type Metric = "requests" | "cost" | "tokens" | "latency" | "errors" | "cache" | "speed";

interface Description {
  name: string;
  title: string;
  kind: "bars" | "lines";
  series: Series[];
  format: (value: number | null) => string;
  /** Of one series' values; null where nothing is known. */
  read: Record<string, (point: Omit<Measures, "model">) => number | null>;
  /** The one number that stands for it where models are compared. */
  whole: (point: Omit<Measures, "model">) => number | null;
  most?: number;
  counted?: boolean;
}

const rest = (point: Omit<Measures, "model">) => point.failed_requests - point.rate_limited_requests;

export const METRICS: Record<Metric, Description> = {
  requests: {
    name: "Requests",
    title: "Requests by outcome",
    kind: "bars",
    format: brief,
    counted: true,
    series: [
      { name: "succeeded", label: "succeeded", color: "var(--series-1)" },
      { name: "limited", label: "rate limited", color: "var(--series-2)" },
      { name: "failed", label: "failed otherwise", color: "var(--series-5)" },
    ],
    read: { succeeded: (p) => p.successful_requests, limited: (p) => p.rate_limited_requests, failed: rest },
    whole: (p) => p.requests,
  },
  cost: {
    name: "Cost",
    title: "Cost",
    kind: "bars",
    format: dollars,
    series: [{ name: "cost", label: "cost", color: "var(--series-1)" }],
    read: { cost: (p) => p.cost_usd },
    whole: (p) => p.cost_usd,
  },
  tokens: {
    name: "Tokens",
    title: "Tokens by class",
    kind: "bars",
    format: brief,
    counted: true,
    series: [
      { name: "cacheRead", label: "read from cache", color: "var(--series-4)" },
      { name: "cacheWritten", label: "written to cache", color: "var(--series-3)" },
      { name: "input", label: "other input", color: "var(--series-1)" },
      { name: "output", label: "output", color: "var(--series-2)" },
    ],
    read: {
      cacheRead: (p) => p.tokens.cache_read_input_tokens,
      cacheWritten: (p) => p.tokens.cache_creation_input_tokens,
      input: (p) => p.tokens.input_tokens,
      output: (p) => p.tokens.output_tokens,
    },
    whole: (p) => p.tokens.total_tokens,
  },
  latency: {
    name: "Response time",
    title: "Response time",
    kind: "lines",
    format: duration,
    series: [
      { name: "p50", label: "median", color: "var(--series-1)" },
      { name: "p95", label: "95 % within", color: "var(--series-2)" },
      { name: "p99", label: "99 % within", color: "var(--series-5)" },
    ],
    read: {
      p50: (p) => p.p50_response_time_ms,
      p95: (p) => p.p95_response_time_ms,
      p99: (p) => p.p99_response_time_ms,
    },
    whole: (p) => p.p50_response_time_ms,
  },
  errors: {
    name: "Failures",
    title: "Share of requests that failed",
    kind: "lines",
    format: percent,
    series: [
      { name: "errors", label: "all failures", color: "var(--series-5)" },
      { name: "limited", label: "rate limited", color: "var(--series-2)" },
    ],
    read: { errors: (p) => p.error_rate, limited: (p) => p.rate_limited_rate },
    whole: (p) => p.error_rate,
  },
  cache: {
    name: "Cache hits",
    title: "Share of the input that was read from a cache",
    kind: "lines",
    format: percent,
    series: [{ name: "hits", label: "read from cache", color: "var(--series-1)" }],
    read: { hits: (p) => p.cache_hit_rate },
    whole: (p) => p.cache_hit_rate,
    most: 1,
  },
  speed: {
    name: "Output speed",
    title: "Output speed",
    kind: "lines",
    format: speed,
    series: [{ name: "speed", label: "output speed", color: "var(--series-1)" }],
    read: { speed: (p) => p.output_tokens_per_second },
    whole: (p) => p.output_tokens_per_second,
  },
};

export function metricMoments(metric: Metric, points: Point[]): Moment[] {
  const { read } = METRICS[metric];
  return points.map((point) => ({
    ts: point.ts,
    partial: point.partial,
    values: Object.fromEntries(Object.entries(read).map(([name, pick]) => [name, pick(point)])),
  }));
}

/** One series for each model: moments are those of `all`, in which every model's points lie. */
export function modelMoments(
  metric: Metric,
  all: Point[],
  models: { model: string | null; points: Point[] }[],
): Moment[] {
  const { whole } = METRICS[metric];
  const byModel = models.map(
    ({ model, points }) => [model ?? "", new Map(points.map((p) => [p.ts, whole(p)]))] as const,
  );
  return all.map(({ ts, partial }) => ({
    ts,
    partial,
    values: Object.fromEntries(byModel.map(([model, values]) => [model, values.get(ts) ?? null])),
  }));
}
