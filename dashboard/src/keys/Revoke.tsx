import { TextInput } from "@mantine/core";
import { useState } from "react";
import { FormDialog } from "../accounts/dialogs";
import { type ClientKey, clientKeys, useSession } from "../api/questions";

export function Revoke({ revoked, onClose }: { revoked: ClientKey; onClose: () => void }) {
  const { data: session } = useSession();
  const [typed, setTyped] = useState("");
  const { id, name } = revoked;
  return (
    <FormDialog
      title={`Revoke ${name}`}
      action="Revoke"
      dangerous
      opened
      onClose={onClose}
      ready={typed === name}
      run={() => clientKeys.revoke(id, typed)}
      done={`${name} lets nobody in any more.`}
    >
      {(error) => (
        <>
          <p>
            Whoever has this key is refused from the next request on. It cannot be taken back; its requests keep its
            name.
          </p>
          {session?.key === name && <p role="note">You are signed in with this key: it will sign you out.</p>}
          <TextInput
            label={`Type ${name} to confirm`}
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
