import { CircleAlert, FileText, Image, Wrench } from "lucide-react";
import type { Block, Turn } from "./blocks";
import styles from "./ConversationView.module.css";
import type { Conversation } from "./conversation";
import { Folded } from "./Folded";

const NAMES = { system: "System", user: "User", assistant: "Assistant" } as const;
const TURNS_SHOWN = 30;

export function ConversationView({ conversation }: { conversation: Conversation }) {
  const { turns, tools, error, missing } = conversation;
  const earlier = turns.slice(0, Math.max(0, turns.length - TURNS_SHOWN));
  return (
    <div className={styles.conversation}>
      {tools.length > 0 && (
        <details className={styles.tools}>
          <summary>
            {tools.length} {tools.length === 1 ? "tool" : "tools"} offered
          </summary>
          <p className="mono small">{tools.join(", ")}</p>
        </details>
      )}
      {earlier.length > 0 && (
        <details className={styles.tools}>
          <summary>{earlier.length} earlier turns</summary>
          <Turns turns={earlier} from={0} />
        </details>
      )}
      <Turns turns={turns.slice(earlier.length)} from={earlier.length} />
      {error && (
        <p className={styles.error} role="note">
          <CircleAlert size={16} aria-hidden="true" />
          <span>
            <b>{error.type}</b> {error.message}
          </span>
        </p>
      )}
      {missing && !error && <p className="quiet">{missing}</p>}
    </div>
  );
}

function Turns({ turns, from }: { turns: Turn[]; from: number }) {
  return turns.map((turn, index) => (
    // biome-ignore lint/suspicious/noArrayIndexKey: turns have no names, and never change places
    <article key={from + index} className={styles.turn} data-role={turn.role} aria-label={NAMES[turn.role]}>
      <h3>
        {NAMES[turn.role]}
        {turn.isAnswer && <span className="faint"> this answer</span>}
      </h3>
      <div className={styles.blocks}>
        <Blocks blocks={turn.blocks} />
      </div>
    </article>
  ));
}

function Blocks({ blocks, mono = false }: { blocks: Block[]; mono?: boolean }) {
  if (blocks.length === 0) return <p className="faint">(empty)</p>;
  // biome-ignore lint/suspicious/noArrayIndexKey: blocks have no names, and never change places
  return blocks.map((block, index) => <OneBlock key={index} block={block} mono={mono} />);
}

function OneBlock({ block, mono }: { block: Block; mono: boolean }) {
  switch (block.kind) {
    case "text":
      return <Folded text={block.text} mono={mono} />;
    case "thinking":
      return (
        <details className={styles.thinking}>
          <summary>{block.isRedacted ? "Thinking, not shown by the provider" : "Thinking"}</summary>
          {!block.isRedacted && <Folded text={block.text || "(not told)"} />}
        </details>
      );
    case "tool_use":
      return <Tool block={block} />;
    case "tool_result":
      return <Result blocks={block.result.blocks} isError={block.result.isError} title="Result of an earlier call" />;
    case "media":
      return (
        <p className={styles.media}>
          {block.what === "image" ? <Image size={16} aria-hidden="true" /> : <FileText size={16} aria-hidden="true" />}
          {block.what === "image" ? "Image" : "Document"}
          <span className="quiet">{block.note}</span>
        </p>
      );
    case "other":
      return (
        <details className={styles.thinking}>
          <summary>{block.type}</summary>
          <Folded text={JSON.stringify(block.content, null, 2)} mono />
        </details>
      );
  }
}

function Tool({ block }: { block: Extract<Block, { kind: "tool_use" }> }) {
  return (
    <div className={styles.tool}>
      <p className={styles.call}>
        <Wrench size={14} aria-hidden="true" />
        <b className="mono">{block.name}</b>
      </p>
      <Folded text={typeof block.input === "string" ? block.input : JSON.stringify(block.input ?? {}, null, 2)} mono />
      {block.result ? (
        <Result blocks={block.result.blocks} isError={block.result.isError} title="Result" />
      ) : (
        <p className="faint">No result in this request.</p>
      )}
    </div>
  );
}

function Result({ blocks, isError, title }: { blocks: Block[]; isError: boolean; title: string }) {
  return (
    <div className={styles.result} data-error={isError || undefined}>
      <p className="faint">
        {title}
        {isError && <b className={styles.failed}> failed</b>}
      </p>
      <Blocks blocks={blocks} mono />
    </div>
  );
}
