/**
 * A preset in the form of a new task.
 *
 * The form shows what a preset says as if it was typed there, and remembers which preset it was.
 * What is sent is the preset's name and what differs from it, as the merge patch (RFC 7396) that
 * the gateway applies: so what the form cannot show of a preset stays as the preset has it.
 */

import { CHECK_MODES, emptyCase, type CaseDraft, type CasesDraft } from "./cases";
import { stageWord } from "./describe";
import { LIMITS, NETWORKS, sizeText, STAGES, textOfPairs, type StageOptions } from "./options";
import { emptyDraft, LABELS, specOf, type Archives, type Draft, type Field } from "./submission";
import { TRY_FIELDS } from "./tries";
import type { Preset } from "./types";

export type Document = Record<string, unknown>;

const NO_ARCHIVES: Archives = { source: null, data: null };

export function isDocument(value: unknown): value is Document {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function same(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

// ---- what the form shows of a preset -----------------------------------------------------------

const part = (owner: unknown, name: string): Document => {
  const found = isDocument(owner) ? owner[name] : undefined;
  return isDocument(found) ? found : {};
};
const word = (value: unknown): string =>
  typeof value === "string" || typeof value === "number" ? `${value}` : "";
const pairs = (value: unknown): string =>
  isDocument(value) && Object.values(value).every((each) => typeof each === "string")
    ? textOfPairs(value as Record<string, string>)
    : "";
const lines = (value: unknown): string =>
  Array.isArray(value) && value.every((each) => typeof each === "string") ? value.join("\n") : "";
/** Durations that are numbers are seconds. */
const pause = (value: unknown): string => (typeof value === "number" ? `${value}s` : word(value));
const size = (value: unknown): string =>
  typeof value === "number" ? sizeText(value) : word(value);

const UNITS_S: Record<string, number> = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86_400 };

/** Whole seconds, which is all that the form has a field for. */
function seconds(value: unknown): string {
  const found = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?$/.exec(word(value).trim());
  if (!found) return "";
  const time = Number(found[1]) * (UNITS_S[found[2] ?? "s"] ?? 1);
  return Number.isInteger(time) ? `${time}` : "";
}

/** The one text file of a list, or nothing. */
function onlyFile(list: unknown): { path: string; text: string } {
  const only: unknown = Array.isArray(list) && list.length === 1 ? list[0] : null;
  if (isDocument(only) && typeof only["path"] === "string" && typeof only["text"] === "string")
    return { path: only["path"], text: only["text"] };
  return { path: "", text: "" };
}

/** The form of one who chose the preset and changed nothing. */
export function draftOfPreset(task: Document): Draft {
  const draft = emptyDraft();
  const { fields, options } = draft;
  fields.user = word(task["user"]);
  const source = onlyFile(task["sources"]);
  fields.compile_source_name = source.path;
  fields.compile_source_str = source.text;
  const data = onlyFile(task["data"]);
  fields.execute_data_name = data.path;
  fields.execute_data_str = data.text;
  fields.execute_input = word(part(task, "stdin")["text"]);
  fields.execute_standard = word(part(part(task, "expect"), "stdout")["text"]);
  for (const name of STAGES) {
    const stage = part(part(task, "stages"), name);
    fields[`${name}_command`] = word(stage["command"]);
    fields[`${name}_timeout`] = seconds(part(stage, "limits")["wall_s"]);
    takeStage(options[name], stage);
  }
  options.name = word(task["name"]);
  options.labels = pairs(task["labels"]);
  options.priority = word(task["priority"]);
  options.retention = pause(task["retention"]);
  options.image = word(task["image"]);
  options.network =
    NETWORKS.find((each) => each.network === task["network"])?.network ?? options.network;
  options.cacheOff = task["cache"] === "off";
  options.collect = lines(part(task, "artifacts")["collect"]);
  options.resources = Object.entries(part(task, "resources"))
    .map(
      ([name, amount]) =>
        `${name}=${name === "memory" || name === "disk" ? size(amount) : word(amount)}`,
    )
    .join("\n");
  for (const place of ["require", "avoid", "prefer"] as const)
    options[place] = pairs(part(task, "placement")[place]);
  const retry = part(task, "retry");
  Object.assign(options.tries, {
    attempts: word(retry["max_attempts"]),
    on: lines(retry["on"]).replaceAll("\n", " "),
    backoff: pause(retry["backoff_s"]),
    longest: pause(retry["backoff_max_s"]),
    crashes: word(task["max_crashes"]),
    ttl: pause(task["queue_ttl_s"]),
    after: lines(task["depends_on"]),
  });
  takeCases(draft.cases, task);
  return draft;
}

function takeStage(options: StageOptions, stage: Document): void {
  const limits = part(stage, "limits");
  for (const { name } of LIMITS) {
    const isCount = name === "cpus" || name === "pids" || name === "disk_files";
    const text = name === "cpu_s" ? pause : isCount ? word : size;
    options.limits[name] = text(limits[name]);
  }
  options.env = pairs(stage["env"]);
  options.truncate = stage["on_output_limit"] === "truncate";
}

function takeCases(cases: CasesDraft, task: Document): void {
  const check = part(task, "check");
  const mode = CHECK_MODES.find((each) => each.mode === check["mode"])?.mode;
  const sources = Array.isArray(check["sources"]) ? check["sources"] : [];
  const file = onlyFile(sources);
  // A checker of several files is not one that the form can show.
  if (mode && (mode !== "program" || sources.length === (file.path ? 1 : 0)))
    Object.assign(cases.check, {
      mode,
      absolute: word(check["absolute"]),
      relative: word(check["relative"]),
      file: file.path,
      text: file.text,
      compile: word(check["compile"]),
      command: word(check["command"]),
    });
  cases.stopOnFirst = task["stop_on_first_failure"] === true;
  const items = Array.isArray(task["cases"]) ? task["cases"].map(caseOf) : [];
  if (items.length === 0 || items.includes(null)) return;
  cases.via = "cases";
  cases.items = items as CaseDraft[];
}

/** Null for one that is not all text. */
function caseOf(given: unknown): CaseDraft | null {
  const stdin = part(given, "stdin");
  const expected = part(part(given, "expect"), "stdout");
  const texts = [stdin, expected].every((each) => same(Object.keys(each), []) || "text" in each);
  if (!isDocument(given) || !texts) return null;
  return {
    ...emptyCase(),
    name: word(given["name"]),
    stdin: word(stdin["text"]),
    expected: word(expected["text"]),
    weight: word(given["weight"]),
  };
}

/** What the form would send of what it shows of a preset, had it been typed. */
function shownOf(task: Document): Document {
  const draft = draftOfPreset(task);
  const stages = part(task, "stages");
  const bare = STAGES.filter((name) => name in stages && !draft.fields[`${name}_command`].trim());
  // A stage without a command is none to the form, but its limits are shown all the same.
  for (const name of bare) draft.fields[`${name}_command`] = "true";
  const shown = specOf(draft, NO_ARCHIVES);
  for (const name of bare) delete part(part(shown, "stages"), name)["command"];
  if (!("user" in task)) delete shown["user"];
  return shown;
}

/** Pointers of what a preset says and the form cannot show. */
export function unseenOf(task: Document): string[] {
  return unseen(task, shownOf(task), "");
}

function unseen(said: Document, shown: Document, at: string): string[] {
  return Object.entries(said).flatMap(([name, value]) => {
    const pointer = `${at}/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`;
    const there = shown[name];
    if (isDocument(value) && isDocument(there)) return unseen(value, there, pointer);
    if (isDocument(value) ? same(value, {}) : !value) return [];
    if (Array.isArray(value) && Array.isArray(there))
      return value.length === there.length ? [] : [pointer];
    return there === undefined ? [pointer] : [];
  });
}

// ---- what is sent ------------------------------------------------------------------------------

/** The task document of the form: all of it, or what differs from its preset. */
export function documentOf(draft: Draft, archives: Archives, preset: Preset | null): Document {
  const whole = specOf(draft, archives);
  if (preset === null) return whole;
  return { preset: preset.name, ...patchOf(shownOf(preset.task), whole, preset.task) };
}

/** From what is `shown` to `whole`; what is `said` beside that gives way where it is in the way. */
function patchOf(shown: Document, whole: Document, said: Document): Document {
  const patch: Document = {};
  for (const [name, value] of Object.entries(whole)) {
    const before = shown[name];
    if (same(before, value)) continue;
    if (isDocument(value) && isDocument(before))
      patch[name] = patchOf(before, value, part(said, name));
    else if (isDocument(value)) {
      const others = Object.keys(part(said, name)).map((each) => [each, null]);
      patch[name] = { ...Object.fromEntries(others), ...value };
    } else patch[name] = value;
  }
  for (const name of Object.keys(shown)) if (!(name in whole)) patch[name] = null;
  return patch;
}

/** RFC 7396, as the gateway does it. */
export function merged(base: unknown, patch: unknown): unknown {
  if (!isDocument(patch)) return patch;
  const whole: Document = isDocument(base) ? { ...base } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete whole[name];
    else whole[name] = merged(whole[name], value);
  }
  return whole;
}

/** What a preset could be made of that is in the form: whose task it is, is no part of it. */
export function keepable(draft: Draft, preset: Preset | null): Document {
  const { user: _user, preset: _name, ...patch } = documentOf(draft, NO_ARCHIVES, preset);
  const whole = merged(preset?.task ?? {}, patch) as Document;
  return Object.fromEntries(
    Object.entries(whole).filter(
      ([, value]) => !same(value, []) && !same(value, {}) && value !== "auto",
    ),
  );
}

// ---- what differs ------------------------------------------------------------------------------

type Leaf = string | boolean | unknown[];

interface Place {
  owner: Record<string, unknown>;
  key: string;
}

/** Every setting of a draft by the id of its control. */
function placesOf(owner: object, path = ""): [id: string, place: Place][] {
  return Object.entries(owner).flatMap(([key, value]) => {
    const inner = path ? `${path}.${key}` : key;
    if (isDocument(value)) return placesOf(value, inner);
    return inner === "preset"
      ? []
      : [[controlOf(inner), { owner: owner as Record<string, unknown>, key }]];
  });
}

function controlOf(path: string): string {
  const renamed: Record<string, string> = {
    "options.maxFails": "max_fails",
    "options.cacheOff": "cache_off",
    "cases.stopOnFirst": "stop_on_first",
  };
  return (
    renamed[path] ??
    path
      .replace(/^options\.(compile|execute)\.(?:limits\.)?(\w+)$/, "$1_$2")
      .replace(/^options\.tries\.(\w+)$/, "try_$1")
      .replace(/^cases\.check\.(\w+)$/, "check_$1")
      .replace(/^(?:fields|options)\.(\w+)$/, "$1")
  );
}

/** What the preset says, by the id of the control, where the form says something else. */
export function overriddenOf(draft: Draft, task: Document): Map<string, string> {
  const found = new Map<string, string>();
  const own = new Map(placesOf(draft));
  const nothing = new Map(placesOf(emptyDraft()));
  for (const [id, { owner, key }] of placesOf(draftOfPreset(task))) {
    const said = owner[key] as Leaf;
    const read = (places: Map<string, Place>) => places.get(id)?.owner[places.get(id)?.key ?? ""];
    if (same(said, read(nothing)) || same(said, read(own))) continue;
    found.set(id, typeof said === "string" ? said : said === true ? "yes" : "others");
  }
  return found;
}

/** Puts back what the preset says, in `draft` itself. */
export function takeBack(draft: Draft, task: Document, id: string): void {
  const said = new Map(placesOf(draftOfPreset(task))).get(id);
  const own = new Map(placesOf(draft)).get(id);
  if (said && own) own.owner[own.key] = said.owner[said.key];
}

/** The form after a change of its preset: what was changed stays, what was the preset's goes. */
export function rebased(draft: Draft, before: Preset | null, after: Preset | null): Draft {
  const moved = rebase(
    draft,
    before ? draftOfPreset(before.task) : emptyDraft(),
    after ? draftOfPreset(after.task) : emptyDraft(),
  ) as Draft;
  return { ...moved, preset: after?.name ?? "" };
}

function rebase(own: unknown, before: unknown, after: unknown): unknown {
  if (isDocument(own) && isDocument(before) && isDocument(after))
    return Object.fromEntries(
      Object.keys(own).map((key) => [key, rebase(own[key], before[key], after[key])]),
    );
  return same(own, before) ? after : own;
}

/** What a control is called, for sentences. */
export function labelOf(id: string): string {
  const field = LABELS[id as Field] as string | undefined;
  if (field) return field;
  const stage = STAGES.find((name) => id.startsWith(`${name}_`));
  const rest = stage ? id.slice(stage.length + 1) : id.replace(/^try_/, "");
  const limit = LIMITS.find((each) => each.name === rest)?.label;
  if (stage) return `${stageWord(stage)}: ${(limit ?? OTHERS[rest] ?? rest).toLowerCase()}`;
  return (
    (id.startsWith("try_") && TRY_FIELDS.find((each) => each.name === rest)?.label) || other(id)
  );
}

const OTHERS: Record<string, string> = {
  env: "Variables",
  truncate: "Output beyond its limit",
  cache_off: "Compile cache",
  collect: "Artifacts",
  retention: "Kept after its end",
  max_fails: "Failures allowed",
  require: "Only on executors with",
  avoid: "Never on executors with",
  prefer: "Rather on executors with",
  stop_on_first: "Stop after the first case",
  check_mode: "Judged by",
  sourceVia: "Source",
  dataVia: "Data",
  "cases.via": "Input",
  "cases.items": "Cases",
};

function other(id: string): string {
  const name = id.replace(/^check_/, "checker's ");
  return OTHERS[id] ?? name.charAt(0).toUpperCase() + name.slice(1);
}

// ---- from the form of a task to that of a preset -----------------------------------------------

let seed: Document | null = null;

/** The next new preset begins with this. */
export function plant(task: Document): void {
  seed = task;
}

export function harvest(): Document | null {
  const task = seed;
  seed = null;
  return task;
}
