/**
 * What happened to a task, in one sentence.
 *
 * The server's own sentence is used where it gives one. Otherwise the sentence is built from the
 * facts (reason, limit, observed) and never says more than they do.
 */

import { sentence } from "./api";
import type { Difference, Explanation, StageName, StageResult, State, Task } from "./types";
import { bytes, duration, plural, signalName } from "./format";
import { acceptedText } from "./verdicts";

export type Tone = "good" | "bad" | "warn" | "busy" | "calm";

export type Look =
  | "queued"
  | "retrying"
  | "held"
  | "starting"
  | "compiling"
  | "running"
  | "succeeded"
  | "failed"
  | "cancelled"
  | "error"
  | "unknown";

export interface Badge {
  look: Look;
  word: string;
  tone: Tone;
}

const BADGES: Record<State, Badge> = {
  queued: { look: "queued", word: "Queued", tone: "calm" },
  starting: { look: "starting", word: "Starting", tone: "busy" },
  compiling: { look: "compiling", word: "Compiling", tone: "busy" },
  running: { look: "running", word: "Running", tone: "busy" },
  succeeded: { look: "succeeded", word: "Succeeded", tone: "good" },
  failed: { look: "failed", word: "Failed", tone: "bad" },
  cancelled: { look: "cancelled", word: "Cancelled", tone: "calm" },
  error: { look: "error", word: "Error", tone: "warn" },
};

/** It waits for nobody but the one who holds it. */
export const HELD: Badge = { look: "held", word: "Held", tone: "warn" };

/** `state` as far as known, `status` as KV2 counts: together they name stage and retries too. */
export function badge(state: State | null, status: number): Badge {
  if (state === null) return { look: "unknown", word: `Unknown (${status})`, tone: "warn" };
  if (state === "failed" && status === 2) return { ...BADGES.failed, word: "Compile failed" };
  if (state === "failed" && status === 4) return { ...BADGES.failed, word: "Run failed" };
  if (state === "queued" && status === 6)
    return { look: "retrying", word: "Retrying", tone: "warn" };
  return BADGES[state] ?? { look: "unknown", word: `Unknown (${state})`, tone: "warn" };
}

/** Of a row of a list. */
export function rowBadge(row: { state: State; held: boolean }, status: number): Badge {
  return row.state === "queued" && row.held ? HELD : badge(row.state, status);
}

/** The stage that decided a failed task. */
export function failedStage(task: Task): StageName | null {
  if (task.state !== "failed") return null;
  for (const name of ["compile", "execute"] as const) {
    const result = task.stages[name]?.result;
    if (result && result.reason !== "ok") return name;
  }
  return null;
}

export function taskBadge(task: Task): Badge {
  const stage = failedStage(task);
  const status = stage === "compile" ? 2 : stage === "execute" ? 4 : -1;
  if (task.state === "queued" && task.held) return HELD;
  if (task.state === "queued" && task.attempt > 0 && task.crashes > 0) return badge("queued", 6);
  return badge(task.state in BADGES ? task.state : null, status);
}

/** A task that waits for something else than an executor: its headline is all there is to say. */
export function isSaidWhole(task: Task): boolean {
  return task.pending?.code === "held" || task.pending?.code === "quota";
}

/** Whether there is more to say of why a task waits than the summary does. */
export function saysMore(why: Explanation): boolean {
  return (
    why.position !== null ||
    why.would_run_if.length > 0 ||
    why.blocking.some((each) => each.code !== "held")
  );
}

/** Whether a stage may have run: known, unless the task was stopped without a result. */
export function mayHaveRun(task: Task, name: StageName): boolean {
  if (task.stages[name]?.result) return true;
  if (task.started_at === null || task.reason === "bad_input") return false;
  const compiled = task.stages.compile?.result;
  return name === "compile" || !compiled || compiled.reason === "ok";
}

export function isDone(state: State): boolean {
  return state === "succeeded" || state === "failed" || state === "cancelled" || state === "error";
}

function against(result: StageResult, show: (value: number) => string): string {
  if (result.observed !== null && result.limit !== null)
    return `: ${show(result.observed)}, limit ${show(result.limit)}`;
  return result.limit === null ? "" : `, limit ${show(result.limit)}`;
}

/** Why a stage ended as it did, without the name of the stage and without a full stop. */
export function cause(result: StageResult): string {
  const count = (value: number) => plural(value, "process", "processes");
  switch (result.reason) {
    case "ok":
      return "exited with 0";
    case "exit_nonzero":
      return result.exit_code === null
        ? "exited with a non-zero code"
        : `exited with code ${result.exit_code}`;
    case "signal":
      return result.signal === null
        ? "was ended by a signal"
        : `was ended by ${signalName(result.signal)}`;
    case "wall_time":
      return `ran out of time${against(result, duration)}`;
    case "cpu_time":
      return `used up its processor time${against(result, duration)}`;
    case "memory":
      return `ran out of memory${against(result, bytes)}`;
    case "output_limit":
      return `wrote too much output${against(result, bytes)}`;
    case "process_limit":
      return `started too many processes${against(result, count)}`;
    case "file_size":
      return `wrote too large a file${against(result, bytes)}`;
    case "disk":
      return `filled its disk space${against(result, bytes)}`;
    case "syscall":
      return "made a system call that the sandbox forbids";
    case "cancelled":
      return "was cancelled";
    case "bad_input":
      return "could not use its input";
    case "setup_failed":
      return "could not be set up in its sandbox";
    default:
      return `ended with the reason “${result.reason}”`;
  }
}

const STAGE_WORDS: Record<StageName, string> = { compile: "Compile", execute: "Execute" };

export function stageWord(name: StageName): string {
  return STAGE_WORDS[name];
}

const ERRORS: Record<string, string> = {
  bad_input: "The task's input could not be used.",
  executor_lost_repeatedly: "The executors that ran it were lost too often.",
  setup_failed: "The sandbox could not be set up.",
  internal: "Khala failed to run it; this is a fault of the platform, not of the task.",
};

/** Here the number says it all: "exit status 3" is no more than "exited with code 3". */
const SAYS_LESS = new Set(["exit_nonzero", "signal"]);

/**
 * The first line of a task's page, after its state. `waits` is the gateway's latest word on why it
 * waits, if there is one that is newer than the task's own.
 */
export function headline(task: Task, waits = ""): string {
  const where = task.executor ? ` on ${task.executor}` : "";
  switch (task.state) {
    case "queued":
      return queued(task, waits || (task.pending?.detail ?? ""));
    case "starting":
      return `Preparing the sandbox${where}.`;
    case "compiling":
      return `The compile command runs${where}.`;
    case "running":
      return `The execute command runs${where}.`;
    case "succeeded":
      return succeeded(task);
    case "failed": {
      const first = task.cases?.find((each) => each.reason !== null && each.reason !== "ok");
      if (first?.message) {
        const accepted = acceptedText(task);
        return `${accepted ? `${accepted}; case` : "Case"} ${first.name}: ${first.message}.`;
      }
      const stage = failedStage(task);
      const result = stage ? task.stages[stage]?.result : null;
      if (stage && result)
        return result.message && !SAYS_LESS.has(result.reason)
          ? sentence(`${STAGE_WORDS[stage]}: ${result.message}`)
          : `The ${stage} command ${cause(result)}.`;
      return unexplained(task);
    }
    case "cancelled":
      // "cancelled: why" would keep its small letter, as a name of a field does.
      if (task.message) return sentence(task.message.replace(/^cancelled/, "Cancelled"));
      return task.started_at ? "Cancelled while it ran." : "Cancelled before it ran.";
    case "error":
      if (task.message) return sentence(task.message);
      return ERRORS[task.reason ?? ""] ?? unexplained(task);
    default:
      return `This page does not know the state “${String(task.state)}”.`;
  }
}

function queued(task: Task, waits: string): string {
  const lost = task.crashes > 0 ? `An executor was lost ${times(task.crashes)}. ` : "";
  return lost + (waits ? sentence(waits) : "Waiting to run.");
}

function unexplained(task: Task): string {
  if (task.message) return sentence(task.message);
  return task.reason ? `Reason: ${task.reason}.` : "The server gave no reason.";
}

function times(count: number): string {
  return count === 1 ? "once" : count === 2 ? "twice" : `${count} times`;
}

function succeeded(task: Task): string {
  const accepted = acceptedText(task);
  if (accepted !== null) return `${accepted}.`;
  if (task.verdict === "AC") return "The output is what was expected.";
  if (task.first_difference)
    return `Not the expected output: ${differenceText(task.first_difference)}.`;
  const ran = (["compile", "execute"] as const).filter((name) => task.stages[name]?.result);
  if (ran.length === 2) return "Both commands exited with 0.";
  if (ran.length === 1) return `The ${ran[0]} command exited with 0.`;
  return "Nothing had to run: both commands are empty.";
}

/** Where an output first differs from what was expected, without a full stop. */
export function differenceText(found: Difference): string {
  const { line, expected, actual } = found;
  const bare = (text: string | null) => text?.replace(/\r?\n$/, "") ?? null;
  if (expected !== null && actual !== null && bare(expected) === bare(actual))
    return `line ${line}: ${lineEnds(expected, actual)} after “${bare(actual)}”`;
  const quoted = (text: string | null, nothing: string) =>
    text === null ? nothing : `“${bare(text)}”`;
  return `line ${line}: expected ${quoted(expected, "nothing more")}, got ${quoted(actual, "nothing")}`;
}

/** Of two lines that differ in nothing else: what cannot be seen has to be said. */
function lineEnds(expected: string, actual: string): string {
  // Only the beginning of a long line is known.
  if (actual === expected) return "different";
  if (!actual.endsWith("\n")) return "a line end is missing";
  if (!expected.endsWith("\n")) return "there is a line end too many";
  return actual.endsWith("\r\n") ? "the line end is CR LF" : "the line end is not CR LF";
}
