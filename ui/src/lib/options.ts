/**
 * What a task may ask for beyond KV2's form: name, priority, limits, variables, image and more.
 *
 * KV2's form cannot say any of it. So a form that uses an option is sent as a task document of the
 * second API, and one that uses none as ever: what KV2's clients send is what most people see.
 */

import { sentence, type Issue } from "./api";
import { caseControl } from "./cases";
import { emptyTries, triesDocument, triesOf, tryControl, tryProblems, usesTries } from "./tries";
import type { Tries } from "./tries";
import type { Limits, StageName, Task } from "./types";

export const STAGES = ["compile", "execute"] as const;

/** In the order of the form; the names are those of the task document. */
export const LIMITS = [
  { name: "cpu_s", label: "Processor time", hint: "2s, 500ms" },
  { name: "cpus", label: "Processors", hint: "1, 0.5" },
  { name: "memory", label: "Memory", hint: "256MiB" },
  { name: "pids", label: "Processes", hint: "64" },
  { name: "output", label: "Output", hint: "16MiB" },
  { name: "file_size", label: "Largest file", hint: "64MiB" },
  { name: "disk", label: "Disk", hint: "512MiB" },
  { name: "disk_files", label: "Files on disk", hint: "1000" },
] as const;

export type LimitName = (typeof LIMITS)[number]["name"];

export interface StageOptions {
  limits: Record<LimitName, string>;
  /** One NAME=value a line. */
  env: string;
  truncate: boolean;
}

export const NETWORKS = [
  { network: "loopback", word: "Loopback", hint: "An interface of its own that leads nowhere." },
  { network: "none", word: "None", hint: "No interface at all." },
  { network: "full", word: "Full", hint: "The executor's network, of executors that offer it." },
] as const;

export type Network = (typeof NETWORKS)[number]["network"];

export interface Options {
  compile: StageOptions;
  execute: StageOptions;
  name: string;
  /** One KEY=value a line. */
  labels: string;
  priority: string;
  /** How long it stays after its end. */
  retention: string;
  image: string;
  network: Network;
  cacheOff: boolean;
  /** One pattern a line. */
  collect: string;
  /** What it takes up of its executor beside a slot: NAME=amount a line. */
  resources: string;
  /** Labels of executors, one KEY=value a line. */
  require: string;
  avoid: string;
  prefer: string;
  /** Indexes to run it for: a job then, not a task. Empty: once. */
  array: string;
  maxFails: string;
  tries: Tries;
}

/** By the id of the control. */
export type OptionProblems = Record<string, string>;

export function emptyOptions(): Options {
  const stage = (): StageOptions => ({
    limits: {
      cpu_s: "",
      cpus: "",
      memory: "",
      pids: "",
      output: "",
      file_size: "",
      disk: "",
      disk_files: "",
    },
    env: "",
    truncate: false,
  });
  return {
    compile: stage(),
    execute: stage(),
    name: "",
    labels: "",
    priority: "",
    retention: "",
    image: "",
    network: "loopback",
    cacheOff: false,
    collect: "",
    resources: "",
    require: "",
    avoid: "",
    prefer: "",
    array: "",
    maxFails: "",
    tries: emptyTries(),
  };
}

function usesStage(options: StageOptions): boolean {
  return (
    options.truncate ||
    options.env.trim() !== "" ||
    Object.values(options.limits).some((value) => value.trim() !== "")
  );
}

const TEXTS = [
  "name",
  "labels",
  "priority",
  "retention",
  "image",
  "collect",
  "resources",
  "require",
  "avoid",
  "prefer",
  "array",
] as const;
const PLACES = ["require", "avoid", "prefer"] as const;

export function usesOptions(options: Options): boolean {
  return (
    usesStage(options.compile) ||
    usesStage(options.execute) ||
    options.cacheOff ||
    options.network !== "loopback" ||
    usesTries(options.tries) ||
    TEXTS.some((name) => options[name].trim() !== "")
  );
}

export function linesOf(text: string): string[] {
  return text
    .split("\n")
    .map((line) => line.replace(/\r$/, ""))
    .filter((line) => line.trim() !== "");
}

/** Null if a line is no NAME=value. */
export function pairsOf(text: string): Record<string, string> | null {
  const found: Record<string, string> = {};
  for (const line of linesOf(text)) {
    const at = line.indexOf("=");
    if (at < 1) return null;
    found[line.slice(0, at).trim()] = line.slice(at + 1);
  }
  return found;
}

export function textOfPairs(pairs: Record<string, string>): string {
  return Object.entries(pairs)
    .map(([name, value]) => `${name}=${value}`)
    .join("\n");
}

/** What can be told here; limits and names are the gateway's to judge. */
export function optionProblems(options: Options): OptionProblems {
  const problems: OptionProblems = tryProblems(options.tries);
  if (pairsOf(options.labels) === null) problems["labels"] = "Each line is a label: KEY=value.";
  if (!Number.isInteger(Number(options.priority)))
    problems["priority"] = "A whole number is needed.";
  for (const place of PLACES)
    if (pairsOf(options[place]) === null) problems[place] = "Each line is a label: KEY=value.";
  if (pairsOf(options.resources) === null)
    problems["resources"] = "Each line is an amount: NAME=amount.";
  if (options.maxFails.trim() !== "" && !/^\d+$/.test(options.maxFails.trim()))
    problems["max_fails"] = "A whole number from 0 on is needed.";
  for (const stage of STAGES) {
    if (pairsOf(options[stage].env) === null)
      problems[`${stage}_env`] = "Each line is a variable: NAME=value.";
    for (const name of ["cpus", "pids", "disk_files"] as const) {
      const value = options[stage].limits[name].trim();
      if (value !== "" && !(Number(value) > 0))
        problems[`${stage}_${name}`] = "A number above 0 is needed.";
    }
  }
  return problems;
}

/**
 * The gateway's faults at the controls that they belong to. `elsewhere` has those that belong to
 * none, with the place in the document that they are about.
 */
export function problemsOf(issues: Issue[]): { problems: OptionProblems; elsewhere: string[] } {
  const problems: OptionProblems = {};
  const elsewhere: string[] = [];
  for (const issue of issues) {
    // A job's document has the task's in itself.
    const id = controlOf(issue.pointer.replace(/^\/task(?=\/)/, ""));
    if (id === null) elsewhere.push(`${issue.pointer || "/"}: ${faultText(issue)}`);
    else problems[id] ??= sentence(faultText(issue));
  }
  return { problems, elsewhere };
}

const GIVEN_CHARS_MAX = 80;

/** What is wrong, with the value that is, unless it is named already. */
function faultText({ detail, given }: Issue): string {
  if (typeof given !== "string" && typeof given !== "number") return detail;
  const text = `${given}`;
  if (text === "" || detail.includes(text)) return detail;
  const shown = text.length > GIVEN_CHARS_MAX ? `${text.slice(0, GIVEN_CHARS_MAX)}…` : text;
  return `${detail}; given: ${typeof given === "number" ? shown : `“${shown}”`}`;
}

function controlOf(pointer: string): string | null {
  const limit = /^\/stages\/(compile|execute)\/limits\/(\w+)$/.exec(pointer);
  if (limit) return limit[2] === "wall_s" ? `${limit[1]}_timeout` : `${limit[1]}_${limit[2]}`;
  const inStage = /^\/stages\/(compile|execute)\/(env|command)/.exec(pointer);
  if (inStage) return `${inStage[1]}_${inStage[2]}`;
  const whole =
    /^\/(image|network|name|labels|priority|retention|resources|array|max_fails)\b/.exec(pointer);
  if (whole) return whole[1] ?? null;
  const place = /^\/placement\/(require|avoid|prefer)\b/.exec(pointer);
  if (place) return place[1] ?? null;
  if (pointer.startsWith("/artifacts")) return "collect";
  const files = /^\/(sources|data)(?:\/\d+\/(\w+))?/.exec(pointer);
  if (files) return fileControl(files[1] === "data" ? "execute_data" : "compile_source", files[2]);
  if (pointer.startsWith("/stdin")) return "execute_input";
  if (pointer.startsWith("/expect")) return "execute_standard";
  return pointer === "/user" ? "user" : (caseControl(pointer) ?? tryControl(pointer));
}

function fileControl(which: "compile_source" | "execute_data", key = ""): string {
  if (key === "part" || key === "unpack") return which;
  return key === "text" ? `${which}_str` : `${which}_name`;
}

/** The parts of the document that say when, where and how often it may run, and what it takes up. */
export function placeDocument(options: Options): Record<string, unknown> {
  const amounts = Object.entries(pairsOf(options.resources) ?? {}).map(([name, value]) => {
    const number = Number(value);
    // Texts such as 8GiB are the gateway's to read.
    return [name, value.trim() === "" || Number.isNaN(number) ? value.trim() : number];
  });
  const places = PLACES.filter((place) => options[place].trim() !== "").map((place) => [
    place,
    pairsOf(options[place]) ?? {},
  ]);
  return {
    resources: amounts.length > 0 ? Object.fromEntries(amounts) : undefined,
    placement: places.length > 0 ? Object.fromEntries(places) : undefined,
    ...triesDocument(options.tries),
  };
}

/** The document's stage; null if there is no command. */
export function stageDocument(
  options: StageOptions,
  command: string,
  timeout: string,
): Record<string, unknown> | null {
  if (command.trim() === "") return null;
  const limits: Record<string, unknown> = {};
  if (Number(timeout) > 0) limits["wall_s"] = Number(timeout);
  for (const { name } of LIMITS) {
    const value = options.limits[name].trim();
    const isCount = name === "cpus" || name === "pids" || name === "disk_files";
    if (value !== "") limits[name] = isCount ? Number(value) : value;
  }
  return {
    command,
    limits,
    env: pairsOf(options.env) ?? {},
    on_output_limit: options.truncate ? "truncate" : "stop",
  };
}

/** The options of a task that ran; what equals `defaults` was not asked for. */
export function optionsOf(task: Task, defaults: Record<StageName, Limits>): Options {
  const options = emptyOptions();
  for (const name of STAGES) {
    const stage = task.stages[name];
    if (!stage) continue;
    options[name].env = textOfPairs(stage.env);
    options[name].truncate = stage.limits.on_output_limit === "truncate";
    const { limits } = stage;
    const usual = defaults[name];
    const put = (limit: LimitName, value: number, of: number, text: string) => {
      if (value !== of) options[name].limits[limit] = text;
    };
    put("cpus", limits.cpus, usual.cpus, `${limits.cpus}`);
    const cpu = Math.ceil(limits.wall_ms * limits.cpus);
    put("cpu_s", limits.cpu_ms, cpu, `${limits.cpu_ms}ms`);
    put("memory", limits.memory_bytes, usual.memory_bytes, sizeText(limits.memory_bytes));
    put("pids", limits.pids, usual.pids, `${limits.pids}`);
    put("output", limits.output_bytes, usual.output_bytes, sizeText(limits.output_bytes));
    put("file_size", limits.file_bytes, usual.file_bytes, sizeText(limits.file_bytes));
    put("disk", limits.disk_bytes, usual.disk_bytes, sizeText(limits.disk_bytes));
    put("disk_files", limits.disk_files, usual.disk_files, `${limits.disk_files}`);
  }
  options.name = task.name;
  options.labels = textOfPairs(task.labels);
  options.priority = task.priority === 0 ? "" : `${task.priority}`;
  options.retention = spanText(task.retention_s);
  options.image = task.image;
  options.network = task.network ?? "loopback";
  options.cacheOff = task.cache === "off";
  options.resources = textOfPairs(
    Object.fromEntries(
      Object.entries(task.resources).map(([name, amount]) => [
        name,
        name === "memory" || name === "disk" ? sizeText(amount) : `${amount}`,
      ]),
    ),
  );
  for (const place of PLACES) options[place] = textOfPairs(task.placement[place]);
  options.collect = task.artifacts_request?.collect.join("\n") ?? "";
  options.tries = triesOf(task);
  return options;
}

/** Whole seconds in the largest unit that leaves no rest; nothing for none. */
export function spanText(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined) return "";
  for (const [unit, factor] of [
    ["d", 86_400],
    ["h", 3600],
    ["m", 60],
  ] as const)
    if (seconds > 0 && seconds % factor === 0) return `${seconds / factor}${unit}`;
  return `${seconds}s`;
}

export function sizeText(size: number): string {
  for (const [unit, factor] of [
    ["GiB", 2 ** 30],
    ["MiB", 2 ** 20],
    ["KiB", 2 ** 10],
  ] as const)
    if (size > 0 && size % factor === 0) return `${size / factor}${unit}`;
  return `${size}`;
}
