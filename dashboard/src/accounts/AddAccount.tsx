import { Button, Modal, NumberInput, PasswordInput, SegmentedControl, TextInput } from "@mantine/core";
import { ExternalLink } from "lucide-react";
import { type FormEvent, useEffect, useState } from "react";
import { type Account, accounts, useChange } from "../api/questions";
import { useNow } from "../format/clock";
import { milliseconds, span } from "../format/time";
import { tell } from "../frame/notices";
import styles from "./Accounts.module.css";

interface Props {
  opened: boolean;
  onClose: () => void;
}

export function AddAccount({ opened, onClose }: Props) {
  const [way, setWay] = useState("key");
  return (
    <Modal opened={opened} onClose={onClose} title="Add an account">
      <div className="stack">
        <SegmentedControl
          fullWidth
          aria-label="How"
          value={way}
          onChange={setWay}
          data={[
            { value: "key", label: "By API key" },
            { value: "sign-in", label: "By sign-in (OAuth)" },
          ]}
        />
        {way === "key" ? <ByKey onDone={onClose} /> : <BySignIn onDone={onClose} />}
      </div>
    </Modal>
  );
}

/** To sign in again to an account that is there. */
export function SignIn({ account, opened, onClose }: Props & { account: Account }) {
  return (
    <Modal opened={opened} onClose={onClose} title={`Sign in again: ${account.name}`}>
      <BySignIn account={account} onDone={onClose} />
    </Modal>
  );
}

function ByKey({ onDone }: { onDone: () => void }) {
  const [name, setName] = useState("");
  const [key, setKey] = useState("");
  const [address, setAddress] = useState("");
  const [priority, setPriority] = useState<number | string>(0);
  const add = useChange(accounts.add, (account) => {
    tell(`${account.name} is added and serves the next request.`);
    onDone();
  });
  function submit(event: FormEvent): void {
    event.preventDefault();
    const account = {
      name: name.trim(),
      api_key: key.trim(),
      priority: Number(priority),
      tier: 1,
      base_url: address.trim() || null,
    };
    add.mutate(account);
  }
  return (
    <form onSubmit={submit} className="stack" autoComplete="off">
      <TextInput
        label="Name"
        placeholder="work"
        required
        data-autofocus
        maxLength={100}
        value={name}
        onChange={(event) => setName(event.currentTarget.value)}
      />
      <PasswordInput
        label="API key"
        description="Stored here and never shown again."
        required
        autoComplete="new-password"
        value={key}
        onChange={(event) => setKey(event.currentTarget.value)}
      />
      <details>
        <summary className={styles.summary}>More</summary>
        <div className={styles.more}>
          <NumberInput
            label="Priority"
            description="Lower numbers are used first."
            allowDecimal={false}
            value={priority}
            onChange={setPriority}
          />
          <TextInput
            label="Address"
            description="Empty: the provider's own."
            placeholder="https://api.example.com"
            value={address}
            onChange={(event) => setAddress(event.currentTarget.value)}
          />
        </div>
      </details>
      <Problem error={add.error} />
      <Button type="submit" loading={add.isPending} disabled={!name.trim() || !key.trim()}>
        Add account
      </Button>
    </form>
  );
}

/** Two steps: go to the provider, bring back the code. */
function BySignIn({ account, onDone }: { account?: Account; onDone: () => void }) {
  const [name, setName] = useState("");
  const [mode, setMode] = useState<"max" | "console">("max");
  const begin = useChange<SecondProps["begun"], void>(() =>
    account ? accounts.beginSignInAgain(account.id) : accounts.beginSignIn({ name: name.trim(), mode }),
  );
  function submit(event: FormEvent): void {
    event.preventDefault();
    begin.mutate();
  }
  if (begin.data) return <Second begun={begin.data} again={begin.reset} onDone={onDone} />;
  return (
    <form onSubmit={submit} className="stack">
      <p className="quiet small">Only accounts you own, under your provider's terms.</p>
      {!account && (
        <>
          <TextInput
            label="Name"
            placeholder="work"
            required
            data-autofocus
            maxLength={100}
            value={name}
            onChange={(event) => setName(event.currentTarget.value)}
          />
          <SegmentedControl
            fullWidth
            aria-label="Kind"
            value={mode}
            onChange={(value) => setMode(value as "max" | "console")}
            data={[
              { value: "max", label: "Subscription" },
              { value: "console", label: "Console (makes a key)" },
            ]}
          />
        </>
      )}
      <Problem error={begin.error} />
      <Button type="submit" loading={begin.isPending} disabled={!account && !name.trim()}>
        Begin
      </Button>
    </form>
  );
}

interface SecondProps {
  begun: { auth_url: string; flow_id: string; expires_at: string };
  again: () => void;
  onDone: () => void;
}

function Second({ begun, again, onDone }: SecondProps) {
  const [code, setCode] = useState("");
  const left = milliseconds(begun.expires_at) - useNow();
  const complete = useChange(accounts.completeSignIn, (account) => {
    tell(`${account.name} is signed in and serves the next request.`);
    onDone();
  });
  const isOver = left <= 0;
  useEffect(() => {
    if (isOver) setCode("");
  }, [isOver]);
  function submit(event: FormEvent): void {
    event.preventDefault();
    complete.mutate({ code: code.trim(), flow_id: begun.flow_id });
  }
  return (
    <form onSubmit={submit} className="stack">
      <ol className={styles.steps}>
        <li>
          <p>Allow access at your provider. It shows a code at the end.</p>
          {/^https?:/.test(begun.auth_url) && (
            <Button
              component="a"
              href={begun.auth_url}
              target="_blank"
              rel="noreferrer"
              variant="default"
              rightSection={<ExternalLink size={14} />}
            >
              Open the provider's page
            </Button>
          )}
        </li>
        <li>
          <TextInput
            label="Paste the complete code here"
            description="It looks like code#state."
            autoComplete="off"
            required
            disabled={isOver}
            value={code}
            onChange={(event) => setCode(event.currentTarget.value)}
          />
        </li>
      </ol>
      <p className="faint">{isOver ? "This sign-in is over; begin again." : `Good for ${span(left)}.`}</p>
      <Problem error={complete.error} />
      <div className="row">
        <Button variant="default" className="aside" onClick={again}>
          Begin again
        </Button>
        <Button type="submit" loading={complete.isPending} disabled={!code.trim() || isOver}>
          Sign in
        </Button>
      </div>
    </form>
  );
}

function Problem({ error }: { error: Error | null }) {
  return error ? (
    <p className={styles.problem} role="alert">
      {error.message}
    </p>
  ) : null;
}
