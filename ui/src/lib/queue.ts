/** What the page of the queue says of what waits. */

import { bytes, duration, plural } from "./format";
import type { Queue, QueueItem } from "./types";

/** How many of the head are shown; who looks for one that is further back asks its own page. */
export const HEAD_LIMIT = 50;

/** `2 processors, 4 GiB memory, image py`; empty for what any free slot will do for. */
export function needsText(item: QueueItem): string {
  const { require, avoid } = item.placement;
  const pairs = (labels: Record<string, string>, sign: string) =>
    Object.entries(labels).map(([key, value]) => `${key}${sign}${value}`);
  return [
    ...Object.entries(item.needs).map(([name, amount]) => amountText(name, amount)),
    ...(item.image ? [`image ${item.image}`] : []),
    ...pairs(require, "="),
    ...pairs(avoid, "≠"),
  ].join(", ");
}

function amountText(name: string, amount: number): string {
  if (name === "memory" || name === "disk") return `${bytes(amount)} ${name}`;
  if (name === "cpus") return plural(amount, "processor");
  return `${amount.toLocaleString("en")} ${name}`;
}

/** How much of something there is; what was not counted to its end is more. */
function counted(count: number, exact: boolean): string {
  return `${exact ? "" : "over "}${count.toLocaleString("en")}`;
}

/** The first line of the page. */
export function queueText(queue: Queue): string {
  const { queued, held } = queue;
  const one = (count: number, word: string, words: string) => (count === 1 ? word : words);
  const oldest =
    queue.oldest_queued_s === null
      ? ""
      : `, the oldest for ${duration(Math.floor(queue.oldest_queued_s) * 1000)}`;
  const first =
    queued === 0
      ? "No task waits for an executor."
      : `${counted(queued, queue.queued_is_exact)} ${one(queued, "task waits", "tasks wait")} for an executor${oldest}.`;
  if (held === 0) return first;
  const more = queued === 0 ? "" : " more";
  return `${first} ${counted(held, queue.held_is_exact)}${more} ${one(held, "is", "are")} held: for a date, for other tasks, or by somebody.`;
}

/** The address of the queue of a user; empty: of everybody. */
export function queueHref(user: string | number): string {
  return user === "" ? "/queue" : `/queue?${new URLSearchParams({ user: `${user}` })}`;
}
