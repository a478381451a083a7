import { Button, Tabs } from "@mantine/core";
import { ArrowLeft, Columns2 } from "lucide-react";
import { type ReactNode, useMemo, useState } from "react";
import { Link } from "wouter";
import { type Details, useRequest } from "../api/questions";
import { fullTime } from "../format/time";
import { Panel } from "../frame/Panel";
import { Empty, Failure, Loading } from "../frame/states";
import { Attempts } from "./Attempts";
import { Beside, Side } from "./Beside";
import { CopyButton } from "./CopyButton";
import { ConversationView } from "./conversation/ConversationView";
import { conversationOf } from "./conversation/conversation";
import { asCurl, asJson } from "./copy";
import { Facts } from "./Facts";
import { lastList } from "./lists";
import { OUTCOMES } from "./outcome";
import styles from "./RequestPage.module.css";
import { Status } from "./RequestRow";
import { RunningTitle, StillRunning } from "./StillRunning";
import { explanation } from "./why";

export default function RequestPage({ id }: { id: string }) {
  const { data, error, isPending, refetch } = useRequest(id);
  return (
    <div className="stack">
      <div className={styles.head}>
        <Link href={lastList()} className={styles.back ?? ""}>
          <ArrowLeft size={15} aria-hidden="true" />
          Requests
        </Link>
        {data?.running && <RunningTitle request={data.running} />}
        {data?.details && <Title details={data.details} />}
      </div>
      {error && <Failure error={error} again={() => void refetch()} />}
      {isPending && <Loading lines={6} />}
      {data?.running && <StillRunning request={data.running} />}
      {data?.details && <Found details={data.details} />}
    </div>
  );
}

function Title({ details: { request } }: { details: Details }) {
  return (
    <>
      <h1 className={styles.title}>
        <Status request={request} /> <span className="mono">{request.method}</span>{" "}
        <span className="mono cut">{request.path}</span>
      </h1>
      <p className="quiet">
        {OUTCOMES[request.outcome].word}, <time dateTime={request.timestamp}>{fullTime(request.timestamp_ms)}</time>
      </p>
    </>
  );
}

function Found({ details }: { details: Details }) {
  const curl = useMemo(() => asCurl(details, location.origin), [details]);
  return (
    <>
      {details.request.error_message && <p className={styles.problem}>{details.request.error_message}</p>}
      <Facts request={details.request} />
      <Panel title="Why this account">
        <p className={styles.why}>{explanation(details)}</p>
        <Attempts attempts={details.attempts} />
      </Panel>
      <section className="panel" aria-label="What was said">
        <Said
          details={details}
          tools={
            <>
              <CopyButton text={() => asJson(details)} name="JSON" />
              <CopyButton text={curl === null ? null : () => curl} name="curl" />
            </>
          }
        />
      </section>
    </>
  );
}

function Said({ details, tools }: { details: Details; tools: ReactNode }) {
  const { payload } = details;
  const { method } = details.request;
  const [beside, setBeside] = useState(false);
  const conversation = useMemo(() => (payload ? conversationOf(payload) : null), [payload]);
  if (!payload) {
    return (
      <div className="inside">
        <div className={styles.tools}>{tools}</div>
        <Empty title={details.payload_damaged ? "What was said cannot be read any more" : "What was said is not kept"}>
          Bodies are kept for some days, while <Link href="/settings#store_payloads">store_payloads</Link> is on, and
          not for client keys that were made without.
        </Empty>
      </div>
    );
  }
  return (
    <Tabs
      color="var(--accent)"
      defaultValue={conversation ? "conversation" : "request"}
      keepMounted={false}
      className={styles.said ?? ""}
    >
      <Tabs.List className={styles.tabs ?? ""}>
        {conversation && <Tabs.Tab value="conversation">Conversation</Tabs.Tab>}
        <Tabs.Tab value="request">Request</Tabs.Tab>
        <Tabs.Tab value="response">Response</Tabs.Tab>
      </Tabs.List>
      <div className={styles.tools}>
        {conversation && (
          <Button
            variant={beside ? "light" : "default"}
            className={styles.wideOnly}
            leftSection={<Columns2 size={13} />}
            aria-pressed={beside}
            onClick={() => setBeside(!beside)}
          >
            Raw beside it
          </Button>
        )}
        {tools}
      </div>
      {conversation && (
        <Tabs.Panel value="conversation" p="md">
          {beside ? (
            <Beside method={method} payload={payload}>
              <ConversationView conversation={conversation} />
            </Beside>
          ) : (
            <ConversationView conversation={conversation} />
          )}
        </Tabs.Panel>
      )}
      <Tabs.Panel value="request" p="md">
        <Side side="request" method={method} payload={payload} />
      </Tabs.Panel>
      <Tabs.Panel value="response" p="md">
        <Side side="response" method={method} payload={payload} />
      </Tabs.Panel>
    </Tabs>
  );
}
