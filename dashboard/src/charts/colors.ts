/** A colour for each name, the same on every chart of a page; beyond eight all share one. */

const PALETTE = Array.from({ length: 8 }, (_, index) => `var(--series-${index + 1})`);

function colorAt(index: number): string {
  return PALETTE[index] ?? "var(--series-rest)";
}

export function colorsOf(names: (string | null)[]): Map<string | null, string> {
  return new Map(names.map((name, index) => [name, colorAt(index)]));
}
