/** The tries of a task in words. What a word leaves out, the attempt's own message says. */

import type { Badge } from "./describe";
import { duration, parseTime } from "./format";
import type { Attempt, Task } from "./types";

/** Most tasks are tried once, and then their page has said everything already. */
export function hasHistory(task: Task): boolean {
  if (task.attempt > 1 || task.retries > 0 || task.crashes > 0) return true;
  return task.attempt === 1 && task.state === "queued";
}

export function attemptBadge(attempt: Attempt): Badge {
  switch (attempt.end) {
    case "running":
      return { look: "running", word: "Running", tone: "busy" };
    case "recorded":
      return attempt.reason === "ok"
        ? { look: "succeeded", word: "Succeeded", tone: "good" }
        : { look: "failed", word: "Failed", tone: "bad" };
    case "retried":
      return { look: "retrying", word: "Failed, tried again", tone: "warn" };
    case "executor_lost":
      return { look: "error", word: "Executor lost", tone: "warn" };
    case "drained":
      return { look: "retrying", word: "Moved away", tone: "calm" };
    case "returned":
      return { look: "cancelled", word: "Given back", tone: "calm" };
    case "cancelled":
      return { look: "cancelled", word: "Cancelled", tone: "calm" };
    default:
      return { look: "unknown", word: attempt.end, tone: "warn" };
  }
}

export function attemptWhy(attempt: Attempt): string {
  if (attempt.message) return attempt.message;
  if (attempt.end === "executor_lost") return "its executor or its sandbox was lost with it";
  if (attempt.end === "drained")
    return "its executor was to be empty, and what ran there was stopped";
  return attempt.end === "returned" ? "its executor could not run it, and gave it back" : "";
}

/** From its beginning to its end, or to now. */
export function attemptTook(attempt: Attempt, now: number): string {
  if (attempt.started_at === null) return "–";
  const end = attempt.ended_at === null ? now : parseTime(attempt.ended_at);
  return duration(end - parseTime(attempt.started_at));
}

/** Every way in which a command can fail: what is tried again unless a task says otherwise. */
export const FAILURES = [
  "exit_nonzero",
  "signal",
  "wall_time",
  "cpu_time",
  "memory",
  "output_limit",
  "process_limit",
  "file_size",
  "disk",
  "syscall",
];

/** `up to 3 results, after wall_time or signal`; null if the first result is the last. */
export function retryText(task: Task): string | null {
  const { retry } = task;
  if (retry === null) return null;
  const any = FAILURES.every((reason) => retry.on.includes(reason));
  const on = any ? "any failure" : retry.on.join(" or ");
  return `up to ${retry.max_attempts} results, after ${on}`;
}
