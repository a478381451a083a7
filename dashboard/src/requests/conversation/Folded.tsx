import { useState } from "react";
import { count } from "../../format/numbers";
import styles from "./ConversationView.module.css";

const LINES = 24;
const CHARACTERS = 2_400;

/** Text as it is; a long one is folded until somebody wants all of it. */
export function Folded({ text, mono = false }: { text: string; mono?: boolean }) {
  const [open, setOpen] = useState(false);
  const end = cutAt(text);
  const isLong = end < text.length;
  return (
    <div>
      <div className={`${styles.text} ${mono ? styles.code : ""}`} data-cut={(isLong && !open) || undefined}>
        {open ? text : text.slice(0, end)}
      </div>
      {isLong && (
        <button type="button" className={styles.fold} onClick={() => setOpen(!open)} aria-expanded={open}>
          {open ? "Fold" : `Show all ${count(text.length)} characters`}
        </button>
      )}
    </div>
  );
}

/** Where the shown part ends: a text that is hardly longer than that is shown whole. */
function cutAt(text: string): number {
  let at = 0;
  for (let line = 0; line < LINES && at !== -1; line++) at = text.indexOf("\n", at + 1);
  const end = Math.min(at === -1 ? text.length : at, CHARACTERS);
  return text.length <= end * 1.2 ? text.length : end;
}
