import { Link } from "wouter";
import type { Analytics, Measures } from "../api/questions";
import { brief, count, dollars, duration, percent, speed } from "../format/numbers";
import { ScrollTable } from "../frame/ScrollTable";

type Numbers = Omit<Measures, "model">;

interface Row extends Numbers {
  id: string;
  name: string;
  /** Where its requests are; null: nobody knows what it was. */
  href: string | null;
}

export function modelRow(row: Analytics["models"][number]): Row {
  const href = row.model && `/requests?model=${encodeURIComponent(row.model)}`;
  return { ...row, id: row.model ?? "", name: row.model ?? "unknown", href };
}

export function keyRow(row: Analytics["client_keys"][number]): Row {
  const name = row.id === null ? "no key" : `${row.name ?? row.id}${row.revoked ? " (revoked)" : ""}`;
  return { ...row, id: row.id ?? "", name, href: `/requests?client_key=${encodeURIComponent(row.id ?? "none")}` };
}

/** The measures of several things side by side. `kind` is what they are. */
export function MeasureTable({ kind, rows }: { kind: string; rows: Row[] }) {
  return (
    <ScrollTable name={`${kind}s`}>
      <table className="table">
        <thead>
          <tr>
            <th scope="col">{kind}</th>
            <th scope="col" className="number">
              Requests
            </th>
            <th scope="col" className="number">
              Failed
            </th>
            <th scope="col" className="number">
              Median
            </th>
            <th scope="col" className="number">
              95 % within
            </th>
            <th scope="col" className="number">
              99 % within
            </th>
            <th scope="col" className="number">
              Output speed
            </th>
            <th scope="col" className="number">
              Cache hits
            </th>
            <th scope="col" className="number">
              Tokens
            </th>
            <th scope="col" className="number">
              Cost
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map((each) => (
            <tr key={each.id}>
              <td>
                {each.href ? <Link href={each.href}>{each.name}</Link> : <span className="quiet">{each.name}</span>}
              </td>
              <td className="number">{count(each.requests)}</td>
              <td className="number">{percent(each.error_rate)}</td>
              <td className="number">{duration(each.p50_response_time_ms)}</td>
              <td className="number">{duration(each.p95_response_time_ms)}</td>
              <td className="number">{duration(each.p99_response_time_ms)}</td>
              <td className="number">{speed(each.output_tokens_per_second)}</td>
              <td className="number">{percent(each.cache_hit_rate)}</td>
              <td className="number">{brief(each.tokens.total_tokens)}</td>
              <td className="number">{dollars(each.cost_usd)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </ScrollTable>
  );
}
