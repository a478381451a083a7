import { ActionIcon, Tooltip } from "@mantine/core";
import { Keyboard as KeyboardIcon } from "lucide-react";
import { type ReactNode, useEffect, useState } from "react";
import { Link, useLocation } from "wouter";
import { useHealth } from "../api/questions";
import { zoneName } from "../format/time";
import { Connection } from "./Connection";
import styles from "./Frame.module.css";
import { KeyList } from "./KeyList";
import { useKeys } from "./keys";
import { PAGES } from "./pages";
import { SignedIn } from "./SignedIn";
import { ThemeChoice } from "./ThemeChoice";

export function Frame({ children }: { children: ReactNode }) {
  const [listsKeys, setListsKeys] = useState(false);
  useKeys(() => setListsKeys(true));
  useTitle();
  return (
    <div className={styles.frame}>
      <a href="#content" className={styles.skip}>
        Skip to the content
      </a>
      <nav className={styles.side} aria-label="Pages">
        <Brand />
        <ul className={styles.pages}>
          {PAGES.map((page) => (
            <PageLink key={page.path} {...page} />
          ))}
        </ul>
        <footer className={styles.foot}>
          <Connection />
          <div className={styles.tools}>
            <ThemeChoice />
            <Tooltip label="Keyboard shortcuts ( ? )">
              <ActionIcon aria-label="Keyboard shortcuts" onClick={() => setListsKeys(true)}>
                <KeyboardIcon size={16} />
              </ActionIcon>
            </Tooltip>
          </div>
          <SignedIn />
          <p className={styles.zone}>Times in {zoneName()}</p>
          <Version />
        </footer>
      </nav>
      <main id="content" className={styles.content} tabIndex={-1}>
        {children}
      </main>
      <KeyList opened={listsKeys} onClose={() => setListsKeys(false)} />
    </div>
  );
}

function Brand() {
  return (
    <Link href="/" className={styles.brand ?? ""} aria-label="ccflare, overview">
      <svg width="26" height="26" viewBox="0 0 32 32" aria-hidden="true">
        <rect width="32" height="32" rx="7" fill="#0b6b6f" />
        <path
          d="M7 16h7M18 9.5 25 8M18 16h7M18 22.5 25 24"
          stroke="#fff"
          strokeWidth="2.6"
          strokeLinecap="round"
          fill="none"
        />
        <circle cx="15.5" cy="16" r="3.4" fill="#fff" />
      </svg>
      <span>ccflare</span>
    </Link>
  );
}

function PageLink({ path, name, Icon }: (typeof PAGES)[number]) {
  const [location] = useLocation();
  const here = path === "/" ? location === "/" : location === path || location.startsWith(`${path}/`);
  return (
    <li>
      <Link href={path} className={styles.page ?? ""} aria-current={here ? "page" : undefined}>
        <Icon size={17} aria-hidden="true" />
        <span>{name}</span>
      </Link>
    </li>
  );
}

function Version() {
  const { data } = useHealth();
  return data ? <p className={styles.zone}>Version {data.version}</p> : null;
}

function useTitle(): void {
  const [location] = useLocation();
  useEffect(() => {
    const page = PAGES.find((each) => each.path !== "/" && location.startsWith(each.path)) ?? PAGES[0];
    document.title = `${page?.name} · ccflare`;
  }, [location]);
}
