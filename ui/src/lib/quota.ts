/** Use and limits of a user, as people read them. */

import { bytes, duration } from "./format";
import type { Quota } from "./types";

export interface Share {
  word: string;
  text: string;
  used: number;
  limit: number;
}

const count = (value: number) => value.toLocaleString("en");

/** What the operator has set a limit to, in the order of a task's life. */
export function shares(quota: Quota): Share[] {
  const of = (
    word: string,
    { limit, used }: Quota["queued"],
    show: (value: number) => string,
  ): Share[] =>
    limit === null || used === null
      ? []
      : [{ word, text: `${show(used)} of ${show(limit)}`, used, limit }];
  return [
    ...of("Tasks that wait", quota.queued, count),
    ...of("Tasks that run", quota.running, count),
    ...of("Processor time today (UTC)", quota.cpu_s, (value) => duration(value * 1000)),
    ...of("Stored", quota.stored_bytes, bytes),
  ];
}
