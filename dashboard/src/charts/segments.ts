/**
 * The points of a line from zero to the largest value, as SVG has them: one text for each stretch without a gap.
 * A single value between gaps becomes a short dash.
 */
export function segments(values: (number | null)[], width: number, height: number): string[] {
  const top = Math.max(...values.map((value) => value ?? 0), Number.MIN_VALUE);
  const step = values.length > 1 ? width / (values.length - 1) : width;
  const stretches: string[][] = [[]];
  for (const [index, value] of values.entries()) {
    if (value === null) stretches.push([]);
    else stretches.at(-1)?.push(`${round(index * step)},${round(height - (value / top) * height)}`);
  }
  return stretches
    .filter((points) => points.length > 0)
    .map((points) => (points.length > 1 ? points : dash(points)).join(" "));
}

function dash(points: string[]): string[] {
  const [x, y] = (points[0] ?? "0,0").split(",").map(Number);
  return [`${x},${y}`, `${round((x ?? 0) + 0.5)},${y}`];
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
