import { ActionIcon, Button, Menu } from "@mantine/core";
import { EllipsisVertical, KeyRound, ListOrdered, Pause, Pencil, Play, Trash2 } from "lucide-react";
import { useState } from "react";
import { type Account, accounts, useChange } from "../api/questions";
import { tell, tellError } from "../frame/notices";
import { SignIn } from "./AddAccount";
import { ChangePriority, Remove, Rename } from "./dialogs";

type Dialog = "rename" | "priority" | "remove" | "sign-in";

export function AccountActions({ account }: { account: Account }) {
  const [dialog, setDialog] = useState<Dialog | null>(null);
  const close = () => setDialog(null);
  const waits = account.state === "rate_limited" || account.asides.length > 0;
  const again = useChange<unknown, void>(() => accounts.resume(account.id));
  const tryAgain = () =>
    again.mutate(undefined, { onSuccess: () => tell(`${account.name} is tried again.`), onError: tellError });
  return (
    <>
      <PauseOrResume account={account} />
      <Menu position="bottom-end" shadow="md">
        <Menu.Target>
          <ActionIcon aria-label={`More for ${account.name}`}>
            <EllipsisVertical size={17} />
          </ActionIcon>
        </Menu.Target>
        <Menu.Dropdown>
          {waits && (
            <Menu.Item leftSection={<Play size={15} />} onClick={tryAgain}>
              Try again now
            </Menu.Item>
          )}
          <Menu.Item leftSection={<Pencil size={15} />} onClick={() => setDialog("rename")}>
            Rename
          </Menu.Item>
          <Menu.Item leftSection={<ListOrdered size={15} />} onClick={() => setDialog("priority")}>
            Change priority
          </Menu.Item>
          {account.kind === "oauth" && (
            <Menu.Item leftSection={<KeyRound size={15} />} onClick={() => setDialog("sign-in")}>
              Sign in again
            </Menu.Item>
          )}
          <Menu.Item color="var(--bad)" leftSection={<Trash2 size={15} />} onClick={() => setDialog("remove")}>
            Remove
          </Menu.Item>
        </Menu.Dropdown>
      </Menu>
      <Rename account={account} opened={dialog === "rename"} onClose={close} />
      <ChangePriority account={account} opened={dialog === "priority"} onClose={close} />
      <Remove account={account} opened={dialog === "remove"} onClose={close} />
      <SignIn account={account} opened={dialog === "sign-in"} onClose={close} />
    </>
  );
}

function PauseOrResume({ account }: { account: Account }) {
  const pauses = account.state === "active" || account.state === "rate_limited";
  const change = useChange<unknown, void>(
    () => (pauses ? accounts.pause(account.id, null) : accounts.resume(account.id)),
    () => tell(`${account.name} is ${pauses ? "paused" : "used again"}.`),
  );
  return (
    <Button
      variant="default"
      leftSection={pauses ? <Pause size={13} /> : <Play size={13} />}
      loading={change.isPending}
      disabled={account.state === "expired"}
      aria-label={`${pauses ? "Pause" : "Resume"} ${account.name}`}
      onClick={() => change.mutate(undefined, { onError: tellError })}
    >
      {pauses ? "Pause" : "Resume"}
    </Button>
  );
}
