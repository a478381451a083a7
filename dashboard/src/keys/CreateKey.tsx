import { Button, CopyButton, Modal, SegmentedControl, Switch, TextInput } from "@mantine/core";
import { Check, Copy } from "lucide-react";
import { type FormEvent, useState } from "react";
import type { Schemas } from "../api/client";
import { clientKeys, useChange } from "../api/questions";
import styles from "./Keys.module.css";

type Role = Schemas["KeyView"]["role"];

const MEANINGS: Record<Role, string> = {
  proxy: "May send requests to the accounts, nothing else.",
  admin: "May also use this dashboard and the API.",
};

interface Props {
  /** There is no admin's yet: it has to be one. */
  first: boolean;
  onClose: () => void;
}

export function CreateKey({ first, onClose }: Props) {
  const [made, setMade] = useState<Schemas["KeyMade"] | null>(null);
  return (
    <Modal
      opened
      onClose={onClose}
      title={made ? `The key ${made.made.name}` : "Create a key"}
      size={made ? "lg" : "md"}
      closeOnClickOutside={!made}
      closeOnEscape={!made}
      withCloseButton={!made}
    >
      {made ? <Shown made={made} onDone={onClose} /> : <Form first={first} onMade={setMade} />}
    </Modal>
  );
}

function Form({ first, onMade }: { first: boolean; onMade: (made: Schemas["KeyMade"]) => void }) {
  const [name, setName] = useState("");
  const [role, setRole] = useState<Role>(first ? "admin" : "proxy");
  const [keeps, setKeeps] = useState(true);
  const create = useChange(clientKeys.create, onMade);
  function submit(event: FormEvent): void {
    event.preventDefault();
    create.mutate({ name: name.trim(), role, store_payloads: keeps });
  }
  return (
    <form onSubmit={submit} className="stack" autoComplete="off">
      <TextInput
        label="Name"
        description="Of the person, machine or program that will have it."
        placeholder="laptop"
        required
        data-autofocus
        maxLength={100}
        value={name}
        error={create.error?.message}
        onChange={(event) => setName(event.currentTarget.value)}
      />
      <div>
        <SegmentedControl
          fullWidth
          aria-label="Role"
          value={role}
          disabled={first}
          onChange={(value) => setRole(value as Role)}
          data={["proxy", "admin"]}
        />
        <p className="faint">
          {MEANINGS[role]}
          {first && " The first key is an admin’s: without one nobody could get in here."}
        </p>
      </div>
      <Switch
        label="Keep what is said with it"
        description="Off: its requests are recorded without their bodies."
        checked={keeps}
        onChange={(event) => setKeeps(event.currentTarget.checked)}
      />
      <Button type="submit" loading={create.isPending} disabled={!name.trim()}>
        Create key
      </Button>
    </form>
  );
}

/** The one time that the key is seen. */
function Shown({ made, onDone }: { made: Schemas["KeyMade"]; onDone: () => void }) {
  return (
    <div className="stack">
      <p>Copy it now: it is shown this once, and only its hash is kept.</p>
      <div className={styles.shown}>
        <TextInput
          aria-label="The key"
          readOnly
          data-autofocus
          value={made.key}
          classNames={{ input: "mono" }}
          onFocus={(event) => event.currentTarget.select()}
        />
        <CopyButton value={made.key} timeout={1600}>
          {({ copied, copy }) => (
            <Button variant="default" leftSection={copied ? <Check size={14} /> : <Copy size={14} />} onClick={copy}>
              {copied ? "Copied" : "Copy"}
            </Button>
          )}
        </CopyButton>
      </div>
      <p className="faint">
        Programs take it as <code>ANTHROPIC_API_KEY</code>, with <code>ANTHROPIC_BASE_URL={location.origin}</code>.
      </p>
      <Button onClick={onDone}>I have it</Button>
    </div>
  );
}
