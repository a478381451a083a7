import { SegmentedControl } from "@mantine/core";
import { type ReactNode, useState } from "react";
import type { Details } from "../api/questions";
import { Message } from "./Message";
import styles from "./RequestPage.module.css";

type Side = "request" | "response";

const SIDES = [
  { value: "request", label: "Request" },
  { value: "response", label: "Response" },
];

interface Props {
  method: string;
  payload: NonNullable<Details["payload"]>;
  children: ReactNode;
}

/** What was said, and beside it what was sent. */
export function Beside({ method, payload, children }: Props) {
  const [side, setSide] = useState<Side>("request");
  return (
    <div className={styles.beside}>
      {children}
      <section className={styles.raw} aria-label="Raw">
        <SegmentedControl
          size="xs"
          aria-label="Which side is shown raw"
          data={SIDES}
          value={side}
          onChange={(value) => setSide(value as Side)}
        />
        <Side key={side} side={side} method={method} payload={payload} />
      </section>
    </div>
  );
}

/** One side of a request, as it was on the wire. */
export function Side({ side, method, payload }: Omit<Props, "children"> & { side: Side }) {
  if (side === "request") return <Message line={`${method} ${payload.target}`} message={payload.request} />;
  const line = payload.status === null ? "No answer" : `Status ${payload.status}`;
  return <Message line={line} message={payload.response} />;
}
