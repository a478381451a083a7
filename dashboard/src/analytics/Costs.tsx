import { colorsOf } from "../charts/colors";
import { count, dollars, percent } from "../format/numbers";
import { Panel } from "../frame/Panel";
import styles from "./Analytics.module.css";

interface Row {
  name: string | null;
  cost_usd: number | null;
  unpriced: number;
  requests: number;
}

interface Props {
  title: string;
  rows: Row[];
  /** All names, in the order that decides their colours. */
  names: (string | null)[];
}

const SHOWN = 8;

/** Who spent what: the dearest first, each as a share of all. */
export function Costs({ title, rows, names }: Props) {
  const total = rows.reduce((sum, row) => sum + (row.cost_usd ?? 0), 0);
  const unpriced = rows.reduce((sum, row) => sum + row.unpriced, 0);
  const colors = colorsOf(names);
  return (
    <Panel title={title} aside={<b>{dollars(rows.length ? total : null)}</b>}>
      <ul className={styles.shares}>
        {rows.slice(0, SHOWN).map((row) => (
          <li key={row.name ?? ""}>
            <span className="cut">{row.name ?? "none"}</span>
            <span className="number">{row.cost_usd === null ? "not known" : dollars(row.cost_usd)}</span>
            <span className="number quiet">{total > 0 ? percent((row.cost_usd ?? 0) / total) : ""}</span>
            <i aria-hidden="true">
              <i
                style={{
                  width: `${total > 0 ? ((row.cost_usd ?? 0) / total) * 100 : 0}%`,
                  background: colors.get(row.name),
                }}
              />
            </i>
          </li>
        ))}
      </ul>
      {unpriced > 0 && <p className="faint">{count(unpriced)} requests have no known price and are not in it.</p>}
    </Panel>
  );
}
