/** What is drawn over time. */

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

export interface Drawn {
  kind: "bars" | "lines";
  series: Series[];
  moments: Moment[];
  bucketMs: number;
  /** A value with its unit. */
  format: (value: number | null) => string;
  height: number;
  /** The top of the axis: 1 for shares. */
  most?: number | undefined;
  /** The values are counted: the axis has no fractions. */
  counted?: boolean | undefined;
}

/** Whether a point of a line has neither a point before nor one behind it: no line shows it. */
export function isAlone(moments: Moment[], index: number, name: string): boolean {
  const known = (at: number) => (moments[at]?.values[name] ?? null) !== null;
  return known(index) && !known(index - 1) && !known(index + 1);
}
