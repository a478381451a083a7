import { SegmentedControl } from "@mantine/core";
import type { Range } from "../api/questions";

const RANGES: { value: Range; label: string }[] = [
  { value: "1h", label: "1 h" },
  { value: "6h", label: "6 h" },
  { value: "24h", label: "24 h" },
  { value: "7d", label: "7 d" },
  { value: "30d", label: "30 d" },
  { value: "90d", label: "90 d" },
  { value: "365d", label: "1 y" },
];

export const RANGE_NAMES: Record<Range, string> = {
  "1h": "hour",
  "6h": "6 hours",
  "24h": "24 hours",
  "7d": "7 days",
  "30d": "30 days",
  "90d": "90 days",
  "365d": "year",
};

export function rangeFrom(search: URLSearchParams): Range {
  return RANGES.find((each) => each.value === search.get("range"))?.value ?? "24h";
}

export function RangeChoice({ value, onChange }: { value: Range; onChange: (range: Range) => void }) {
  return (
    <SegmentedControl
      size="xs"
      aria-label="Period"
      data={RANGES}
      value={value}
      onChange={(chosen) => onChange(chosen as Range)}
    />
  );
}
