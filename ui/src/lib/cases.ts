/**
 * The cases of a new task, as they are written in its form: inputs with what should come of them,
 * and how the two are compared.
 */

import type { Issue } from "./api";

/** As the gateway's own bound; more are spread over several tasks. */
export const CASES_MAX = 256;

export interface CaseDraft {
  name: string;
  stdin: string;
  expected: string;
  weight: string;
}

export const CHECK_MODES = [
  { mode: "tokens", word: "Words", hint: "The words between white space must be the same." },
  { mode: "lines", word: "Lines", hint: "Every line, but for white space at its end." },
  { mode: "exact", word: "Every byte", hint: "Output and expectation must be the same." },
  { mode: "float", word: "Numbers", hint: "The words; numbers may differ a little." },
  { mode: "regex", word: "Pattern", hint: "What is expected is a pattern for the whole output." },
  {
    mode: "program",
    word: "Checker",
    hint: "A program of yours decides, in a sandbox of its own.",
  },
] as const;

export type CheckMode = (typeof CHECK_MODES)[number]["mode"];

export interface CheckDraft {
  mode: CheckMode;
  /** Of numbers; empty: the gateway's. */
  absolute: string;
  relative: string;
  /** Of a checker. */
  file: string;
  text: string;
  compile: string;
  command: string;
}

export interface CasesDraft {
  /** One input for the one run, or a run for each case. */
  via: "one" | "cases";
  items: CaseDraft[];
  check: CheckDraft;
  stopOnFirst: boolean;
}

export function emptyCase(): CaseDraft {
  return { name: "", stdin: "", expected: "", weight: "" };
}

export function emptyCases(): CasesDraft {
  return {
    via: "one",
    items: [emptyCase()],
    check: {
      mode: "tokens",
      absolute: "",
      relative: "",
      file: "",
      text: "",
      compile: "",
      command: "",
    },
    stopOnFirst: false,
  };
}

export function usesCases(cases: CasesDraft): boolean {
  return cases.via === "cases" || cases.check.mode !== "tokens";
}

/** Between two cases, and between an input and its expectation, on lines of their own. */
const CASE_LINE = /^={3,}[ \t]*(.*)$/;
const EXPECT_LINE = /^-{3,}[ \t]*$/;

/**
 * Cases pasted as text: `=== name` begins one, `---` stands before what is expected of it. Text
 * without any such line is the input of one case.
 */
export function parsePasted(text: string): CaseDraft[] {
  const found: CaseDraft[] = [];
  let current: CaseDraft | null = null;
  let into: "stdin" | "expected" = "stdin";
  for (const line of text.replace(/\r\n/g, "\n").replace(/\n$/, "").split("\n")) {
    const begins = CASE_LINE.exec(line);
    if (begins) {
      current = { ...emptyCase(), name: (begins[1] ?? "").trim() };
      found.push(current);
      into = "stdin";
      continue;
    }
    if (current === null) {
      if (line.trim() === "") continue;
      current = emptyCase();
      found.push(current);
    }
    if (EXPECT_LINE.test(line) && into === "stdin") into = "expected";
    else current[into] += `${line}\n`;
  }
  return found;
}

/** The parts of a task document that its cases make. */
export function casesDocument(cases: CasesDraft): Record<string, unknown> {
  const check = checkDocument(cases.check);
  if (cases.via === "one") return { check };
  const judged = cases.check.mode === "program" || cases.items.some((each) => each.expected !== "");
  return {
    cases: cases.items.map((each) => ({
      name: each.name.trim() || undefined,
      stdin: { text: each.stdin },
      expect: expects(each, cases, judged) ? { stdout: { text: each.expected } } : undefined,
      weight: each.weight.trim() === "" ? undefined : Number(each.weight),
    })),
    check: judged ? check : undefined,
    stop_on_first_failure: cases.stopOnFirst || undefined,
  };
}

/** A checker may do without; elsewhere all have an expectation, be it no output, or none has. */
function expects(each: CaseDraft, cases: CasesDraft, judged: boolean): boolean {
  return cases.check.mode === "program" ? each.expected !== "" : judged;
}

function checkDocument(check: CheckDraft): Record<string, unknown> | undefined {
  const number = (text: string) => (text.trim() === "" ? undefined : Number(text));
  switch (check.mode) {
    case "tokens":
      return undefined;
    case "float":
      return { mode: "float", absolute: number(check.absolute), relative: number(check.relative) };
    case "program":
      return {
        mode: "program",
        sources:
          check.file.trim() === "" ? undefined : [{ path: check.file.trim(), text: check.text }],
        compile: check.compile.trim() === "" ? undefined : check.compile,
        command: check.command,
      };
    default:
      return { mode: check.mode };
  }
}

/** What can be told here, by the id of the control. */
export function caseProblems(cases: CasesDraft): Record<string, string> {
  const problems: Record<string, string> = {};
  const { check } = cases;
  if (cases.via === "cases") {
    if (cases.items.length > CASES_MAX)
      problems["case_0_name"] =
        `${cases.items.length} cases are more than ${CASES_MAX}: spread them over several tasks.`;
    cases.items.forEach((each, index) => {
      const weight = Number(each.weight);
      if (!Number.isInteger(weight) || weight < 0)
        problems[`case_${index}_weight`] = "A whole number from 0 on is needed.";
    });
  }
  if (check.mode === "program" && check.command.trim() === "")
    problems["check_command"] = "Say how the checker is run, as ./check.";
  for (const name of ["absolute", "relative"] as const)
    if (check.mode === "float" && !(Number(check[name]) >= 0))
      problems[`check_${name}`] = "A number from 0 on is needed, as 1e-6.";
  return problems;
}

/** The control that a fault of the document belongs to, or null. */
export function caseControl(pointer: Issue["pointer"]): string | null {
  const inCase = /^\/cases\/(\d+)(?:\/(name|stdin|expect|weight))?/.exec(pointer);
  if (inCase) {
    const part = inCase[2] === "expect" ? "expected" : (inCase[2] ?? "name");
    return `case_${inCase[1]}_${part}`;
  }
  if (pointer.startsWith("/cases")) return "case_0_name";
  const inCheck = /^\/check\/(absolute|relative|compile|command)/.exec(pointer);
  if (inCheck) return `check_${inCheck[1]}`;
  if (pointer.startsWith("/check/sources")) return "check_file";
  return pointer.startsWith("/check") ? "check_mode" : null;
}
