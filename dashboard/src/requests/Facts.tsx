import type { ReactNode } from "react";
import type { Exchange } from "../api/questions";
import { bytes, count, dollars, duration, percent, speed, UNKNOWN } from "../format/numbers";
import styles from "./RequestPage.module.css";

/** The numbers of a request, in three groups. */
export function Facts({ request }: { request: Exchange }) {
  const cached = request.prompt_tokens ? (request.cache_read_input_tokens ?? 0) / request.prompt_tokens : null;
  return (
    <div className={styles.facts}>
      <Group
        facts={[
          ["Model", request.model ?? UNKNOWN],
          ["Account", request.account ?? "none"],
          ["Session", <Session key="session" request={request} />],
          ["Client", clientOf(request)],
          ["Ended by", request.stop_reason ?? UNKNOWN],
        ]}
      />
      <Group
        facts={[
          ["Total time", duration(request.response_time_ms)],
          ["First byte after", duration(request.first_byte_ms)],
          ["ccflare's share of it", duration(request.own_ms)],
          ["Output speed", speed(request.output_tokens_per_second)],
          ["Sent / received", `${bytes(request.request_bytes)} / ${bytes(request.response_bytes)}`],
        ]}
      />
      <Group
        facts={[
          ["Input", tokens(request.input_tokens)],
          ["Read from cache", `${tokens(request.cache_read_input_tokens)}${cached ? `, ${percent(cached)}` : ""}`],
          ["Written to cache", tokens(request.cache_creation_input_tokens)],
          ["Output", `${tokens(request.output_tokens)}${thinking(request)}`],
          ["Cost", request.cost_usd === null ? "not known" : dollars(request.cost_usd)],
        ]}
      />
    </div>
  );
}

/** With whose key it came, where keys are asked for, and from where. */
export function clientOf({ client_key, client }: Pick<Exchange, "client_key" | "client">): string {
  return [client_key, client ?? UNKNOWN].filter(Boolean).join(", ");
}

export function Group({ facts }: { facts: [string, ReactNode][] }) {
  return (
    <dl className={`panel ${styles.group}`}>
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd className="cut">{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function Session({ request }: { request: Exchange }) {
  return request.session ? <span className="mono small">{request.session.slice(0, 12)}</span> : UNKNOWN;
}

function tokens(number: number | null): string {
  return number === null ? UNKNOWN : `${count(number)} tok`;
}

function thinking(request: Exchange): string {
  return request.thinking_tokens ? `, ${count(request.thinking_tokens)} thinking` : "";
}
