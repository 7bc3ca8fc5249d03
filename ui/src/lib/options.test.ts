import { describe, expect, it } from "vitest";
import {
  emptyOptions,
  optionProblems,
  optionsOf,
  problemsOf,
  sizeText,
  spanText,
  stageDocument,
  usesOptions,
  pairsOf,
} from "./options";
import { emptyDraft, specOf, type Archives } from "./submission";
import type { Limits, Task } from "./types";

const NONE: Archives = { source: null, data: null };
const DEFAULTS: Limits = {
  wall_ms: 1000,
  cpu_ms: 1000,
  memory_bytes: 2 ** 29,
  pids: 128,
  output_bytes: 2 ** 26,
  file_bytes: 2 ** 28,
  cpus: 1,
  disk_bytes: 2 ** 28,
  disk_files: 16384,
  on_output_limit: "stop",
};

describe("usesOptions", () => {
  it("is false until something is set", () => expect(usesOptions(emptyOptions())).toBe(false));
  it.each([
    (o: ReturnType<typeof emptyOptions>) => (o.compile.limits.memory = "1GiB"),
    (o: ReturnType<typeof emptyOptions>) => (o.execute.env = "A=1"),
    (o: ReturnType<typeof emptyOptions>) => (o.execute.truncate = true),
    (o: ReturnType<typeof emptyOptions>) => (o.image = "gcc"),
    (o: ReturnType<typeof emptyOptions>) => (o.name = "third try"),
    (o: ReturnType<typeof emptyOptions>) => (o.labels = "hw=3"),
    (o: ReturnType<typeof emptyOptions>) => (o.retention = "7d"),
    (o: ReturnType<typeof emptyOptions>) => (o.priority = "-5"),
    (o: ReturnType<typeof emptyOptions>) => (o.cacheOff = true),
    (o: ReturnType<typeof emptyOptions>) => (o.collect = "*.o"),
    (o: ReturnType<typeof emptyOptions>) => (o.tries.ttl = "1h"),
  ])("is true with each of them (%#)", (change) => {
    const options = emptyOptions();
    change(options);
    expect(usesOptions(options)).toBe(true);
  });
});

describe("variables", () => {
  it("are lines of NAME=value", () =>
    expect(pairsOf("A=1\n\n B = x=y \r\n")).toEqual({ A: "1", B: " x=y " }));
  it.each(["A", "=1", "A=1\nB"])("are not %j", (text) => {
    expect(pairsOf(text)).toBeNull();
    const options = emptyOptions();
    options.compile.env = text;
    expect(Object.keys(optionProblems(options))).toEqual(["compile_env"]);
  });
});

it.each(["0", "-1", "many"])("refuses %s where a count is needed", (value) => {
  const options = emptyOptions();
  options.execute.limits.pids = value;
  options.execute.limits.memory = value; // judged by the gateway
  expect(Object.keys(optionProblems(options))).toEqual(["execute_pids"]);
});

it.each([
  ["labels", "no label"],
  ["priority", "high"],
  ["priority", "1.5"],
] as const)("refuses %s of %j", (name, value) => {
  const options = emptyOptions();
  options[name] = value;
  expect(Object.keys(optionProblems(options))).toEqual([name]);
});

it("puts the gateway's faults beside their controls", () => {
  const at = (pointer: string) => ({ pointer, detail: "no" });
  expect(
    Object.keys(
      problemsOf([
        at("/stages/execute/limits/memory"),
        at("/stages/compile/limits/wall_s"),
        at("/stages/compile/env/KHALA_X"),
        at("/image"),
        at("/labels/hw"),
        at("/priority"),
        at("/retention"),
        at("/artifacts/collect/0"),
        at("/sources/0"),
        at("/data/1/text"),
      ]).problems,
    ),
  ).toEqual([
    "execute_memory",
    "compile_timeout",
    "compile_env",
    "image",
    "labels",
    "priority",
    "retention",
    "collect",
    "compile_source_name",
    "execute_data_str",
  ]);
});

it("says what was given, and where a fault is that belongs to no control", () => {
  const fault = { detail: "a name has 1 to 64 characters", limit: 64, given: "x".repeat(100) };
  expect(
    problemsOf([
      { pointer: "/task/cases/1/name", ...fault },
      { pointer: "/stages/compile/limits/memory", detail: "8 is less than 9", given: 8 },
      { pointer: "/traceparent", detail: "no reason is called so", given: "boredom" },
    ]),
  ).toEqual({
    problems: {
      case_1_name: `A name has 1 to 64 characters; given: “${"x".repeat(80)}…”.`,
      compile_memory: "8 is less than 9.",
    },
    elsewhere: ["/traceparent: no reason is called so; given: “boredom”"],
  });
});

describe("the document", () => {
  it("leaves out what is not asked for", () =>
    expect(stageDocument(emptyOptions().compile, "make", "0")).toEqual({
      command: "make",
      limits: {},
      env: {},
      on_output_limit: "stop",
    }));
  it("has no stage without a command", () =>
    expect(stageDocument(emptyOptions().compile, " ", "1")).toBeNull());
  it("refers to archives as parts", () => {
    const draft = emptyDraft();
    draft.fields.user = "7";
    draft.fields.execute_command = "./main";
    draft.fields.execute_timeout = "2";
    draft.fields.execute_data_name = "raw.dat";
    draft.fields.execute_data_str = "1 2";
    draft.fields.execute_input = "in";
    draft.sourceVia = "zip";
    draft.options.execute.limits.pids = "5";
    draft.options.execute.limits.memory = "64MiB";
    draft.options.collect = "out/**\n*.log\n";
    draft.options.name = " third try ";
    draft.options.labels = "hw=3\nset=a";
    draft.options.priority = "-5";
    draft.options.retention = " 7d ";
    draft.options.network = "none";
    const source = new File(["PK"], "a.zip");
    expect(specOf(draft, { ...NONE, source })).toEqual({
      user: 7,
      sources: [{ part: "compile_source", unpack: "zip" }],
      data: [{ path: "raw.dat", text: "1 2" }],
      stages: {
        execute: {
          command: "./main",
          limits: { wall_s: 2, pids: 5, memory: "64MiB" },
          env: {},
          on_output_limit: "stop",
        },
      },
      stdin: { text: "in" },
      name: "third try",
      labels: { hw: "3", set: "a" },
      priority: -5,
      retention: "7d",
      network: "none",
      cache: "auto",
      artifacts: { collect: ["out/**", "*.log"] },
    });
  });
});

it("finds again what a task asked for, and nothing else", () => {
  const stage = (limits: Partial<Limits>, env: Record<string, string>) => ({
    command: "x",
    timeout_s: 1,
    limits: { ...DEFAULTS, ...limits },
    env,
    result: null,
  });
  const task = {
    stages: {
      compile: stage({}, {}),
      execute: stage(
        { memory_bytes: 3 * 2 ** 20, cpu_ms: 250, on_output_limit: "truncate" },
        { A: "1" },
      ),
    },
    name: "third try",
    labels: { hw: "3", set: "a" },
    priority: -5,
    image: "gcc",
    cache: "off",
    artifacts_request: { collect: ["a", "b"], max_total: 1, max_files: 1 },
    resources: { cpus: 2, memory: 4 * 2 ** 30 },
    placement: { require: { arch: "x86_64" }, avoid: {}, prefer: {} },
    depends_on: [],
    retry: null,
    retries: 0,
    max_crashes: 3,
    queue_ttl_s: 60,
    retention_s: 5400,
  } as unknown as Task;
  const expected = emptyOptions();
  expected.execute.limits.memory = "3MiB";
  expected.execute.limits.cpu_s = "250ms";
  expected.execute.env = "A=1";
  expected.execute.truncate = true;
  Object.assign(expected, {
    name: "third try",
    labels: "hw=3\nset=a",
    priority: "-5",
    retention: "90m",
    image: "gcc",
    cacheOff: true,
    collect: "a\nb",
    resources: "cpus=2\nmemory=4GiB",
    tries: { ...emptyOptions().tries, ttl: "60s" },
    require: "arch=x86_64",
  });
  expect(optionsOf(task, { compile: DEFAULTS, execute: DEFAULTS })).toEqual(expected);
});

it.each([
  [1000, "1000"],
  [1024, "1KiB"],
  [3 * 2 ** 20, "3MiB"],
  [2 ** 31, "2GiB"],
])("writes %d as %s", (size, text) => expect(sizeText(size)).toBe(text));

it.each([
  [null, ""],
  [61, "61s"],
  [120, "2m"],
  [5400, "90m"],
  [90_000, "25h"],
  [604_800, "7d"],
])("writes %d seconds as %s", (seconds, text) => expect(spanText(seconds)).toBe(text));
