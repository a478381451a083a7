import { Button, Select, Switch, TextInput } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type ChangeEvent, type FormEvent, useEffect, useState } from "react";
import type { Schemas } from "../api/client";
import { type Setting, upkeep } from "../api/questions";
import { tell, tellError } from "../frame/notices";
import styles from "./Settings.module.css";
import {
  fieldOf,
  inWords,
  isDefault,
  isOverridden,
  isSecret,
  listFrom,
  numberFrom,
  shown,
  typedOf,
  type Value,
} from "./values";

export function SettingRow({ setting }: { setting: Setting }) {
  const save = useSave(setting);
  const [problem, setProblem] = useState<string | null>(null);
  function commit(value: Value | null): void {
    setProblem(null);
    save.mutate(value, {
      onError: (error) => (fieldOf(setting) === "switch" ? tellError(error) : setProblem(error.message)),
    });
  }
  return (
    <li className={styles.row} id={setting.name}>
      <div className={styles.words}>
        <h3 className="mono" id={`label-${setting.name}`}>
          {setting.name}
        </h3>
        <p className="quiet">
          <Meaning text={setting.meaning} />
        </p>
        <p className="faint">
          <Origin setting={setting} />
          {setting.writable && setting.source === "file" && !isDefault(setting) && (
            <button type="button" className={styles.plain} onClick={() => commit(null)}>
              Back to {setting.default || "empty"}
            </button>
          )}
          {setting.waiting && <b className={styles.waiting}> waits for a restart</b>}
        </p>
      </div>
      {isOverridden(setting) || !setting.writable ? (
        <p className={styles.fixed}>{shown(setting.value)}</p>
      ) : (
        <Editor
          key={JSON.stringify(setting.value)}
          setting={setting}
          problem={problem}
          busy={save.isPending}
          commit={commit}
        />
      )}
    </li>
  );
}

/** Words in backquotes are names. */
function Meaning({ text }: { text: string }) {
  const [first, name, ...rest] = text.split("`");
  return (
    <>
      {first}
      {name !== undefined && <code>{name}</code>}
      {rest.length > 0 && <Meaning text={rest.join("`")} />}
    </>
  );
}

function Origin({ setting }: { setting: Setting }) {
  if (!setting.writable) return <>Changed in the settings file only. </>;
  if (setting.source === "default") return <>The default. </>;
  if (setting.source === "file" && isDefault(setting)) return <>The default, as the settings file has it. </>;
  if (setting.source === "file") return <>From the settings file. </>;
  return <>Set by {setting.origin}, which counts more than the file. </>;
}

function useSave(setting: Setting) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (value: Value | null) => upkeep.saveSettings({ [setting.name]: value } as Schemas["SettingsChange"]),
    onSuccess: ({ restart }) => {
      tell(`${setting.name} is saved${restart.includes(setting.name) ? " and counts after a restart" : ""}.`);
      void queries.invalidateQueries({ queryKey: ["settings"] });
    },
  });
}

interface EditorProps {
  setting: Setting;
  problem: string | null;
  busy: boolean;
  commit: (value: Value | null) => void;
}

function Editor({ setting, problem, busy, commit }: EditorProps) {
  const label = { "aria-labelledby": `label-${setting.name}` };
  switch (fieldOf(setting)) {
    case "switch":
      return (
        <Switch
          {...label}
          checked={setting.value === true}
          disabled={busy}
          onChange={(event) => commit(event.currentTarget.checked)}
        />
      );
    case "choice":
      return (
        <Select
          {...label}
          size="xs"
          w={220}
          allowDeselect={false}
          data={setting.choices ?? []}
          value={String(setting.value)}
          error={problem}
          onChange={(value) => value !== null && commit(value)}
        />
      );
    default:
      return <Typed setting={setting} problem={problem} busy={busy} commit={commit} />;
  }
}

/** A value that is typed: saved when the person says so, not while it is half there. */
function Typed({ setting, problem, busy, commit }: EditorProps) {
  const kind = fieldOf(setting);
  const initial = typedOf(setting.value);
  const [typed, setTyped] = useState(initial);
  const wanted = kind === "number" ? numberFrom(typed) : kind === "list" ? listFrom(typed) : typed;
  const changed = kind === "number" ? wanted !== setting.value : typed !== initial;
  useEffect(() => setTyped(initial), [initial]);
  function submit(event: FormEvent): void {
    event.preventDefault();
    if (changed && wanted !== null) commit(wanted);
  }
  const common = {
    "aria-labelledby": `label-${setting.name}`,
    size: "xs",
    error: wanted === null && typed ? "Digits only, like 1 000 000." : problem,
    w: 220,
    disabled: busy,
    value: typed,
    onChange: (event: ChangeEvent<HTMLInputElement>) => setTyped(event.currentTarget.value),
  } as const;
  return (
    <form onSubmit={submit} className={styles.form}>
      {kind === "number" ? (
        <TextInput {...common} inputMode="decimal" autoComplete="off" />
      ) : (
        <TextInput {...common} placeholder="empty" type={isSecret(setting) ? "password" : "text"} autoComplete="off" />
      )}
      {changed && (
        <Button type="submit" loading={busy} disabled={wanted === null}>
          Save
        </Button>
      )}
      {changed && <p className="faint">It is {setting.allowed}.</p>}
      {!changed && inWords(setting) && <p className="faint">{inWords(setting)}</p>}
    </form>
  );
}
