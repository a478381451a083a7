import { Autocomplete, Button, CloseButton, Popover, Select, TextInput } from "@mantine/core";
import { useDebouncedCallback } from "@mantine/hooks";
import { CalendarRange } from "lucide-react";
import { useEffect, useState } from "react";
import { type RequestFilter, useAccounts, useAnalytics, useClientKeys } from "../api/questions";
import { fromLocalInput, shortTime, toLocalInput, zoneName } from "../format/time";
import { FILTER } from "../frame/keys";
import styles from "./Requests.module.css";

const STATUSES = [
  { value: "success", label: "Success" },
  { value: "error", label: "Any failure" },
  { value: "rate_limited", label: "Rate limited (429)" },
  { value: "overloaded", label: "Overloaded (529)" },
  { value: "client_error", label: "Client errors (4xx)" },
  { value: "server_error", label: "Server errors (5xx)" },
  { value: "interrupted", label: "Interrupted streams" },
  { value: "disconnected", label: "Client left (499)" },
];

interface Props {
  filter: RequestFilter;
  onChange: (changes: Partial<Record<keyof RequestFilter, string | null>>) => void;
}

export function Filters({ filter, onChange }: Props) {
  const any = Object.keys(filter).length > 0;
  return (
    <search className={styles.filters}>
      <ModelFilter value={filter.model ?? ""} onChange={(model) => onChange({ model })} />
      <StatusFilter value={filter.status ?? null} onChange={(status) => onChange({ status })} />
      <AccountFilter value={filter.account ?? null} onChange={(account) => onChange({ account })} />
      <KeyFilter value={filter.client_key ?? null} onChange={(client_key) => onChange({ client_key })} />
      <PeriodFilter filter={filter} onChange={onChange} />
      {any && (
        <CloseButton
          aria-label="Clear the filters"
          title="Clear the filters"
          onClick={() => onChange({ status: null, account: null, model: null, client_key: null, from: null, to: null })}
        />
      )}
    </search>
  );
}

export function StatusFilter({ value, onChange }: { value: string | null; onChange: (value: string | null) => void }) {
  const known = value === null || STATUSES.some((each) => each.value === value);
  const data = known ? STATUSES : [...STATUSES, { value, label: `Status ${value}` }];
  return (
    <Select
      aria-label="Status"
      placeholder="Any status"
      size="xs"
      w={150}
      clearable
      data={data}
      value={value}
      onChange={onChange}
    />
  );
}

interface NameProps {
  value: string | null;
  onChange: (value: string | null) => void;
}

export function AccountFilter(props: NameProps) {
  const accounts = useAccounts();
  return <NameFilter {...props} what="account" named={accounts.data ?? []} />;
}

/** Is there when there are keys, or one is asked for. */
export function KeyFilter(props: NameProps) {
  const keys = useClientKeys();
  const named = keys.data ?? [];
  return named.length > 0 || props.value !== null ? <NameFilter {...props} what="key" named={named} /> : null;
}

interface NamedProps extends NameProps {
  what: string;
  named: { id: string; name: string }[];
}

/** One of some names, or none of them: `none` is what the server calls that. An address may have the id instead. */
function NameFilter({ value, onChange, what, named }: NamedProps) {
  const shown = named.find(({ id }) => id === value)?.name ?? value;
  const names = named.map(({ name }) => name);
  const data = [...new Set([...names, "none", ...(shown ? [shown] : [])])].map((name) => ({
    value: name,
    label: name === "none" ? `No ${what}` : name,
  }));
  return (
    <Select
      aria-label={what === "key" ? "Client key" : "Account"}
      placeholder={`Any ${what}`}
      size="xs"
      w={140}
      clearable
      data={data}
      value={shown}
      onChange={onChange}
    />
  );
}

export function ModelFilter({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  const models = useAnalytics({ range: "30d" }).data?.models ?? [];
  const names = models.flatMap(({ model }) => (model && !model.startsWith("(") ? [model] : []));
  const say = useDebouncedCallback(onChange, 300);
  return (
    <Autocomplete
      {...FILTER}
      aria-label="Model or family"
      placeholder="Any model  ( / )"
      size="xs"
      w={190}
      data={names}
      value={text}
      clearable
      onChange={(changed) => {
        setText(changed);
        say(changed.trim());
      }}
    />
  );
}

function PeriodFilter({ filter, onChange }: Props) {
  const now = Date.now();
  const from = filter.from && shortTime(filter.from, now);
  const to = filter.to && shortTime(filter.to, now);
  const label = from || to ? `${from ?? "…"} – ${to ?? "now"}` : "Any time";
  return (
    <Popover position="bottom-end" shadow="md" trapFocus>
      <Popover.Target>
        <Button variant="default" leftSection={<CalendarRange size={14} />} fw={400}>
          {label}
        </Button>
      </Popover.Target>
      <Popover.Dropdown>
        <div className={styles.period}>
          <TextInput
            type="datetime-local"
            label="From"
            size="xs"
            value={filter.from ? toLocalInput(filter.from) : ""}
            onChange={(event) => onChange({ from: fromLocalInput(event.currentTarget.value) })}
          />
          <TextInput
            type="datetime-local"
            label="To, not included"
            size="xs"
            value={filter.to ? toLocalInput(filter.to) : ""}
            onChange={(event) => onChange({ to: fromLocalInput(event.currentTarget.value) })}
          />
          <p className="faint">{zoneName()}</p>
        </div>
      </Popover.Dropdown>
    </Popover>
  );
}
