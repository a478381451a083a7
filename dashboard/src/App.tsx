import { MantineProvider } from "@mantine/core";
import { QueryClientProvider } from "@tanstack/react-query";
import { Suspense } from "react";
import { Route, Switch, useLocation } from "wouter";
import { client } from "./api/questions";
import { Boundary } from "./frame/Boundary";
import { Frame } from "./frame/Frame";
import { Notices } from "./frame/notices";
import { page } from "./frame/page";
import { Loading, NotHere } from "./frame/states";
import { theme } from "./theme";

const Overview = page(() => import("./overview/Overview"));
const Analytics = page(() => import("./analytics/Analytics"));
const Requests = page(() => import("./requests/Requests"));
const RequestPage = page(() => import("./requests/RequestPage"));
const Accounts = page(() => import("./accounts/Accounts"));
const Logs = page(() => import("./logs/Logs"));
const Settings = page(() => import("./settings/Settings"));

export function App() {
  return (
    <MantineProvider theme={theme} defaultColorScheme="auto" withCssVariables={false} withGlobalClasses={false}>
      <QueryClientProvider client={client}>
        <Frame>
          <Pages />
        </Frame>
        <Notices />
      </QueryClientProvider>
    </MantineProvider>
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
          <Route path="/logs" component={Logs} />
          <Route path="/settings" component={Settings} />
          <Route component={NotHere} />
        </Switch>
      </Suspense>
    </Boundary>
  );
}
