import type { ReactNode } from "react";

interface Props {
  title: string;
  aside?: ReactNode;
  className?: string | undefined;
  children: ReactNode;
}

export function Panel({ title, aside, className = "", children }: Props) {
  return (
    <section className={`panel ${className}`} aria-label={title}>
      <header>
        <h2>{title}</h2>
        {aside}
      </header>
      <div className="inside">{children}</div>
    </section>
  );
}
