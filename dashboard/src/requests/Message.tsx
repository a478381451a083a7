import { useMemo } from "react";
import type { Details } from "../api/questions";
import { bytes } from "../format/numbers";
import { CopyButton } from "./CopyButton";
import { Folded } from "./conversation/Folded";
import styles from "./RequestPage.module.css";

type Kept = NonNullable<Details["payload"]>["request"];

/** One side as it was on the wire: first line, headers, body. Credentials are masked by the server. */
export function Message({ line, message }: { line: string; message: Kept }) {
  const { body } = message;
  const shown = useMemo(() => (body.encoding === "text" ? indented(body.content) : body.content), [body]);
  return (
    <div className="stack">
      <p className="mono">{line}</p>
      <table className={styles.headers}>
        <tbody>
          {message.headers.map(([name, value], index) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: a name may be there twice, and nothing moves
            <tr key={index}>
              <th scope="row">{name}</th>
              <td>{value}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <div className="row">
        <h3>Body</h3>
        <span className="faint">
          {bytes(body.length)} on the wire
          {body.decoded && `, ${body.decoded} taken off`}
          {body.truncated && `, only ${bytes(body.kept)} kept`}
          {body.encoding === "base64" && ", shown as base64"}
        </span>
        {body.content && (
          <span className="aside">
            <CopyButton text={() => body.content} name="text" />
          </span>
        )}
      </div>
      {body.content ? <Folded text={shown} mono /> : <p className="faint">No body.</p>}
    </div>
  );
}

function indented(text: string): string {
  if (!/^\s*[[{]/.test(text)) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
