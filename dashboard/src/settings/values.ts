/** The value of a setting between the server's JSON and a form's field. */

import type { Setting } from "../api/questions";
import { bytes } from "../format/numbers";
import { span } from "../format/time";

export type Value = Setting["value"];
export type Field = "switch" | "choice" | "number" | "list" | "text";

export function fieldOf(setting: Setting): Field {
  if (typeof setting.value === "boolean") return "switch";
  if (setting.choices) return "choice";
  if (typeof setting.value === "number") return "number";
  return Array.isArray(setting.value) ? "list" : "text";
}

export function shown(value: Value): string {
  if (Array.isArray(value)) return value.join(", ") || "none";
  if (typeof value === "boolean") return value ? "on" : "off";
  return String(value) || "empty";
}

/** How a value stands in its field; the digits of a number in groups of three. */
export function typedOf(value: Value): string {
  if (Array.isArray(value)) return value.join(", ");
  return typeof value === "number" ? String(value).replace(/\B(?=(\d{3})+(\.|$))/g, " ") : String(value);
}

/** Null where it is no plain number: `1e9` and `1 GB` mean something, but not what their digits say. */
export function numberFrom(text: string): number | null {
  const digits = text.replace(/(\d)\s+(?=\d{3}\b)/g, "$1").trim();
  return /^-?\d+(\.\d+)?$/.test(digits) ? Number(digits) : null;
}

export function listFrom(text: string): string[] {
  return text
    .split(/[\s,]+/)
    .map((each) => each.trim())
    .filter(Boolean);
}

/** Whether the value is nobody else's to see. */
export function isSecret({ name }: Setting): boolean {
  return /secret|password/.test(name);
}

/** Whether it has the value that it has without anybody's doing. */
export function isDefault(setting: Setting): boolean {
  return String(setting.value) === setting.default;
}

/** Where a change of the file would not count. */
export function isOverridden(setting: Setting): boolean {
  return setting.source === "environment" || setting.source === "flag";
}

/** A number with its unit as people say it; null where the number says enough. */
export function inWords({ name, value }: Setting): string | null {
  if (typeof value !== "number") return null;
  if (name.endsWith("_ms") && value >= 1000) return `= ${span(value)}`;
  if (name.endsWith("_bytes") && value >= 1000) return `= ${bytes(value)}`;
  return null;
}
