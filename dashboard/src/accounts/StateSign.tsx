import { CircleCheck, CircleX, Clock, KeyRound, type LucideIcon, Pause } from "lucide-react";
import type { Account } from "../api/questions";
import styles from "./StateSign.module.css";

export const STATES: Record<
  Account["state"],
  { word: string; tone: "good" | "warn" | "bad" | "idle"; Icon: LucideIcon }
> = {
  active: { word: "Active", tone: "good", Icon: CircleCheck },
  rate_limited: { word: "Rate limited", tone: "warn", Icon: Clock },
  paused: { word: "Paused", tone: "idle", Icon: Pause },
  expired: { word: "Sign-in expired", tone: "bad", Icon: KeyRound },
  auth_failed: { word: "Key refused", tone: "bad", Icon: CircleX },
};

export function StateSign({ state }: { state: Account["state"] }) {
  const { word, tone, Icon } = STATES[state];
  return (
    <span className={styles.sign} data-tone={tone}>
      <Icon size={14} aria-hidden="true" />
      {word}
    </span>
  );
}
