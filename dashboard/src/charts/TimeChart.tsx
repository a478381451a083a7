import { lazy, Suspense, useState } from "react";
import type { Drawn, Series } from "./series";
import styles from "./TimeChart.module.css";

/** Most of the code of a page with charts draws them. Numbers do not wait for it. */
const Drawing = lazy(() => import("./Drawing"));

interface Props extends Omit<Drawn, "height"> {
  /** What is seen, for who cannot see it. */
  label: string;
  height?: number;
}

export function TimeChart({ label, series, height = 220, ...drawn }: Props) {
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set());
  const shown = series.filter((each) => !hidden.has(each.name));
  return (
    <figure className={styles.chart} aria-label={label}>
      {series.length > 1 && (
        <Legend series={series} hidden={hidden} toggle={(name) => setHidden(toggled(hidden, name))} />
      )}
      <div aria-hidden="true" style={{ height }}>
        <Suspense>
          <Drawing {...drawn} series={shown} height={height} />
        </Suspense>
      </div>
    </figure>
  );
}

function Legend({
  series,
  hidden,
  toggle,
}: {
  series: Series[];
  hidden: ReadonlySet<string>;
  toggle: (name: string) => void;
}) {
  return (
    <ul className={styles.legend}>
      {series.map(({ name, label, color }) => (
        <li key={name}>
          <button type="button" aria-pressed={!hidden.has(name)} onClick={() => toggle(name)}>
            <i style={{ background: color }} aria-hidden="true" />
            {label}
          </button>
        </li>
      ))}
    </ul>
  );
}

function toggled(hidden: ReadonlySet<string>, name: string): ReadonlySet<string> {
  const changed = new Set(hidden);
  if (!changed.delete(name)) changed.add(name);
  return changed;
}
