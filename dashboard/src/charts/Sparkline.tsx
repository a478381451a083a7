import styles from "./Sparkline.module.css";
import { segments } from "./segments";

const WIDTH = 100;
const HEIGHT = 26;

/** The course of a number, without axes: a shape to glance at. Gaps stay gaps. */
export function Sparkline({ values }: { values: (number | null)[] }) {
  const lines = segments(values, WIDTH, HEIGHT);
  return (
    <svg className={styles.spark} viewBox={`0 -2 ${WIDTH} ${HEIGHT + 4}`} preserveAspectRatio="none" aria-hidden="true">
      {lines.map((points) => (
        <polyline key={points} points={points} vectorEffect="non-scaling-stroke" />
      ))}
    </svg>
  );
}
