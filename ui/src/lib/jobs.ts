/**
 * What the pages say about jobs, made from their counts.
 *
 * A job may stand for a million tasks, so nothing here looks at them one by one: progress, pace and
 * the time that is left come from the six counts that every answer carries.
 */

import { HELD, type Badge } from "./describe";
import { plural } from "./format";
import { MEMBER_STATES, type Job, type MemberState } from "./types";

export const MEMBER_LIMIT = 100;
export const JOB_LIMIT = 25;

const OPEN = new Set<MemberState>(["running", "queued"]);

export function endedOf(counts: Job["counts"]): number {
  return MEMBER_STATES.filter((state) => !OPEN.has(state)).reduce(
    (sum, state) => sum + counts[state],
    0,
  );
}

/** The parts of a job's bar that are not empty. */
export function segmentsOf(job: Job): { state: MemberState; count: number }[] {
  return MEMBER_STATES.map((state) => ({ state, count: job.counts[state] })).filter(
    ({ count }) => count > 0,
  );
}

/** `60 of 100`, and in words what became of them. */
export function progressText(job: Job): string {
  const parts = segmentsOf(job).map(({ state, count }) => `${count.toLocaleString("en")} ${state}`);
  return `${plural(job.size, "task")}: ${parts.join(", ") || "none"}`;
}

/** Never 100 % before the last one has ended, and never 0 % after the first one has. */
export function percent(job: Job): number {
  const ended = endedOf(job.counts);
  if (ended === 0 || job.size === 0) return 0;
  if (ended >= job.size) return 100;
  return Math.min(99, Math.max(1, Math.floor((100 * ended) / job.size)));
}

export function jobBadge(job: Job): Badge {
  if (!job.done && job.stopped) return { look: "cancelled", word: "Stopping", tone: "calm" };
  // What an executor has goes on: so long it runs, whatever is held.
  if (!job.done && job.held && job.counts.running === 0) return HELD;
  switch (job.state) {
    case "queued":
      return { look: "queued", word: "Queued", tone: "calm" };
    case "running":
      return { look: "running", word: "Running", tone: "busy" };
    case "succeeded":
      return { look: "succeeded", word: "Succeeded", tone: "good" };
    case "failed":
      return { look: "failed", word: "Failed", tone: "bad" };
    case "cancelled":
      return { look: "cancelled", word: "Cancelled", tone: "calm" };
    default:
      return { look: "unknown", word: `Unknown (${String(job.state)})`, tone: "warn" };
  }
}

/** The first line of a job's page, after its state. */
export function jobHeadline(job: Job): string {
  const ended = endedOf(job.counts);
  const failed = job.counts.failed + job.counts.error;
  const some = (count: number) => count.toLocaleString("en");
  if (job.stopped === "max_fails") {
    const allowed = plural(job.max_fails ?? 0, "failure was", "failures were");
    return `Stopped: ${plural(failed, "task")} failed, and ${allowed} allowed.`;
  }
  if (job.stopped === "cancelled") {
    const before = ended - job.counts.cancelled;
    const { by, reason } = job.cancellation ?? { by: "", reason: "" };
    const who = `Cancelled${by && ` by ${by}`}${reason && `: ${reason}`}`;
    return `${who}; ${some(before)} of ${plural(job.size, "task")} had ended before.`;
  }
  if (!job.done) {
    const so = failed > 0 ? `, ${some(failed)} of them not well` : "";
    const held = job.held ? "; no other begins before the job is released" : "";
    return `${some(ended)} of ${plural(job.size, "task")} have ended${so}${held}.`;
  }
  if (failed > 0) return `${some(failed)} of ${plural(job.size, "task")} failed.`;
  return job.size === 1 ? "Its task succeeded." : `All ${plural(job.size, "task")} succeeded.`;
}

/** Tasks that one retry may have; as the gateway's own bound. */
export const RETRY_MAX = 10_000;

/** The ends that tasks of a job may have to run again, with how many had each. */
export function retryable(job: Job): { state: MemberState; count: number }[] {
  return (["failed", "error", "cancelled"] as const)
    .map((state) => ({ state, count: job.counts[state] }))
    .filter(({ count }) => count > 0);
}

/** What had ended, and when that was read. */
export interface Sample {
  at: number;
  ended: number;
}

const WINDOW_MS = 60_000;
/** Shorter than this, one task more or less is the whole pace. */
const LEAST_MS = 4000;

/** The samples of the last minute, with the new one. */
export function remember(samples: Sample[], next: Sample): Sample[] {
  const recent = samples.filter((sample) => next.at - sample.at <= WINDOW_MS);
  return [...recent, next];
}

/** Ended tasks a second while this page was looked at; null while that says nothing. */
export function pace(samples: Sample[]): number | null {
  const [first, last] = [samples[0], samples.at(-1)];
  if (!first || !last || last.at - first.at < LEAST_MS || last.ended <= first.ended) return null;
  return (1000 * (last.ended - first.ended)) / (last.at - first.at);
}

/** `3.2 a second`, `12 a minute`, `4 an hour`. */
export function paceText(perSecond: number): string {
  const [number, unit] =
    perSecond >= 1
      ? [perSecond, "a second"]
      : perSecond >= 1 / 60
        ? [perSecond * 60, "a minute"]
        : [perSecond * 3600, "an hour"];
  return `${number < 10 ? Math.round(number * 10) / 10 : Math.round(number)} ${unit}`;
}

/** Milliseconds until all have ended, if it goes on as it does. */
export function timeLeft(job: Job, perSecond: number): number {
  return (1000 * (job.size - endedOf(job.counts))) / perSecond;
}

/** The address of a job's page; paging and filter live in the query. */
export function jobHref(id: string, state: MemberState | "", cursor = ""): string {
  const parameters = new URLSearchParams();
  if (state) parameters.set("state", state);
  if (cursor) parameters.set("cursor", cursor);
  const search = parameters.toString();
  return search ? `/jobs/${id}?${search}` : `/jobs/${id}`;
}

/** The page of a task or a job, whichever has this id: a job's ends in the place of no task. */
export function placeOf(id: string): string {
  return id.endsWith("000000") ? `/jobs/${id}` : `/tasks/${id}`;
}

export function memberStateOf(text: string | null): MemberState | "" {
  return MEMBER_STATES.find((state) => state === text) ?? "";
}
