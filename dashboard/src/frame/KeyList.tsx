import { Kbd, Modal } from "@mantine/core";
import { Fragment } from "react";
import styles from "./KeyList.module.css";
import { PAGES } from "./pages";

const OTHERS: [string[], string][] = [
  [["/"], "Go to the filter of the page"],
  [["↑", "↓"], "Move in the list of requests"],
  [["Enter"], "Open the request"],
  [["Esc"], "Close a dialog; leave a field"],
  [["?"], "This list"],
];

export function KeyList({ opened, onClose }: { opened: boolean; onClose: () => void }) {
  const keys: [string[], string][] = [
    ...PAGES.map(({ letter, name }): [string[], string] => [["g", letter], name]),
    ...OTHERS,
  ];
  return (
    <Modal opened={opened} onClose={onClose} title="Keyboard" size="sm">
      <dl className={styles.keys}>
        {keys.map(([pressed, meaning]) => (
          <Fragment key={meaning}>
            <dt>
              {pressed.map((key) => (
                <Kbd key={key}>{key}</Kbd>
              ))}
            </dt>
            <dd>{meaning}</dd>
          </Fragment>
        ))}
      </dl>
    </Modal>
  );
}
