import { ActionIcon, Button, CopyButton, Tooltip } from "@mantine/core";
import { Check, Copy, Plus } from "lucide-react";
import { useState } from "react";
import { Link } from "wouter";
import { AddAccount } from "../accounts/AddAccount";
import { StateSign } from "../accounts/StateSign";
import { Why } from "../accounts/Why";
import { type Account, useSession } from "../api/questions";
import { useNow } from "../format/clock";
import { span } from "../format/time";
import { LiveSign } from "../requests/LiveSign";
import { ageOf, useRunning } from "../requests/running";
import { firstCall } from "./firstCall";
import styles from "./Welcome.module.css";

/** An installation that has served nothing yet: three steps to the first answer. */
export default function Welcome({ accounts = [] }: { accounts?: Account[] }) {
  const [adding, setAdding] = useState(false);
  const needsKey = useSession().data?.required ?? false;
  const hasOne = accounts.length > 0;
  return (
    <section className={styles.welcome} aria-label="First steps">
      <h2>Three steps to the first answer</h2>
      <ol className={styles.steps}>
        <li data-done={hasOne || undefined}>
          <h3>Add an account</h3>
          {hasOne ? (
            <Added accounts={accounts} />
          ) : (
            <p className="quiet">An API key of yours, or a sign-in. Add several, and requests are spread over them.</p>
          )}
          <Button
            variant={hasOne ? "default" : "filled"}
            leftSection={<Plus size={15} />}
            onClick={() => setAdding(true)}
          >
            {hasOne ? "Add another" : "Add account"}
          </Button>
          {!hasOne && (
            <p className="faint">
              In a terminal: <code>ccflare --add-account NAME --api-key</code>
            </p>
          )}
        </li>
        <li>
          <h3>Point your client here</h3>
          <p className="quiet">
            Claude Code, the SDKs, and everything else that speaks this API.{" "}
            {needsKey ? (
              <>
                It needs a <Link href="/keys">client key</Link> in <code>ANTHROPIC_API_KEY</code>.
              </>
            ) : (
              "Any key will do there."
            )}
          </p>
          <CopyLine text={`export ANTHROPIC_BASE_URL=${location.origin}`} name="Copy the line" />
        </li>
        <li>
          <h3>Send something</h3>
          <p className="quiet">
            The first request appears here by itself.{hasOne && " Without a client at hand, in a terminal:"}
          </p>
          {hasOne && <CopyLine text={firstCall(location.origin, needsKey)} name="Copy the command" />}
          <FirstRequest />
        </li>
      </ol>
      <AddAccount opened={adding} onClose={() => setAdding(false)} />
    </section>
  );
}

function Added({ accounts }: { accounts: Account[] }) {
  return (
    <ul className={styles.added}>
      {accounts.map((account) => (
        <li key={account.id}>
          <Link href="/accounts">{account.name}</Link> <StateSign state={account.state} />
          <Why account={account} />
        </li>
      ))}
    </ul>
  );
}

function FirstRequest() {
  const now = useNow();
  const [first] = useRunning().shown;
  if (!first) return null;
  return (
    <p>
      <LiveSign /> {first.request.model ?? first.request.path} {span(ageOf(first, now))}
    </p>
  );
}

function CopyLine({ text, name }: { text: string; name: string }) {
  return (
    <div className={styles.line}>
      <code>{text}</code>
      <CopyButton value={text} timeout={1600}>
        {({ copied, copy }) => (
          <Tooltip label={copied ? "Copied" : "Copy"}>
            <ActionIcon aria-label={copied ? "Copied" : name} onClick={copy}>
              {copied ? <Check size={15} /> : <Copy size={15} />}
            </ActionIcon>
          </Tooltip>
        )}
      </CopyButton>
    </div>
  );
}
