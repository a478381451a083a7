/** The settings as they are found: what is about one thing stands together. */

import type { Setting } from "../api/questions";

const GROUPS: [string, RegExp][] = [
  ["Listening", /^(port|host|allowed_hosts|open_without|max_connections|client_)/],
  ["Sessions and tries", /^(lb_|session_|retry_)/],
  ["Waiting", /(_timeout|deadline|_wait)/],
  ["History and bodies", /(retention|payload|store_|_budget)/],
  ["Logs", /^(log_|debug)/],
  ["Prices", /^(cf_pricing|pricing)/],
  ["Upstream", /(_proxy$|upstream)/],
  ["Sign-in", /^(client_id|oauth)/],
];

const REST = "More";

/** Groups in the order above, each with the settings that have the text in their name or meaning. */
export function grouped(settings: Setting[], text: string): [string, Setting[]][] {
  const wanted = text.trim().toLowerCase();
  const found = new Map<string, Setting[]>([...GROUPS.map(([title]): [string, Setting[]] => [title, []]), [REST, []]]);
  for (const setting of settings) {
    if (!`${setting.name} ${setting.meaning}`.toLowerCase().includes(wanted)) continue;
    found.get(groupOf(setting.name))?.push(setting);
  }
  return [...found].filter(([, members]) => members.length > 0);
}

function groupOf(name: string): string {
  if (name === "client_id") return "Sign-in";
  return GROUPS.find(([, pattern]) => pattern.test(name))?.[0] ?? REST;
}
