/**
 * How often a task is tried, and what it waits for: as its form has it, and as the document says
 * it. What is given is the gateway's to judge; here it is only told apart from nothing.
 */

import { FAILURES } from "./attempts";
import type { Task } from "./types";

export const TRY_FIELDS = [
  {
    name: "attempts",
    label: "Results it may have",
    placeholder: "1",
    hint: "With 3, a failure is tried again up to twice.",
  },
  {
    name: "on",
    label: "Tried again after",
    placeholder: "any failure",
    hint: "Reasons, as: signal wall_time.",
  },
  {
    name: "backoff",
    label: "Pause before the second try",
    placeholder: "1s",
    hint: "Twice as long before each further one.",
  },
  { name: "longest", label: "Longest pause", placeholder: "5m", hint: "" },
  {
    name: "crashes",
    label: "Executors it may lose",
    placeholder: "3",
    hint: "With the last of them it ends.",
  },
  {
    name: "ttl",
    label: "Waits at most",
    placeholder: "no limit",
    hint: "It ends if nothing of it has begun by then: 30m, 2h.",
  },
  {
    name: "after",
    label: "Runs after",
    placeholder: "",
    hint: "Ids of tasks and jobs, one a line; :any behind one that need not succeed.",
  },
] as const;

export type Tries = Record<(typeof TRY_FIELDS)[number]["name"], string>;

export function emptyTries(): Tries {
  return { attempts: "", on: "", backoff: "", longest: "", crashes: "", ttl: "", after: "" };
}

const filled = (text: string) => text.trim() !== "";

export function usesTries(tries: Tries): boolean {
  return Object.values(tries).some(filled);
}

function usesRetry(tries: Tries): boolean {
  return [tries.on, tries.backoff, tries.longest].some(filled);
}

/** By the id of the control. */
export function tryProblems(tries: Tries): Record<string, string> {
  const problems: Record<string, string> = {};
  for (const name of ["attempts", "crashes"] as const)
    if (filled(tries[name]) && !/^\d+$/.test(tries[name].trim()))
      problems[`try_${name}`] = "A whole number is needed.";
  if (!filled(tries.attempts) && usesRetry(tries))
    problems["try_attempts"] = "Say how many results it may have, as 3.";
  return problems;
}

const words = (text: string) => text.split(/[\s,]+/).filter(Boolean);
const text = (value: string) => value.trim() || undefined;

export function triesDocument(tries: Tries): Record<string, unknown> {
  const on = words(tries.on);
  const after = words(tries.after).map((each) => {
    const [id, how] = each.split(":");
    return how === undefined ? id : { id, on: how };
  });
  return {
    retry: filled(tries.attempts)
      ? {
          max_attempts: Number(tries.attempts),
          on: on.length > 0 ? on : undefined,
          backoff_s: text(tries.backoff),
          backoff_max_s: text(tries.longest),
        }
      : undefined,
    max_crashes: filled(tries.crashes) ? Number(tries.crashes) : undefined,
    queue_ttl_s: text(tries.ttl),
    depends_on: after.length > 0 ? after : undefined,
  };
}

/** Of a task that exists; what is as ever was not asked for. */
export function triesOf(task: Task): Tries {
  const { retry } = task;
  const any = FAILURES.every((reason) => retry?.on.includes(reason));
  return {
    attempts: retry ? `${retry.max_attempts}` : "",
    on: retry && !any ? retry.on.join(" ") : "",
    backoff: retry && retry.backoff_s !== 1 ? `${retry.backoff_s}s` : "",
    longest: retry && retry.backoff_max_s !== 300 ? `${retry.backoff_max_s}s` : "",
    crashes: task.max_crashes === 3 ? "" : `${task.max_crashes}`,
    ttl: task.queue_ttl_s === null ? "" : `${task.queue_ttl_s}s`,
    after: task.depends_on.map(({ id, on }) => (on === "ok" ? id : `${id}:${on}`)).join("\n"),
  };
}

/** The control that a fault of the document belongs to, or null. */
export function tryControl(pointer: string): string | null {
  const found = /^\/(?:retry\/(\w+)|retry|max_crashes|queue_ttl_s|depends_on)\b/.exec(pointer);
  if (!found) return null;
  if (pointer.startsWith("/max_crashes")) return "try_crashes";
  if (pointer.startsWith("/queue_ttl_s")) return "try_ttl";
  if (pointer.startsWith("/depends_on")) return "try_after";
  const names: Record<string, string> = {
    on: "on",
    backoff_s: "backoff",
    backoff_max_s: "longest",
  };
  return `try_${names[found[1] ?? ""] ?? "attempts"}`;
}
