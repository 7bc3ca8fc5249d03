/** The cluster's summary in the page frame. It follows the events instead of a timer. */
import { getStatus } from "./api";
import { live } from "./live.svelte";
import { Loader } from "./loader.svelte";

/** Under load there are thousands of events a second; the summary needs none of them at once. */
const PACE_MS = 1000;

export const cluster = new Loader(getStatus);

export function followCluster(): () => void {
  cluster.load();
  const again = () => cluster.loadWithin(PACE_MS);
  return live.listen({ onTasks: again, onExecutors: again, onResync: () => cluster.load() });
}
