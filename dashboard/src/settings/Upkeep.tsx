import { Button, TextInput } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { FormDialog } from "../accounts/dialogs";
import { upkeep } from "../api/questions";
import { tell, tellError } from "../frame/notices";
import { Panel } from "../frame/Panel";
import styles from "./Settings.module.css";

const WORD = "clear";

/** What is done with the history by hand. */
export function Upkeep() {
  const queries = useQueryClient();
  const [clearing, setClearing] = useState(false);
  const [typed, setTyped] = useState("");
  const clean = useMutation({
    mutationFn: upkeep.cleanUp,
    onSuccess: (removed) => tell(cleaned(removed)),
    onError: tellError,
  });
  const reset = useMutation({
    mutationFn: upkeep.resetCounters,
    onSuccess: ({ accounts }) => tell(`The counters of ${accounts} accounts are zero.`),
    onError: tellError,
    onSettled: () => queries.invalidateQueries({ queryKey: ["accounts"] }),
  });
  return (
    <Panel title="Maintenance">
      <ul>
        <Task
          words="Delete what is older than the settings keep, now instead of soon."
          action="Clean up"
          busy={clean.isPending}
          run={() => clean.mutate()}
        />
        <Task
          words="Set the request counters of all accounts to zero. The history stays."
          action="Reset counters"
          busy={reset.isPending}
          run={() => reset.mutate()}
        />
        <Task
          words="Delete the whole history, bodies and statistics included. Accounts stay."
          action="Clear history"
          dangerous
          busy={false}
          run={() => setClearing(true)}
        />
      </ul>
      <FormDialog
        title="Clear the history"
        action="Clear history"
        dangerous
        opened={clearing}
        onClose={() => {
          setClearing(false);
          setTyped("");
        }}
        ready={typed === WORD}
        run={() => upkeep.clearHistory().then(() => queries.invalidateQueries())}
        done="The history is empty."
      >
        {(error) => (
          <>
            <p>Every request, its bodies and all statistics are deleted for good. Accounts stay.</p>
            <TextInput
              label={`Type ${WORD} to confirm`}
              autoComplete="off"
              data-autofocus
              error={error}
              value={typed}
              onChange={(event) => setTyped(event.currentTarget.value)}
            />
          </>
        )}
      </FormDialog>
    </Panel>
  );
}

interface TaskProps {
  words: string;
  action: string;
  busy: boolean;
  dangerous?: boolean;
  run: () => void;
}

function Task({ words, action, busy, dangerous = false, run }: TaskProps) {
  return (
    <li className={styles.task}>
      <p className="quiet">{words}</p>
      <Button variant="default" loading={busy} onClick={run} {...(dangerous && { color: "red", variant: "light" })}>
        {action}
      </Button>
    </li>
  );
}

function cleaned(removed: Record<string, unknown>): string {
  const some = Object.entries(removed).filter(([, number]) => typeof number === "number" && number > 0);
  if (some.length === 0) return "There was nothing to delete.";
  return `Deleted: ${some.map(([what, number]) => `${number} ${what.replaceAll("_", " ")}`).join(", ")}.`;
}
