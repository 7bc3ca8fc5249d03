/** The cluster's summary in the page frame. It follows the events, with a slow timer behind them. */
import { getStatus } from "./api";
import { live } from "./live.svelte";
import { Loader } from "./loader.svelte";

/** Under load there are thousands of events a second; the summary needs none of them at once. */
const PACE_MS = 1000;

/** Free slots are counted by heartbeats, which may come after the last event. */
const BACKSTOP_MS = 10_000;

export const cluster = new Loader(getStatus);

export function followCluster(): () => void {
  cluster.load();
  const again = () => cluster.loadWithin(PACE_MS);
  const forget = live.listen({
    onTasks: again,
    onExecutors: again,
    onResync: () => cluster.load(),
  });
  const timer = setInterval(() => {
    if (!document.hidden) cluster.load();
  }, BACKSTOP_MS);
  return () => {
    forget();
    clearInterval(timer);
    cluster.stop();
  };
}
