import { describe, expect, it } from "vitest";
import type { Explanation, Stage, StageResult, Task } from "./types";
import {
  badge,
  differenceText,
  headline,
  isSaidWhole,
  mayHaveRun,
  saysMore,
  taskBadge,
} from "./describe";

const EMPTY = { size: 0, kept: 0, text: "", gap: null, tail: null, truncated: false };

function result(more: Partial<StageResult> = {}): StageResult {
  return {
    reason: "ok",
    exit_code: 0,
    signal: null,
    limit: null,
    observed: null,
    wall_ms: 10,
    cpu_user_ms: 1,
    cpu_system_ms: 1,
    memory_peak_bytes: 1,
    pids_peak: 1,
    written_bytes: 0,
    message: null,
    cache: null,
    stdout: EMPTY,
    stderr: EMPTY,
    ...more,
  };
}

function stage(ended: StageResult | null): Stage {
  return {
    command: "x",
    timeout_s: 1,
    limits: {
      wall_ms: 1000,
      cpu_ms: 1000,
      memory_bytes: 1,
      pids: 1,
      output_bytes: 1,
      file_bytes: 1,
      cpus: 1,
      disk_bytes: 1,
      disk_files: 1,
      on_output_limit: "stop",
    },
    env: {},
    result: ended,
  };
}

function task(more: Partial<Task>): Task {
  return {
    id: "6b04d4787d852fb9eb7f7a4e",
    pending: null,
    job: null,
    resources: {},
    placement: { require: {}, avoid: {}, prefer: {} },
    check: null,
    stop_on_first_failure: false,
    depends_on: [],
    retry: null,
    retries: 0,
    max_crashes: 3,
    queue_ttl_s: null,
    rerun_of: null,
    user: 0,
    state: "queued",
    reason: null,
    message: null,
    attempt: 0,
    crashes: 0,
    executor: null,
    created_at: "2026-01-01T00:00:00Z",
    started_at: null,
    finished_at: null,
    updated_at: "2026-01-01T00:00:00Z",
    enforcement: null,
    stages: { compile: null, execute: null },
    inputs: {
      compile_source: null,
      execute_data: null,
      execute_input: null,
      execute_standard: null,
    },
    artifacts: null,
    name: "",
    labels: {},
    priority: 0,
    held: false,
    image: "",
    cache: "auto",
    artifacts_request: null,
    ...more,
  };
}

describe("headline", () => {
  it("prefers the server's sentence about an ended task", () => {
    const ended = task({ state: "error", message: "the archive is not a zip file" });
    expect(headline(ended)).toBe("The archive is not a zip file.");
  });
  it("names stage, cause and numbers of a failure", () => {
    const memory = result({ reason: "memory", limit: 268_435_456, observed: 268_435_456 });
    const failed = task({
      state: "failed",
      stages: { compile: stage(result()), execute: stage(memory) },
    });
    expect(headline(failed)).toBe("The execute command ran out of memory: 256 MiB, limit 256 MiB.");
    expect(taskBadge(failed).word).toBe("Run failed");
  });
  it.each([
    [{ reason: "exit_nonzero", exit_code: 3 }, "The compile command exited with code 3."],
    [{ reason: "signal", signal: 11 }, "The compile command was ended by SIGSEGV."],
    [
      { reason: "wall_time", limit: 1000, observed: null },
      "The compile command ran out of time, limit 1 s.",
    ],
    [
      { reason: "exit_nonzero", exit_code: 1, message: "exit status 1" },
      "The compile command exited with code 1.",
    ],
    [{ reason: "made_up" }, "The compile command ended with the reason “made_up”."],
    [{ reason: "disk", message: "no space left" }, "Compile: no space left."],
  ])("%j", (ended, text) => {
    const failed = task({
      state: "failed",
      stages: { compile: stage(result(ended)), execute: stage(null) },
    });
    expect(headline(failed)).toBe(text);
    expect(taskBadge(failed).word).toBe("Compile failed");
  });
  it("says nothing that is not known", () => {
    expect(headline(task({ state: "failed" }))).toBe("The server gave no reason.");
    expect(headline(task({ state: "starting" }))).toBe("Preparing the sandbox.");
    expect(headline(task({ state: "hibernating" as never }))).toContain("hibernating");
  });
  it("says why a task waits in the server's words, the latest of them", () => {
    const pending = { code: "no_fit", detail: "no online executor can run it" };
    expect(headline(task({ pending }))).toBe("No online executor can run it.");
    expect(headline(task({ pending }), "a slot is free")).toBe("A slot is free.");
  });
  it("tells a retry from a first wait", () => {
    const again = task({ attempt: 2, crashes: 2 });
    expect(headline(again)).toBe("An executor was lost twice. Waiting to run.");
    expect(taskBadge(again).word).toBe("Retrying");
    expect(taskBadge(task({})).word).toBe("Queued");
    expect(taskBadge(task({ held: true, attempt: 1, crashes: 1 })).word).toBe("Held");
  });
  it("does not claim two commands where one ran", () => {
    const one = { compile: stage(null), execute: stage(result()) };
    const judged = { state: "succeeded", stages: one } as const;
    expect(headline(task({ ...judged, verdict: "AC" }))).toBe("The output is what was expected.");
    const first_difference = { line: 2, expected: "a\n", actual: "b\n" };
    expect(headline(task({ ...judged, verdict: "WA", first_difference }))).toBe(
      "Not the expected output: line 2: expected “a”, got “b”.",
    );
    expect(headline(task({ state: "succeeded", stages: one }))).toBe(
      "The execute command exited with 0.",
    );
  });
});

it("does not say that a cancelled task never ran", () => {
  const stages = { compile: stage(null), execute: stage(null) };
  const running = task({ state: "cancelled", started_at: "2026-01-01T00:00:01Z", stages });
  expect(mayHaveRun(running, "execute")).toBe(true);
  expect(mayHaveRun(task({ state: "cancelled", stages }), "execute")).toBe(false);
  expect(mayHaveRun({ ...running, reason: "bad_input" }, "compile")).toBe(false);
  const broken = { ...stages, compile: stage(result({ reason: "exit_nonzero" })) };
  expect(mayHaveRun({ ...running, state: "failed", stages: broken }, "execute")).toBe(false);
});

it.each([
  ["cancelled by ann: wrong input", "Cancelled by ann: wrong input."],
  ["cancelled: wrong input", "Cancelled: wrong input."],
  [null, "Cancelled before it ran."],
])("says who cancelled a task, and why: %s", (message, said) => {
  expect(headline(task({ state: "cancelled", message, started_at: null }))).toBe(said);
});

it("shows unknown states as unknown", () => {
  expect(badge(null, 42)).toMatchObject({ look: "unknown", word: "Unknown (42)" });
  expect(taskBadge(task({ state: "hibernating" as never })).look).toBe("unknown");
});

describe("the first difference", () => {
  it("says what was expected and what came", () => {
    expect(differenceText({ line: 17, expected: "42\n", actual: "41" })).toBe(
      "line 17: expected “42”, got “41”",
    );
    expect(differenceText({ line: 2, expected: null, actual: "x" })).toBe(
      "line 2: expected nothing more, got “x”",
    );
    expect(differenceText({ line: 1, expected: "x", actual: null })).toBe(
      "line 1: expected “x”, got nothing",
    );
  });
  it.each([
    ["3", "3\n", "there is a line end too many after “3”"],
    ["3\n", "3", "a line end is missing after “3”"],
    ["3\n", "3\r\n", "the line end is CR LF after “3”"],
    ["3\r\n", "3\n", "the line end is not CR LF after “3”"],
    ["long", "long", "different after “long”"],
  ])("says what cannot be seen: %j and %j", (expected, actual, text) =>
    expect(differenceText({ line: 1, expected, actual })).toBe(`line 1: ${text}`),
  );
});

describe("why a task waits", () => {
  const why = (code: string, position: number | null = null): Explanation => ({
    state: "queued",
    summary: "it waits",
    blocking: [{ code, detail: "it waits", nodes: [], count: 0 }],
    position,
    would_run_if: [],
  });
  it("is said once where no executor is waited for", () => {
    expect(saysMore(why("held"))).toBe(false);
    expect(saysMore({ ...why("held"), blocking: [] })).toBe(false);
    expect(isSaidWhole(task({ pending: { code: "held", detail: "" } }))).toBe(true);
    expect(isSaidWhole(task({ pending: { code: "no_slot", detail: "" } }))).toBe(false);
  });
  it("is more than its summary where executors, a place or a remedy can be named", () => {
    expect(saysMore(why("no_slot"))).toBe(true);
    expect(saysMore(why("held", 3))).toBe(true);
    expect(saysMore({ ...why("held"), would_run_if: ["an executor came"] })).toBe(true);
  });
});
