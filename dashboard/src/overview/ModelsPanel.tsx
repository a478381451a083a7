import { Link } from "wouter";
import type { Analytics } from "../api/questions";
import { brief, count, dollars, duration, percent, speed } from "../format/numbers";
import { Panel } from "../frame/Panel";
import { ScrollTable } from "../frame/ScrollTable";
import { Empty } from "../frame/states";

const SHOWN = 5;

export function ModelsPanel({ analytics }: { analytics: Analytics }) {
  const models = analytics.models.slice(0, SHOWN);
  return (
    <Panel
      title="Models"
      aside={
        <Link href={`/analytics?range=${analytics.range}`} className="small quiet">
          Compare
        </Link>
      }
    >
      {models.length === 0 ? (
        <Empty title="No requests in this period" />
      ) : (
        <ScrollTable name="Models">
          <table className="table">
            <thead>
              <tr>
                <th scope="col">Model</th>
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
                  Speed
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
              {models.map((model) => (
                <tr key={model.model ?? ""}>
                  <td>{model.model ?? <span className="quiet">unknown</span>}</td>
                  <td className="number">{count(model.requests)}</td>
                  <td className="number">{percent(model.error_rate)}</td>
                  <td className="number">{duration(model.p50_response_time_ms)}</td>
                  <td className="number">{speed(model.output_tokens_per_second)}</td>
                  <td className="number">{brief(model.tokens.total_tokens)}</td>
                  <td className="number">{dollars(model.cost_usd)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </ScrollTable>
      )}
    </Panel>
  );
}
