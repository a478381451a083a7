import { Button } from "@mantine/core";
import { Plus } from "lucide-react";
import { useState } from "react";
import { type Account, useAccounts } from "../api/questions";
import { PageHead } from "../frame/PageHead";
import { Failure, Loading } from "../frame/states";
import Welcome from "../welcome/Welcome";
import { AccountCard } from "./AccountCard";
import styles from "./Accounts.module.css";
import { AddAccount } from "./AddAccount";
import { inOrder } from "./order";

export default function Accounts() {
  const { data, error, isPending, refetch } = useAccounts();
  const [adding, setAdding] = useState(false);
  return (
    <>
      <PageHead title="Accounts" note={data && data.length > 0 && summary(data)}>
        <Button leftSection={<Plus size={15} />} onClick={() => setAdding(true)}>
          Add account
        </Button>
      </PageHead>
      {error && !data && <Failure error={error} again={() => void refetch()} />}
      {isPending && <Loading lines={5} height={40} />}
      {data?.length === 0 && <Welcome />}
      <div className={styles.cards}>
        {data?.toSorted(inOrder).map((account) => (
          <AccountCard key={account.id} account={account} />
        ))}
      </div>
      <AddAccount opened={adding} onClose={() => setAdding(false)} />
    </>
  );
}

function summary(accounts: Account[]): string {
  const usable = accounts.filter((account) => account.state === "active").length;
  return `${usable} of ${accounts.length} can serve`;
}
