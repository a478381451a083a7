import { ActionIcon, Button, CopyButton, Tooltip } from "@mantine/core";
import { Check, Copy, Plus } from "lucide-react";
import { useState } from "react";
import { AddAccount } from "../accounts/AddAccount";
import styles from "./Welcome.module.css";

/** An installation without an account: three steps to the first answer. */
export default function Welcome() {
  const [adding, setAdding] = useState(false);
  const lines = `export ANTHROPIC_BASE_URL=${location.origin}`;
  return (
    <section className={styles.welcome} aria-label="First steps">
      <h2>Three steps to the first answer</h2>
      <ol className={styles.steps}>
        <li>
          <h3>Add an account</h3>
          <p className="quiet">An API key of yours, or a sign-in. Add several, and requests are spread over them.</p>
          <Button leftSection={<Plus size={15} />} onClick={() => setAdding(true)}>
            Add account
          </Button>
          <p className="faint">
            In a terminal: <code>ccflare --add-account NAME --api-key</code>
          </p>
        </li>
        <li>
          <h3>Point your client here</h3>
          <p className="quiet">
            Claude Code, the SDKs, and everything else that speaks this API. Any key will do there.
          </p>
          <CopyLine text={lines} />
        </li>
        <li>
          <h3>Send something</h3>
          <p className="quiet">The first request appears here by itself.</p>
        </li>
      </ol>
      <AddAccount opened={adding} onClose={() => setAdding(false)} />
    </section>
  );
}

function CopyLine({ text }: { text: string }) {
  return (
    <div className={styles.line}>
      <code className="cut">{text}</code>
      <CopyButton value={text} timeout={1600}>
        {({ copied, copy }) => (
          <Tooltip label={copied ? "Copied" : "Copy"}>
            <ActionIcon aria-label={copied ? "Copied" : "Copy the line"} onClick={copy}>
              {copied ? <Check size={15} /> : <Copy size={15} />}
            </ActionIcon>
          </Tooltip>
        )}
      </CopyButton>
    </div>
  );
}
