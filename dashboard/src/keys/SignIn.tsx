import { Button, PasswordInput } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useEffect, useState } from "react";
import { session, useChange } from "../api/questions";
import styles from "./Keys.module.css";

/** The whole page, for who is not let in. */
export default function SignIn() {
  const queries = useQueryClient();
  const [key, setKey] = useState("");
  const begin = useChange(session.begin, (view) => {
    queries.setQueryData(["session"], view);
    void queries.invalidateQueries();
  });
  useEffect(() => {
    document.title = "Sign in · ccflare";
  }, []);
  function submit(event: FormEvent): void {
    event.preventDefault();
    begin.mutate(key.trim());
  }
  return (
    <main className={styles.signIn}>
      <form onSubmit={submit} className="panel stack">
        <h1>ccflare</h1>
        <p className="quiet">This dashboard needs a client key of the role admin.</p>
        <input type="text" name="username" autoComplete="username" value="ccflare" readOnly hidden />
        <PasswordInput
          label="Key"
          placeholder="ccf_…"
          required
          autoFocus
          autoComplete="current-password"
          value={key}
          error={begin.error?.message}
          onChange={(event) => setKey(event.currentTarget.value)}
        />
        <Button type="submit" loading={begin.isPending} disabled={!key.trim()}>
          Sign in
        </Button>
        <p className="faint">
          On the server’s machine, <code>ccflare keys create NAME --role admin</code> makes one. This browser stays
          signed in for a week.
        </p>
      </form>
    </main>
  );
}
