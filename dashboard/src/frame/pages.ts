import {
  ArrowLeftRight,
  ChartSpline,
  Gauge,
  KeyRound,
  type LucideIcon,
  ScrollText,
  SlidersHorizontal,
  UsersRound,
} from "lucide-react";

export interface Page {
  path: string;
  name: string;
  /** Pressed after `g`. */
  letter: string;
  Icon: LucideIcon;
}

export const PAGES: Page[] = [
  { path: "/", name: "Overview", letter: "o", Icon: Gauge },
  { path: "/analytics", name: "Analytics", letter: "n", Icon: ChartSpline },
  { path: "/requests", name: "Requests", letter: "r", Icon: ArrowLeftRight },
  { path: "/accounts", name: "Accounts", letter: "a", Icon: KeyRound },
  { path: "/keys", name: "Keys", letter: "k", Icon: UsersRound },
  { path: "/logs", name: "Logs", letter: "l", Icon: ScrollText },
  { path: "/settings", name: "Settings", letter: "s", Icon: SlidersHorizontal },
];
