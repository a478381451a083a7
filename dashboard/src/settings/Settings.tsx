import { TextInput } from "@mantine/core";
import { Search, TriangleAlert } from "lucide-react";
import { useState } from "react";
import { useSettings } from "../api/questions";
import { FILTER } from "../frame/keys";
import { PageHead } from "../frame/PageHead";
import { Empty, Failure, Loading } from "../frame/states";
import { grouped } from "./groups";
import { SettingRow } from "./SettingRow";
import styles from "./Settings.module.css";
import { Upkeep } from "./Upkeep";

export default function Settings() {
  const { data, error, isPending, refetch } = useSettings();
  const [text, setText] = useState("");
  const groups = grouped(data?.settings ?? [], text);
  return (
    <>
      <PageHead title="Settings" note={data && <code className="small">{data.path}</code>}>
        <TextInput
          {...FILTER}
          size="xs"
          w={230}
          type="search"
          aria-label="Find a setting"
          placeholder="Find a setting  ( / )"
          leftSection={<Search size={14} />}
          value={text}
          onChange={(event) => setText(event.currentTarget.value)}
        />
      </PageHead>
      {error && <Failure error={error} again={() => void refetch()} />}
      {isPending && <Loading lines={6} height={30} />}
      <div className={`stack ${styles.page}`}>
        {data?.problems.map((problem) => (
          <p key={problem} className={styles.trouble} role="note">
            <TriangleAlert size={16} aria-hidden="true" />
            {problem}
          </p>
        ))}
        {data && !text && <Upkeep />}
        {data && groups.length === 0 && <Empty title={`No setting has “${text}” in its name or its meaning`} />}
        {groups.map(([title, settings]) => (
          <section key={title} className={`panel ${styles.group}`} aria-label={title}>
            <header>
              <h2>{title}</h2>
            </header>
            <ul className="inside">
              {settings.map((setting) => (
                <SettingRow key={setting.name} setting={setting} />
              ))}
            </ul>
          </section>
        ))}
      </div>
    </>
  );
}
