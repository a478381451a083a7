import { Button, CopyButton as Clipboard, Tooltip } from "@mantine/core";
import { Check, Copy } from "lucide-react";

/** Copies a text that is made when it is asked for. `text` null: there is nothing to copy, and why. */
export function CopyButton({ text, name }: { text: (() => string) | null; name: string }) {
  if (!text) {
    return (
      <Tooltip label="The request was not kept whole">
        <Button
          variant="default"
          data-disabled
          aria-disabled
          leftSection={<Copy size={13} />}
          onClick={(event) => event.preventDefault()}
        >
          Copy as {name}
        </Button>
      </Tooltip>
    );
  }
  return (
    <Clipboard value={text()} timeout={1600}>
      {({ copied, copy }) => (
        <Button variant="default" leftSection={copied ? <Check size={13} /> : <Copy size={13} />} onClick={copy}>
          {copied ? "Copied" : `Copy as ${name}`}
        </Button>
      )}
    </Clipboard>
  );
}
