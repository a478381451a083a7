/** Pages that are fetched when they are needed, or when there is time before that. */

import { type ComponentType, lazy } from "react";

const SOON_MS = 1_500;

/** Going to a page should not wait for its code: it comes a little after the first page is there. */
export function page<P extends object>(load: () => Promise<{ default: ComponentType<P> }>) {
  setTimeout(() => void load().catch(() => undefined), SOON_MS); // asked for again, and told of, when it is needed
  return lazy(load);
}
