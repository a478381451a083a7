/** What the pages ask, and how often. A hidden tab asks nothing. */

import {
  keepPreviousData,
  MutationCache,
  QueryCache,
  QueryClient,
  useInfiniteQuery,
  useMutation,
  useQuery,
  useQueryClient,
} from "@tanstack/react-query";
import { change, Refused, read, type Schemas } from "./client";

export type Account = Schemas["AccountView"];
export type Exchange = Schemas["RequestView"];
export type Details = Schemas["RequestDetails"];
export type Running = Schemas["RunningView"];
export type RunningRequests = Schemas["RunningRequests"];
export type Attempt = Schemas["AttemptView"];
export type Analytics = Schemas["Analytics"];
export type Measures = Schemas["ModelMeasures"];
export type Point = Schemas["Point"];
export type Setting = Schemas["SettingView"];
export type LogEntry = Schemas["LogEntry"];
export type Range = Analytics["range"];

export type ClientKey = Schemas["KeyView"];

/** Somebody who is not let in any more is shown where to sign in. */
function look(error: Error): void {
  if (error instanceof Refused && error.status === 401) void client.invalidateQueries({ queryKey: ["session"] });
}

export const client: QueryClient = new QueryClient({
  queryCache: new QueryCache({ onError: look }),
  mutationCache: new MutationCache({ onError: look }),
  defaultOptions: {
    queries: {
      staleTime: 2_000,
      gcTime: 5 * 60_000,
      retry: (failures, error) => failures < 2 && (!(error instanceof Refused) || error.status === 503),
    },
  },
});

export interface RequestFilter {
  status?: string;
  account?: string;
  model?: string;
  client_key?: string;
  from?: string;
  to?: string;
}

export interface Period {
  range: Range;
  account?: string;
  model?: string;
  status?: string;
  key?: string;
  mode?: Analytics["mode"];
}

/** It is what tells that a server hangs while its connections stand, so it is not waited for as long as the rest. */
export function useHealth() {
  return useQuery({
    queryKey: ["health"],
    queryFn: ({ signal }) => read("/health", { signal, withinMs: 5_000 }),
    refetchInterval: 5_000,
    retry: false,
  });
}

export function useAccounts() {
  return useQuery({
    queryKey: ["accounts"],
    queryFn: ({ signal }) => read("/api/accounts", { signal }),
    refetchInterval: 5_000,
  });
}

export function useAnalytics(period: Period) {
  return useQuery({
    queryKey: ["analytics", period],
    queryFn: ({ signal }) => read("/api/analytics", { query: period, signal }),
    refetchInterval: period.range === "1h" || period.range === "6h" ? 5_000 : 15_000,
    placeholderData: keepPreviousData,
  });
}

export function useRequests(filter: RequestFilter) {
  return useInfiniteQuery({
    queryKey: ["requests", filter],
    queryFn: ({ pageParam, signal }) =>
      read("/api/requests", { query: { ...filter, limit: 100, ...(pageParam && { cursor: pageParam }) }, signal }),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    refetchOnWindowFocus: false,
    staleTime: Number.POSITIVE_INFINITY,
  });
}

/** One of the two: a request that runs, or all that is known of one that has ended. */
export interface OneRequest {
  running?: Running;
  details?: Details;
}

/** A request that runs is asked for until it has ended. */
export function useRequest(id: string) {
  const queries = useQueryClient();
  const wasRunning = () => queries.getQueryData<OneRequest>(["request", id])?.running !== undefined;
  return useQuery({
    queryKey: ["request", id],
    queryFn: async ({ signal }): Promise<OneRequest> => {
      const { requests } = await read("/api/requests/running", { query: { id }, signal });
      if (requests[0]) return { running: requests[0] };
      return { details: await read("/api/requests/{id}", { at: { id }, signal }) };
    },
    refetchInterval: ({ state }) => (state.data?.running ? 700 : false),
    retry: (failures, error) => {
      const isBetween = error instanceof Refused && error.status === 404 && wasRunning();
      return isBetween ? failures < 5 : error instanceof Refused && error.status === 503 && failures < 2;
    },
    retryDelay: 400, // it has ended, and is written within a tenth of a second
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: 60_000,
  });
}

export function useSettings() {
  return useQuery({ queryKey: ["settings"], queryFn: ({ signal }) => read("/api/config", { signal }) });
}

export function useLogHistory(level: LogEntry["level"], text: string) {
  return useQuery({
    queryKey: ["logs", level, text],
    queryFn: ({ signal }) =>
      read("/api/logs/history", { query: { limit: 500, ...(level && { level }), ...(text && { text }) }, signal }),
    staleTime: Number.POSITIVE_INFINITY,
    refetchOnWindowFocus: false,
    gcTime: 0,
  });
}

/** Whether a key is needed, and who asks. Asked again now and then: a session may be ended elsewhere. */
export function useSession() {
  return useQuery({
    queryKey: ["session"],
    queryFn: ({ signal }) => read("/api/session", { signal }),
    refetchInterval: 15_000,
    retry: false,
  });
}

export function useClientKeys() {
  return useQuery({ queryKey: ["keys"], queryFn: ({ signal }) => read("/api/keys", { signal }), staleTime: 10_000 });
}

/**
 * A change of who serves or who is let in; the lists are asked anew when it is done. `done` is called also when what asked
 * for the change is taken away by it, as the card of a removed account is.
 */
export function useChange<T, V>(run: (wanted: V) => Promise<T>, done?: (result: T, wanted: V) => void) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: run,
    onSuccess: (result, wanted) => done?.(result, wanted),
    onSettled: () =>
      Promise.all([
        queries.invalidateQueries({ queryKey: ["accounts"] }),
        queries.invalidateQueries({ queryKey: ["health"] }),
        queries.invalidateQueries({ queryKey: ["keys"] }),
        queries.invalidateQueries({ queryKey: ["session"] }),
      ]),
  });
}

export const accounts = {
  add: (account: Schemas["NewAccount"]) => change("post", "/api/accounts", account),
  pause: (id: string, reason: string | null) => change("post", "/api/accounts/{id}/pause", { reason }, { id }),
  resume: (id: string) => change("post", "/api/accounts/{id}/resume", {}, { id }),
  rename: (id: string, name: string) => change("post", "/api/accounts/{id}/rename", { name }, { id }),
  setPriority: (id: string, priority: number) => change("post", "/api/accounts/{id}/priority", { priority }, { id }),
  remove: (id: string, confirm: string) => change("delete", "/api/accounts/{id}", { confirm }, { id }),
  beginSignIn: (wanted: Schemas["SignInWanted"]) => change("post", "/api/oauth/init", wanted),
  beginSignInAgain: (id: string) => change("post", "/api/accounts/{id}/reauth", {}, { id }),
  completeSignIn: (pasted: Schemas["PastedCode"]) => change("post", "/api/oauth/callback", pasted),
};

export const clientKeys = {
  create: (wanted: Schemas["NewClientKey"]) => change("post", "/api/keys", wanted),
  revoke: (id: string, confirm: string) => change("delete", "/api/keys/{id}", { confirm }, { id }),
};

export const session = {
  begin: (key: string) => change("post", "/api/session", { key }),
  end: () => change("delete", "/api/session", {}),
};

export const upkeep = {
  saveSettings: (changes: Schemas["SettingsChange"]) => change("patch", "/api/config", changes),
  cleanUp: () => change("post", "/api/maintenance/cleanup", {}),
  resetCounters: () => change("post", "/api/stats/reset", {}),
  clearHistory: () => change("delete", "/api/requests", { confirm: "clear" }),
};
