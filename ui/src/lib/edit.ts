/**
 * What people change of a task that exists: its name, labels and retention at any time, its
 * priority while it waits. What is sent says only what is another, so that what was not touched cannot be undone.
 */

import type { ApiError, TaskPatch } from "./api";
import { pairsOf, spanText, textOfPairs } from "./options";
import type { Task } from "./types";

/** As it is typed. */
export interface Edit {
  name: string;
  /** One KEY=value a line. */
  labels: string;
  priority: string;
  /** How long it stays after its end; empty: as the cluster keeps any. */
  retention: string;
}

/** What an edit is about. */
export type Edited = Pick<Task, "name" | "labels" | "priority" | "retention_s" | "state">;

export function editOf(task: Edited): Edit {
  return {
    name: task.name,
    labels: textOfPairs(task.labels),
    priority: `${task.priority}`,
    retention: spanText(task.retention_s),
  };
}

export type EditProblems = Partial<Record<keyof Edit, string>>;

/** What can be told here; limits are the gateway's to judge. */
export function editProblems(edit: Edit): EditProblems {
  const problems: EditProblems = {};
  if (pairsOf(edit.labels) === null) problems.labels = "Each line is a label: KEY=value.";
  const priority = Number(edit.priority);
  if (!Number.isInteger(priority) || priority < -100 || priority > 100)
    problems.priority = `A whole number from -100 to 100 is needed; given: “${edit.priority.trim()}”.`;
  return problems;
}

/** What of `task` becomes another; empty where nothing does. */
export function patchOf(task: Edited, edit: Edit): TaskPatch {
  const patch: TaskPatch = {};
  const name = edit.name.trim();
  if (name !== task.name) patch.name = name || null;
  const wanted = pairsOf(edit.labels) ?? {};
  const labels: Record<string, string | null> = {};
  for (const key of Object.keys(task.labels)) if (!(key in wanted)) labels[key] = null;
  for (const [key, value] of Object.entries(wanted))
    if (task.labels[key] !== value) labels[key] = value;
  if (Object.keys(labels).length > 0) patch.labels = labels;
  const priority = Number(edit.priority);
  // Of a task that has begun nobody asks for it any more.
  if (task.state === "queued" && priority !== task.priority) patch.priority = priority;
  const retention = edit.retention.trim();
  if (retention !== editOf(task).retention) patch.retention = retention || null;
  return patch;
}

/** Whether somebody else changed what is edited here, and not only the task went on. */
export function isOther(before: Edited, now: Edited): boolean {
  const [old, fresh] = [editOf(before), editOf(now)];
  return (Object.keys(old) as (keyof Edit)[]).some((each) => old[each] !== fresh[each]);
}

/** Why a change was refused, in words that say what can be done. */
export function refusalText(error: ApiError): string {
  switch (error.code) {
    case "not_waiting":
      return `${error.message} Nothing was changed; name, labels and retention can be changed at any time.`;
    case "precondition_failed":
      return "It changes too often just now, and nothing was changed. Save again.";
    default:
      return `${error.title}. ${error.message}`;
  }
}
