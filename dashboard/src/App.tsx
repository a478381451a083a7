import { MantineProvider } from "@mantine/core";
import { QueryClientProvider } from "@tanstack/react-query";
import { lazy, Suspense } from "react";
import { Route, Switch, useLocation } from "wouter";
import { client, useSession } from "./api/questions";
import { Boundary } from "./frame/Boundary";
import { Frame } from "./frame/Frame";
import { Notices } from "./frame/notices";
import { page } from "./frame/page";
import { Loading, NotHere } from "./frame/states";
import { theme } from "./theme";

const SignIn = lazy(() => import("./keys/SignIn"));
const Overview = page(() => import("./overview/Overview"));
const Analytics = page(() => import("./analytics/Analytics"));
const Requests = page(() => import("./requests/Requests"));
const RequestPage = page(() => import("./requests/RequestPage"));
const Accounts = page(() => import("./accounts/Accounts"));
const Keys = page(() => import("./keys/Keys"));
const Logs = page(() => import("./logs/Logs"));
const Settings = page(() => import("./settings/Settings"));

export function App() {
  return (
    <MantineProvider theme={theme} defaultColorScheme="auto" withCssVariables={false} withGlobalClasses={false}>
      <QueryClientProvider client={client}>
        <Inside />
        <Notices />
      </QueryClientProvider>
    </MantineProvider>
  );
}

/** Who is not let in sees where to sign in, and nothing else; nothing is asked before it is known who that is. */
function Inside() {
  const { data, isPending } = useSession();
  if (isPending) return null;
  if (data?.required && data.role !== "admin") {
    return (
      <Boundary>
        <Suspense fallback={null}>
          <SignIn />
        </Suspense>
      </Boundary>
    );
  }
  return (
    <Frame>
      <Pages />
    </Frame>
  );
}

/** What waits or breaks is one page: the one before it is gone at once, and the next one begins anew. */
function Pages() {
  const [location] = useLocation();
  const place = location.split("/", 2).join("/");
  return (
    <Boundary key={place}>
      <Suspense fallback={<Loading lines={6} />}>
        <Switch>
          <Route path="/" component={Overview} />
          <Route path="/analytics" component={Analytics} />
          <Route path="/requests" component={Requests} />
          <Route path="/requests/:id">{({ id }) => <RequestPage key={id} id={id} />}</Route>
          <Route path="/accounts" component={Accounts} />
          <Route path="/keys" component={Keys} />
          <Route path="/logs" component={Logs} />
          <Route path="/settings" component={Settings} />
          <Route component={NotHere} />
        </Switch>
      </Suspense>
    </Boundary>
  );
}
