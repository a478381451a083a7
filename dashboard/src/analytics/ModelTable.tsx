import { Link } from "wouter";
import type { Analytics } from "../api/questions";
import { brief, count, dollars, duration, percent, speed } from "../format/numbers";
import { ScrollTable } from "../frame/ScrollTable";

export function ModelTable({ models }: { models: Analytics["models"] }) {
  return (
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
          {models.map((each) => (
            <tr key={each.model ?? ""}>
              <td>
                {each.model ? (
                  <Link href={`/requests?model=${encodeURIComponent(each.model)}`}>{each.model}</Link>
                ) : (
                  <span className="quiet">unknown</span>
                )}
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
