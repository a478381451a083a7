import type { Analytics } from "../api/questions";
import { brief, count, percent } from "../format/numbers";
import { Panel } from "../frame/Panel";
import styles from "./Analytics.module.css";

type Tokens = Analytics["token_breakdown"];

const CLASSES: [keyof Tokens, string, string][] = [
  ["cache_read_input_tokens", "Read from cache", "var(--series-4)"],
  ["cache_creation_input_tokens", "Written to cache", "var(--series-3)"],
  ["input_tokens", "Other input", "var(--series-1)"],
  ["output_tokens", "Output", "var(--series-2)"],
];

export function TokenBreakdown({ tokens, hits }: { tokens: Tokens; hits: number | null }) {
  const total = tokens.total_tokens ?? 0;
  return (
    <Panel title="Tokens" aside={<b>{brief(tokens.total_tokens)} tok</b>}>
      <ul className={styles.shares}>
        {CLASSES.map(([name, label, color]) => (
          <li key={name}>
            <span className="cut">{label}</span>
            <span className="number" title={`${count(tokens[name])} tokens`}>
              {brief(tokens[name])}
            </span>
            <span className="number quiet">{total > 0 ? percent((tokens[name] ?? 0) / total) : ""}</span>
            <i aria-hidden="true">
              <i style={{ width: `${total > 0 ? ((tokens[name] ?? 0) / total) * 100 : 0}%`, background: color }} />
            </i>
          </li>
        ))}
      </ul>
      <p className="faint">
        {percent(hits)} of the input came from a cache
        {tokens.thinking_tokens ? `; ${brief(tokens.thinking_tokens)} tokens of the output are thinking` : ""}
        {tokens.web_search_requests ? `; ${count(tokens.web_search_requests)} web searches` : ""}
      </p>
    </Panel>
  );
}
