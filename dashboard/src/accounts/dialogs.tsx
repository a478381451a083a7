/** What changes an account: each a small form that says what it will do, and keeps what was typed when it fails. */

import { Button, Modal, NumberInput, TextInput } from "@mantine/core";
import { type FormEvent, type ReactNode, useEffect, useState } from "react";
import type { Refused } from "../api/client";
import { type Account, accounts, useChange } from "../api/questions";
import { tell } from "../frame/notices";

export interface DialogProps {
  account: Account;
  opened: boolean;
  onClose: () => void;
}

interface FormProps {
  title: string;
  action: string;
  opened: boolean;
  onClose: () => void;
  run: () => Promise<unknown>;
  done: string;
  dangerous?: boolean;
  ready?: boolean;
  children: (error: string | null) => ReactNode;
}

export function FormDialog({
  title,
  action,
  opened,
  onClose,
  run,
  done,
  dangerous = false,
  ready = true,
  children,
}: FormProps) {
  const change = useChange<unknown, void>(run, () => {
    tell(done);
    onClose();
  });
  const error = (change.error as Refused | null)?.message ?? null;
  // biome-ignore lint/correctness/useExhaustiveDependencies: an old error is forgotten when the dialog opens again
  useEffect(() => change.reset(), [opened]);
  function submit(event: FormEvent): void {
    event.preventDefault();
    if (!ready || change.isPending) return;
    change.mutate();
  }
  return (
    <Modal opened={opened} onClose={onClose} title={title}>
      <form onSubmit={submit} className="stack">
        {children(error)}
        <div className="row">
          <Button variant="default" className="aside" onClick={onClose}>
            Cancel
          </Button>
          <Button type="submit" loading={change.isPending} disabled={!ready} {...(dangerous && { color: "red" })}>
            {action}
          </Button>
        </div>
      </form>
    </Modal>
  );
}

export function Rename({ account, opened, onClose }: DialogProps) {
  const [name, setName] = useState(account.name);
  return (
    <FormDialog
      title={`Rename ${account.name}`}
      action="Rename"
      opened={opened}
      onClose={onClose}
      ready={name.trim() !== "" && name !== account.name}
      run={() => accounts.rename(account.id, name.trim())}
      done={`${account.name} is now called ${name.trim()}.`}
    >
      {(error) => (
        <TextInput
          label="Name"
          description="Its history stays with it."
          value={name}
          error={error}
          data-autofocus
          maxLength={100}
          onChange={(event) => setName(event.currentTarget.value)}
        />
      )}
    </FormDialog>
  );
}

export function ChangePriority({ account, opened, onClose }: DialogProps) {
  const [priority, setPriority] = useState<number | string>(account.priority);
  return (
    <FormDialog
      title={`Priority of ${account.name}`}
      action="Change"
      opened={opened}
      onClose={onClose}
      ready={typeof priority === "number"}
      run={() => accounts.setPriority(account.id, Number(priority))}
      done={`${account.name} has priority ${priority}.`}
    >
      {(error) => (
        <NumberInput
          label="Priority"
          description="New sessions go to the lowest number that can serve. Accounts with the same number share the load."
          value={priority}
          error={error}
          allowDecimal={false}
          data-autofocus
          onChange={setPriority}
        />
      )}
    </FormDialog>
  );
}

export function Remove({ account, opened, onClose }: DialogProps) {
  const [typed, setTyped] = useState("");
  return (
    <FormDialog
      title={`Remove ${account.name}`}
      action="Remove"
      dangerous
      opened={opened}
      onClose={onClose}
      ready={typed === account.name}
      run={() => accounts.remove(account.id, typed)}
      done={`${account.name} is removed.`}
    >
      {(error) => (
        <>
          <p>The account and its credential are deleted for good. Its requests stay in the history.</p>
          <TextInput
            label={`Type ${account.name} to confirm`}
            value={typed}
            error={error}
            autoComplete="off"
            data-autofocus
            onChange={(event) => setTyped(event.currentTarget.value)}
          />
        </>
      )}
    </FormDialog>
  );
}
