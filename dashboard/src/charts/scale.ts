/** The axis of values: it begins at zero, ends at or above the largest value, and its steps are round. */

const ROUND = [1, 2, 2.5, 5, 10];

/** At most `steps` steps. `whole`: of numbers that are counted, so that no tick lies between two of them. */
export function roundTicks(largest: number, steps: number, whole: boolean): number[] {
  if (!(largest > 0)) return whole ? [0, 1] : [0];
  const least = largest / steps;
  const unit = 10 ** Math.floor(Math.log10(least));
  const factor = ROUND.find((each) => each * unit >= least * (1 - 1e-9) && !(whole && (each * unit) % 1)) ?? 10;
  const step = whole ? Math.max(1, factor * unit) : factor * unit;
  const count = Math.ceil(largest / step - 1e-9);
  return Array.from({ length: count + 1 }, (_, index) => Number((index * step).toPrecision(12)));
}

/** The largest value of all moments: of the sum where values stand on each other. */
export function largestOf(moments: { values: Record<string, number | null> }[], names: string[], stacked: boolean) {
  const values = moments.map((moment) => names.map((name) => moment.values[name] ?? 0));
  return Math.max(0, ...values.map((each) => (stacked ? each.reduce((a, b) => a + b, 0) : Math.max(0, ...each))));
}
