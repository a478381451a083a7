import type { Analytics, Point } from "../api/questions";
import { Sparkline } from "../charts/Sparkline";
import { brief, type Change, change, dollars, duration, percent, points, speed } from "../format/numbers";
import styles from "./Overview.module.css";

/** Whether more of it is good news, bad news, or no news. */
type Better = "more" | "less" | "neither";

interface TileProps {
  name: string;
  value: string;
  note: string;
  change: Change | null;
  better: Better;
  course: (number | null)[];
}

export function Tiles({ analytics: { overview, time_series } }: { analytics: Analytics }) {
  const before = overview.previous;
  const course = (pick: (point: Point) => number | null) => time_series.filter((point) => !point.partial).map(pick);
  return (
    <dl className={styles.tiles}>
      <Tile
        name="Requests"
        value={brief(overview.requests)}
        note={`${brief(overview.failed_requests)} failed`}
        change={change(overview.requests, before.requests)}
        better="neither"
        course={course((point) => point.requests)}
      />
      <Tile
        name="Success"
        value={percent(overview.success_rate)}
        note={`${percent(overview.rate_limited_rate)} limited`}
        change={points(overview.success_rate, before.success_rate)}
        better="more"
        course={course((point) => point.success_rate)}
      />
      <Tile
        name="Response time, median"
        value={duration(overview.p50_response_time_ms)}
        note={`95 % within ${duration(overview.p95_response_time_ms)}`}
        change={change(overview.p50_response_time_ms, before.p50_response_time_ms)}
        better="less"
        course={course((point) => point.p50_response_time_ms)}
      />
      <Tile
        name="Cost"
        value={dollars(overview.cost_usd)}
        note={overview.unpriced > 0 ? `${brief(overview.unpriced)} without a price` : "all priced"}
        change={change(overview.cost_usd, before.cost_usd)}
        better="less"
        course={course((point) => point.cost_usd)}
      />
      <Tile
        name="Tokens"
        value={brief(overview.tokens.total_tokens)}
        note={`${percent(overview.cache_hit_rate)} of input cached`}
        change={change(overview.tokens.total_tokens, before.tokens.total_tokens)}
        better="neither"
        course={course((point) => point.tokens.total_tokens)}
      />
      <Tile
        name="Output speed"
        value={speed(overview.output_tokens_per_second)}
        note={`first byte ${duration(overview.avg_first_byte_ms)}`}
        change={change(overview.output_tokens_per_second, before.output_tokens_per_second)}
        better="more"
        course={course((point) => point.output_tokens_per_second)}
      />
    </dl>
  );
}

function Tile({ name, value, note, change: changed, better, course }: TileProps) {
  return (
    <div className={`panel ${styles.tile}`}>
      <dt>{name}</dt>
      <dd className={styles.value}>
        {value}
        {changed && (
          <span className={styles.change} data-news={news(changed, better)} title="against the period before">
            {changed.text}
          </span>
        )}
      </dd>
      <dd className="faint">{note}</dd>
      <dd>
        <Sparkline values={course} />
      </dd>
    </div>
  );
}

function news(changed: Change, better: Better): "good" | "bad" | "none" {
  if (changed.direction === "same" || better === "neither") return "none";
  return (changed.direction === "up") === (better === "more") ? "good" : "bad";
}
