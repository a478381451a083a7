import { Button } from "@mantine/core";
import { Component, type ReactNode } from "react";
import { Empty } from "./states";

interface State {
  error: Error | null;
}

/** Where a page breaks: what to do is said, and the frame around it goes on. */
export class Boundary extends Component<{ children: ReactNode }, State> {
  override state: State = { error: null };

  static getDerivedStateFromError(error: Error): State {
    return { error };
  }

  override render(): ReactNode {
    if (!this.state.error) return this.props.children;
    return (
      <Empty title="This page cannot be shown">
        <p>
          {isMissing(this.state.error) ? "It may be of an older version than the server." : this.state.error.message}
        </p>
        <Button mt="md" onClick={() => location.reload()}>
          Load it anew
        </Button>
      </Empty>
    );
  }
}

/** The code of a page has the version in its name; after an update of the server it is there no more. */
function isMissing(error: Error): boolean {
  return /dynamically imported module/.test(error.message);
}
