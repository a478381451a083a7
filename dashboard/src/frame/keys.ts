/** The keyboard: `/` goes to the filter, `g` and a letter to a page, `?` lists all this. */

import { useEffect, useRef } from "react";
import { useLocation } from "wouter";
import { PAGES } from "./pages";

const SECOND_KEY_WITHIN_MS = 1500;

/** `data-filter` marks the field that `/` goes to. */
export const FILTER = { "data-filter": "" } as const;

export function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  const combobox = target.getAttribute("role") === "combobox";
  return combobox || target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName);
}

export function useKeys(showList: () => void): void {
  const [, go] = useLocation();
  const latest = useRef({ go, showList });
  latest.current = { go, showList };
  useEffect(() => {
    let afterG = 0;
    function press(event: KeyboardEvent): void {
      if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
      if (document.querySelector("[role=dialog]")) return;
      const page = event.timeStamp - afterG < SECOND_KEY_WITHIN_MS && PAGES.find((each) => each.letter === event.key);
      afterG = event.key === "g" ? event.timeStamp : Number.NEGATIVE_INFINITY;
      if (page) latest.current.go(page.path);
      else if (event.key === "?") latest.current.showList();
      else if (event.key === "/") focusFilter(event);
    }
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  }, []);
}

function focusFilter(event: KeyboardEvent): void {
  const field = document.querySelector<HTMLElement>("[data-filter]");
  if (!field) return;
  event.preventDefault();
  field.focus();
}
