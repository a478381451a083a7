import { MantineProvider } from "@mantine/core";
import { QueryClientProvider } from "@tanstack/react-query";
import { lazy, Suspense } from "react";
import { Route, Switch } from "wouter";
import { client } from "./api/questions";
import { Frame } from "./frame/Frame";
import { Notices } from "./frame/notices";
import { Loading, NotHere } from "./frame/states";
import { theme } from "./theme";

const Overview = lazy(() => import("./overview/Overview"));
const Analytics = lazy(() => import("./analytics/Analytics"));
const Requests = lazy(() => import("./requests/Requests"));
const RequestPage = lazy(() => import("./requests/RequestPage"));
const Accounts = lazy(() => import("./accounts/Accounts"));
const Logs = lazy(() => import("./logs/Logs"));
const Settings = lazy(() => import("./settings/Settings"));

export function App() {
  return (
    <MantineProvider theme={theme} defaultColorScheme="auto" withCssVariables={false} withGlobalClasses={false}>
      <QueryClientProvider client={client}>
        <Frame>
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
        </Frame>
        <Notices />
      </QueryClientProvider>
    </MantineProvider>
  );
}
