import { Tooltip } from "@mantine/core";
import type { Account } from "../api/questions";
import { useNow } from "../format/clock";
import { brief, count, percent, UNKNOWN } from "../format/numbers";
import { fullTime, milliseconds, shortTime, span } from "../format/time";
import styles from "./WindowBars.module.css";
import { toneOf, type Window, windowName } from "./windows";

/** Every window of an account: how much of it is used, when it begins anew, and when it runs out. `brief`: what matters. */
export function WindowBars({ account, brief: isBrief = false }: { account: Account; brief?: boolean }) {
  const now = useNow();
  const budgets = isBrief ? account.budgets.filter(isFelt) : account.budgets;
  if (isBrief && account.windows.length === 0 && budgets.length === 0) return null;
  if (account.windows.length === 0 && budgets.length === 0) {
    return <p className="faint">Limits are known after the first answer.</p>;
  }
  return (
    <ul className={styles.windows}>
      {account.windows.map((window) => (
        <WindowBar key={window.name} window={window} now={now} />
      ))}
      {budgets.map((budget) => (
        <BudgetBar key={budget.name} budget={budget} now={now} />
      ))}
    </ul>
  );
}

/** Where less than this is used, a budget is no news. */
const FELT = 0.02;

function isFelt({ limit, remaining }: Account["budgets"][number]): boolean {
  return limit !== null && remaining !== null && remaining <= limit * (1 - FELT);
}

function WindowBar({ window, now }: { window: Window; now: number }) {
  const reset = window.reset === null ? null : milliseconds(window.reset);
  return (
    <li className={styles.window} data-tone={toneOf(window)}>
      <span className="cut">{windowName(window.name)}</span>
      <Bar share={window.utilization} label={`${windowName(window.name)}, used`} />
      <span className={styles.share}>{percent(window.utilization)}</span>
      <span className={styles.reset}>
        {reset === null ? (
          UNKNOWN
        ) : (
          <Tooltip label={fullTime(reset)}>
            <span>resets in {span(reset - now)}</span>
          </Tooltip>
        )}
      </span>
      {window.runs_out_at !== null && (
        <Tooltip label={`At the pace of the last hour: ${fullTime(window.runs_out_at)}`}>
          <span className={styles.forecast}>▲ runs out {shortTime(window.runs_out_at, now)}</span>
        </Tooltip>
      )}
    </li>
  );
}

function BudgetBar({ budget, now }: { budget: Account["budgets"][number]; now: number }) {
  const known = budget.limit !== null && budget.remaining !== null && budget.limit > 0;
  const used = known ? 1 - (budget.remaining ?? 0) / (budget.limit ?? 1) : null;
  const reset = budget.reset === null ? null : milliseconds(budget.reset);
  const name = budget.name.replaceAll("-", " ").replaceAll("_", " ");
  return (
    <li className={styles.window} data-tone={used !== null && used >= 1 ? "bad" : "good"}>
      <span className="cut">{name}</span>
      <Bar share={used} label={`${name}, used`} />
      <Tooltip label={`${count(budget.remaining)} of ${count(budget.limit)} left`}>
        <span className={styles.share}>{brief(budget.remaining)} left</span>
      </Tooltip>
      <span className={styles.reset}>
        {reset !== null && reset > now ? `full in ${span(reset - now)}` : used === 0 ? "full" : UNKNOWN}
      </span>
    </li>
  );
}

export function Bar({ share, label }: { share: number | null; label: string }) {
  const used = Math.min(Math.max(share ?? 0, 0), 1);
  return (
    // biome-ignore lint/a11y/useSemanticElements: browsers do not let the native element be drawn this way
    <span
      className={styles.bar}
      role="meter"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(used * 100)}
      aria-valuetext={percent(share)}
    >
      <i style={{ width: `${used * 100}%` }} />
    </span>
  );
}
