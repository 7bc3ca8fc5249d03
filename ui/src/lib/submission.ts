/**
 * The form of a new task as data: its fields, what is wrong with them, and the request they make.
 *
 * The checks are the gateway's own (KV2's contract), made here so that an error stands beside its
 * field instead of being one code for the whole form.
 */

import {
  emptyOptions,
  linesOf,
  pairsOf,
  placeDocument,
  stageDocument,
  usesOptions,
  type Options,
} from "./options";
import { casesDocument, emptyCases, usesCases, type CasesDraft } from "./cases";
import type { Submitted } from "./types";

export interface Fields {
  user: string;
  compile_source_name: string;
  compile_source_str: string;
  compile_command: string;
  compile_timeout: string;
  execute_input: string;
  execute_data_name: string;
  execute_data_str: string;
  execute_command: string;
  execute_timeout: string;
  execute_standard: string;
}

export type Field = keyof Fields | "compile_source" | "execute_data";

/** How a set of files is given: typed here, or as an archive. */
export type Via = "text" | "zip";

export interface Draft {
  /** The name of what it begins with; empty: nothing. */
  preset: string;
  fields: Fields;
  sourceVia: Via;
  dataVia: Via;
  options: Options;
  cases: CasesDraft;
}

export interface Archives {
  source: File | null;
  data: File | null;
}

export const LABELS: Record<Field, string> = {
  user: "User Id",
  compile_source: "Compile Source Zip",
  compile_source_name: "Compile Source File Name",
  compile_source_str: "Compile Source Text",
  compile_command: "Compile Command",
  compile_timeout: "Compile Timeout",
  execute_input: "Execute Input",
  execute_data: "Execute Data Zip",
  execute_data_name: "Execute Data File Name",
  execute_data_str: "Execute Data Text",
  execute_command: "Execute Command",
  execute_timeout: "Execute Timeout",
  execute_standard: "Execute Standard",
};

/** In the order of the form, which is the order of the summary of errors. */
export const FIELD_ORDER = Object.keys(LABELS) as Field[];

export const INTEGER_MAX = 2_147_483_647;
/** What every file system takes, in all and between two slashes. */
const NAME_BYTES_MAX = 1024;
const NAME_STEP_BYTES_MAX = 255;

const utf8 = new TextEncoder();

export function emptyDraft(): Draft {
  return {
    preset: "",
    fields: {
      user: "",
      compile_source_name: "",
      compile_source_str: "",
      compile_command: "",
      compile_timeout: "",
      execute_input: "",
      execute_data_name: "",
      execute_data_str: "",
      execute_command: "",
      execute_timeout: "",
      execute_standard: "",
    },
    sourceVia: "text",
    dataVia: "text",
    options: emptyOptions(),
    cases: emptyCases(),
  };
}

export function isEmpty(draft: Draft): boolean {
  return Object.values(draft.fields).every((value) => value === "") && isPlain(draft);
}

/** It says nothing that KV2's form cannot say. */
export function isPlain(draft: Draft): boolean {
  return draft.preset === "" && !usesOptions(draft.options) && !usesCases(draft.cases);
}

/** The task of the README's first steps. */
export function exampleDraft(): Draft {
  const draft = emptyDraft();
  Object.assign(draft.fields, {
    user: "0",
    compile_source_name: "main.cpp",
    compile_source_str: [
      "#include <iostream>",
      "using namespace std;",
      "char str[100];",
      "int main()",
      "{",
      "    cin.getline(str, 100);",
      '    cout << "From Khala: " << str << endl;',
      "    return 0;",
      "}",
      "",
    ].join("\n"),
    compile_command: "g++ -g -Wall -o main main.cpp",
    compile_timeout: "10",
    execute_input: "Hello World!",
    execute_command: "./main",
    execute_timeout: "1",
  } satisfies Partial<Fields>);
  return draft;
}

/** A finished task's own submission as a draft; its files are added by the caller. */
export function draftOf(task: Submitted): Draft {
  const draft = emptyDraft();
  Object.assign(draft.fields, {
    user: `${task.user}`,
    compile_command: task.compile.command,
    compile_timeout: `${task.compile.timeout}`,
    execute_input: task.execute.input,
    execute_command: task.execute.command,
    execute_timeout: `${task.execute.timeout}`,
    execute_standard: task.execute.standard,
  } satisfies Partial<Fields>);
  return draft;
}

export type Problems = Partial<Record<Field, string>>;

export function validate(draft: Draft, archives: Archives): Problems {
  const { fields } = draft;
  const problems: Problems = {};
  const add = (field: Field, problem: string | null) => {
    if (problem) problems[field] = problem;
  };
  add("user", integerProblem(fields.user, "a user number"));
  // A preset may have said it in a way that the field cannot show, as 500ms.
  for (const name of ["compile_timeout", "execute_timeout"] as const)
    if (draft.preset === "" || fields[name].trim() !== "")
      add(name, integerProblem(fields[name], "a number of seconds"));
  if (draft.sourceVia === "text") {
    add("compile_source_name", nameProblem(fields.compile_source_name, fields.compile_source_str));
    add("compile_source_str", textProblem(fields.compile_source_name, fields.compile_source_str));
  } else if (!archives.source) {
    add("compile_source", "Choose a zip file, or switch to writing a file.");
  }
  if (draft.dataVia === "text") {
    add("execute_data_name", nameProblem(fields.execute_data_name, fields.execute_data_str));
    add("execute_data_str", textProblem(fields.execute_data_name, fields.execute_data_str));
  } else if (!archives.data) {
    add("execute_data", "Choose a zip file, or switch to writing a file.");
  }
  return problems;
}

function integerProblem(text: string, what: string): string | null {
  const trimmed = text.trim();
  if (trimmed === "") return `Enter ${what}; 0 is allowed.`;
  const fits = /^\+?\d+$/.test(trimmed) && Number(trimmed) <= INTEGER_MAX;
  return fits ? null : `“${trimmed}” is not a whole number from 0 to ${INTEGER_MAX}.`;
}

function nameProblem(name: string, text: string): string | null {
  if (name === "") return text === "" ? null : "Give the text a file name, or clear the text.";
  if (name.startsWith("/")) return "Must be a relative path: it cannot start with “/”.";
  const steps = name.split("/");
  if (steps.includes("..")) return "Must stay inside the task's folder: “..” is not possible.";
  if (steps.some((step) => step === "" || step === "."))
    return "Must name a file: empty and “.” steps are not possible.";
  const longest = Math.max(...steps.map((step) => utf8.encode(step).length));
  if (longest > NAME_STEP_BYTES_MAX)
    return `At most ${NAME_STEP_BYTES_MAX} bytes between slashes; there are ${longest}.`;
  const size = utf8.encode(name).length;
  if (size > NAME_BYTES_MAX) return `At most ${NAME_BYTES_MAX} bytes; this has ${size}.`;
  return /[\u0000-\u001f\u007f\\]/.test(name)
    ? "Control characters and “\\” are not possible."
    : null;
}

function textProblem(name: string, text: string): string | null {
  return name !== "" && text === "" ? "Write the file's text, or clear its name." : null;
}

/** The fields that are sent; unused halves of a choice are not. */
export function sentFields(draft: Draft): [keyof Fields, string][] {
  const { fields } = draft;
  const sent: [keyof Fields, string][] = [["user", fields.user.trim()]];
  if (draft.sourceVia === "text" && fields.compile_source_name !== "")
    sent.push(
      ["compile_source_name", fields.compile_source_name],
      ["compile_source_str", fields.compile_source_str],
    );
  sent.push(
    ["compile_command", fields.compile_command],
    ["compile_timeout", fields.compile_timeout.trim()],
    ["execute_input", fields.execute_input],
  );
  if (draft.dataVia === "text" && fields.execute_data_name !== "")
    sent.push(
      ["execute_data_name", fields.execute_data_name],
      ["execute_data_str", fields.execute_data_str],
    );
  sent.push(
    ["execute_command", fields.execute_command],
    ["execute_timeout", fields.execute_timeout.trim()],
    ["execute_standard", fields.execute_standard],
  );
  return sent;
}

function sentArchives(
  draft: Draft,
  archives: Archives,
): ["compile_source" | "execute_data", File][] {
  const sent: ["compile_source" | "execute_data", File][] = [];
  if (draft.sourceVia === "zip" && archives.source) sent.push(["compile_source", archives.source]);
  if (draft.dataVia === "zip" && archives.data) sent.push(["execute_data", archives.data]);
  return sent;
}

export function formData(draft: Draft, archives: Archives): FormData {
  const form = new FormData();
  for (const [name, value] of sentFields(draft)) form.append(name, value);
  for (const [name, file] of sentArchives(draft, archives)) form.append(name, file, file.name);
  return form;
}

/** The form as a task document of the second API; archives are parts beside it. */
export function specOf(draft: Draft, archives: Archives): Record<string, unknown> {
  const { fields, options } = draft;
  const files = (via: Via, archive: File | null, part: string, name: string, text: string) => {
    if (via === "zip") return archive ? [{ part, unpack: "zip" }] : [];
    return name === "" ? [] : [{ path: name, text }];
  };
  const stages = {
    compile: stageDocument(options.compile, fields.compile_command, fields.compile_timeout),
    execute: stageDocument(options.execute, fields.execute_command, fields.execute_timeout),
  };
  const many = draft.cases.via === "cases";
  const collect = linesOf(options.collect).map((line) => line.trim());
  const spec = {
    user: Number(fields.user),
    sources: files(
      draft.sourceVia,
      archives.source,
      "compile_source",
      fields.compile_source_name,
      fields.compile_source_str,
    ),
    data: files(
      draft.dataVia,
      archives.data,
      "execute_data",
      fields.execute_data_name,
      fields.execute_data_str,
    ),
    stages: Object.fromEntries(Object.entries(stages).filter(([, stage]) => stage !== null)),
    stdin: many || fields.execute_input === "" ? undefined : { text: fields.execute_input },
    expect:
      many || fields.execute_standard === ""
        ? undefined
        : { stdout: { text: fields.execute_standard } },
    ...casesDocument(draft.cases),
    ...placeDocument(options),
    name: options.name.trim() || undefined,
    labels: options.labels.trim() === "" ? undefined : (pairsOf(options.labels) ?? {}),
    priority: Number(options.priority) || undefined,
    retention: options.retention.trim() || undefined,
    image: options.image.trim() || undefined,
    network: options.network === "loopback" ? undefined : options.network,
    cache: options.cacheOff ? "off" : "auto",
    artifacts: collect.length > 0 ? { collect } : undefined,
  };
  // What is not set is not in the document.
  return JSON.parse(JSON.stringify(spec)) as Record<string, unknown>;
}

/** The job that repeats `task` for the indexes of its array; archives are written into it. */
export async function jobSpec(
  task: Record<string, unknown>,
  draft: Draft,
  archives: Archives,
): Promise<Record<string, unknown>> {
  for (const list of [task["sources"], task["data"]] as (Record<string, unknown>[] | undefined)[])
    for (const each of list ?? []) {
      const file = each["part"] === "compile_source" ? archives.source : archives.data;
      if (each["part"] === undefined || file === null) continue;
      delete each["part"];
      each["base64"] = base64(new Uint8Array(await file.arrayBuffer()));
    }
  const { array, maxFails, name } = draft.options;
  return {
    name: name.trim(),
    array: array.trim(),
    ...(maxFails.trim() !== "" && { max_fails: Number(maxFails) }),
    task,
  };
}

function base64(bytes: Uint8Array): string {
  const CHUNK = 0x8000;
  let text = "";
  for (let at = 0; at < bytes.length; at += CHUNK)
    text += String.fromCharCode(...bytes.subarray(at, at + CHUNK));
  return btoa(text);
}

/** `task` is the form's document. */
export function specForm(
  task: Record<string, unknown>,
  draft: Draft,
  archives: Archives,
): FormData {
  const form = new FormData();
  form.append("spec", JSON.stringify(task));
  for (const [name, file] of sentArchives(draft, archives)) form.append(name, file, file.name);
  return form;
}

/** One word for a POSIX shell, whatever it contains. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** The same submission as a command line; `task` is the form's document. */
export function curlCommand(
  draft: Draft,
  archives: Archives,
  to: { origin: string; token: boolean; task?: Record<string, unknown> },
): string {
  const parts = ["curl --fail-with-body"];
  if (to.token) parts.push('--header "Authorization: Bearer $KHALA_TOKEN"');
  // --form-string, because --form would read a value that begins with @ or < as a file's name.
  const plain = isPlain(draft);
  const texts: [string, string][] = plain
    ? sentFields(draft)
    : [["spec", JSON.stringify(to.task ?? specOf(draft, archives), null, 1)]];
  for (const [name, value] of texts) parts.push(`--form-string ${shellWord(`${name}=${value}`)}`);
  for (const [name, file] of sentArchives(draft, archives)) {
    const path = file.name.replaceAll("\\", "\\\\").replaceAll('"', '\\"');
    parts.push(`--form ${shellWord(`${name}=@"${path}";type=application/zip`)}`);
  }
  parts.push(shellWord(`${to.origin}${plain ? "/api/task" : "/api/v2/tasks"}`));
  return parts.join(" \\\n  ");
}
