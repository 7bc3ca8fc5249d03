import { describe, expect, test } from "vitest";
import {
  documentOf,
  draftOfPreset,
  keepable,
  merged,
  overriddenOf,
  rebased,
  takeBack,
  unseenOf,
  type Document,
} from "./presets";
import { emptyDraft, specOf, type Draft } from "./submission";
import type { Preset } from "./types";

const NONE = { source: null, data: null };

const TASK: Document = {
  sources: [{ path: "main.py", text: "print(1)\n" }],
  stages: {
    compile: { command: "true", limits: { wall_s: "10s", memory: 268435456 } },
    execute: { limits: { wall_s: "500ms", cpus: 0.5 }, env: { A: "1", B: "2" } },
  },
  stdin: { base64: "AA==" },
  labels: { hw: "3" },
  retention: 3600,
  artifacts: { collect: ["*.log"], max_total: 100 },
  retry: { max_attempts: 2, on: ["signal"], backoff_s: 2 },
  resources: { memory: "1GiB", gpu: 2048 },
};

const preset = (name: string, task: Document): Preset => ({
  name,
  description: "",
  task,
  updated_at: "",
});
const kept = preset("kept", TASK);

/** The form of one who chose the preset. */
function chosen(from: Preset = kept): Draft {
  const draft = rebased(emptyDraft(), null, from);
  draft.fields.user = "7";
  return draft;
}

/** What is sent, and what the gateway makes of it. */
function sent(draft: Draft, from: Preset = kept): { patch: Document; whole: Document } {
  const { preset: name, ...patch } = documentOf(draft, NONE, from);
  expect(name).toBe(from.name);
  return { patch, whole: merged(from.task, patch) as Document };
}

describe("a preset in the form", () => {
  test("is shown as if it had been typed", () => {
    const { fields, options } = chosen();
    expect(fields.compile_source_str).toBe("print(1)\n");
    expect([fields.compile_timeout, fields.execute_timeout]).toEqual(["10", ""]);
    expect(options.compile.limits.memory).toBe("256MiB");
    expect(options.retention).toBe("3600s");
    expect(options.execute.env).toBe("A=1\nB=2");
    expect(options.resources).toBe("memory=1GiB\ngpu=2048");
    expect(options.tries).toMatchObject({ attempts: "2", on: "signal", backoff: "2s" });
  });

  test("says what cannot be shown", () => {
    expect(unseenOf(TASK)).toEqual([
      "/stages/execute/limits/wall_s",
      "/stdin",
      "/artifacts/max_total",
    ]);
  });

  test("is sent as its name alone if nothing is changed", () => {
    const draft = chosen();
    draft.fields.execute_command = "python3 main.py";
    const { patch, whole } = sent(draft);
    expect(patch).toEqual({ user: 7, stages: { execute: { command: "python3 main.py" } } });
    expect(whole["stdin"]).toEqual(TASK["stdin"]);
  });

  test("is overridden field by field, and what is emptied is taken away", () => {
    const draft = chosen();
    draft.fields.execute_command = "cat";
    draft.fields.execute_input = "typed";
    draft.options.compile.limits.memory = "";
    draft.options.execute.env = "A=9";
    draft.options.labels = "";
    draft.options.collect = "*.txt";
    const { patch, whole } = sent(draft);
    expect(patch).toEqual({
      user: 7,
      stages: {
        compile: { limits: { memory: null } },
        execute: { command: "cat", env: { A: "9", B: null } },
      },
      // Bytes come one way only.
      stdin: { base64: null, text: "typed" },
      labels: null,
      artifacts: { collect: ["*.txt"] },
    });
    expect(whole).toMatchObject({
      stdin: { text: "typed" },
      artifacts: { collect: ["*.txt"], max_total: 100 },
    });
    const found = overriddenOf(draft, TASK);
    expect([...found.keys()].sort()).toEqual([
      "collect",
      "compile_memory",
      "execute_env",
      "labels",
    ]);
    expect(found.get("compile_memory")).toBe("256MiB");
    takeBack(draft, TASK, "compile_memory");
    expect(draft.options.compile.limits.memory).toBe("256MiB");
  });

  test("a stage that the task has not is taken away", () => {
    const draft = chosen();
    draft.fields.compile_command = "";
    draft.fields.execute_command = "cat";
    expect(sent(draft).whole["stages"]).not.toHaveProperty("compile");
  });

  test("gives way to another one, and what was typed stays", () => {
    const draft = chosen();
    draft.fields.execute_command = "mine";
    draft.options.labels = "own=1";
    const other = preset("other", { name: "n", labels: { other: "1" } });
    const next = rebased(draft, kept, other);
    expect(next.preset).toBe("other");
    expect(next.fields).toMatchObject({
      user: "7",
      execute_command: "mine",
      compile_command: "",
      compile_source_name: "",
    });
    expect(next.options).toMatchObject({ labels: "own=1", name: "n", resources: "" });
    expect(sent(next, other).patch["labels"]).toEqual({ other: null, own: "1" });
    expect(rebased(next, other, null).options).toMatchObject({ labels: "own=1", name: "" });
  });

  test("cases and a checker of one file are shown, others stay the preset's", () => {
    const cases = [{ name: "a", stdin: { text: "1" }, expect: { stdout: { text: "2" } } }];
    const shown = preset("shown", { cases, check: { mode: "lines" } });
    expect(draftOfPreset(shown.task).cases).toMatchObject({
      via: "cases",
      check: { mode: "lines" },
    });
    expect(sent(chosen(shown), shown).patch).toEqual({ user: 7 });
    const hidden = preset("hidden", {
      cases: [{ stdin: { base64: "AA==" } }],
      check: { mode: "program", sources: [{ path: "a" }, { path: "b" }], command: "x" },
    });
    expect(unseenOf(hidden.task)).toEqual(["/cases", "/check"]);
    const draft = chosen(hidden);
    expect(sent(draft, hidden).patch).toEqual({ user: 7 });
    draft.cases.check.mode = "exact";
    expect(sent(draft, hidden).whole["check"]).toEqual({ mode: "exact" });
  });
});

test("a form is kept as the preset that would make it", () => {
  const draft = chosen();
  draft.fields.execute_command = "cat";
  expect(keepable(draft, kept)).toEqual({
    ...TASK,
    stages: merged(TASK["stages"], { execute: { command: "cat" } }),
  });
  const plain = emptyDraft();
  plain.fields.user = "3";
  plain.fields.execute_command = "cat";
  expect(keepable(plain, null)).toEqual({ stages: specOf(plain, NONE)["stages"] });
});
