import type { ReactNode } from "react";

/** A table that may be wider than the page. It takes the focus, so that arrow keys can move it. */
export function ScrollTable({ name, children }: { name: string; children: ReactNode }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: who has no mouse moves it by the keyboard
    <section className="scroll-x" aria-label={`${name}, table`} tabIndex={0}>
      {children}
    </section>
  );
}
