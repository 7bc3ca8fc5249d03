import { describe, expect, it } from "vitest";
import { caseControl, caseProblems, casesDocument, emptyCases, parsePasted } from "./cases";
import type { CasesDraft } from "./cases";

function draft(more: Partial<CasesDraft>): CasesDraft {
  return { ...emptyCases(), via: "cases", ...more };
}

const item = (stdin: string, expected = "", weight = "", name = "") => ({
  name,
  stdin,
  expected,
  weight,
});

describe("pasted cases", () => {
  it("are told apart by lines of === and ---", () => {
    expect(parsePasted("=== small\n1 2\n---\n3\n===\n4\n\n5\n---\n9\n")).toEqual([
      item("1 2\n", "3\n", "", "small"),
      item("4\n\n5\n", "9\n"),
    ]);
  });
  it("may be one, without any such line", () => {
    expect(parsePasted("\n1 2\r\n3\n")).toEqual([item("1 2\n3\n")]);
    expect(parsePasted("\n\n")).toEqual([]);
  });
  it("may have such lines in what is expected", () => {
    expect(parsePasted("===\n1\n---\na\n---\nb")).toEqual([item("1\n", "a\n---\nb\n")]);
  });
});

describe("the document", () => {
  it("has an expectation in every case, or in none", () => {
    const judged = casesDocument(draft({ items: [item("1", "2", "3"), item("4")] }));
    expect(judged["cases"]).toMatchObject([
      { stdin: { text: "1" }, expect: { stdout: { text: "2" } }, weight: 3 },
      { stdin: { text: "4" }, expect: { stdout: { text: "" } } },
    ]);
    const free = casesDocument(draft({ items: [item("1"), item("4")] }));
    expect((free["cases"] as { expect?: unknown }[])[0]?.expect).toBeUndefined();
  });
  it("names the check, and leaves out what is the default", () => {
    expect(casesDocument(draft({ items: [item("1", "2")] }))["check"]).toBeUndefined();
    const { check } = emptyCases();
    const numbers = { ...check, mode: "float", absolute: "1e-3" } as const;
    expect(casesDocument(draft({ items: [item("1", "2")], check: numbers }))["check"]).toEqual({
      mode: "float",
      absolute: 0.001,
      relative: undefined,
    });
    const program = { ...check, mode: "program", file: "c.py", text: "x", command: "python3 c.py" };
    expect(
      casesDocument(draft({ items: [item("1")], check: program as CasesDraft["check"] })),
    ).toMatchObject({
      cases: [{ stdin: { text: "1" }, expect: undefined }],
      check: { sources: [{ path: "c.py", text: "x" }], command: "python3 c.py" },
    });
  });
});

describe("a fault", () => {
  it("is told beside its field before anything is sent", () => {
    const { check } = emptyCases();
    const wrong = draft({
      items: [item("1", "2", "-1")],
      check: { ...check, mode: "program" },
    });
    expect(Object.keys(caseProblems(wrong))).toEqual(["case_0_weight", "check_command"]);
    expect(caseProblems(draft({ items: [item("1", "2", "5")] }))).toEqual({});
  });
  it.each([
    ["/cases/3/name", "case_3_name"],
    ["/cases/0/expect/stdout", "case_0_expected"],
    ["/cases/2", "case_2_name"],
    ["/cases", "case_0_name"],
    ["/check/command", "check_command"],
    ["/check/sources/0/path", "check_file"],
    ["/check", "check_mode"],
    ["/stages/execute", null],
  ])("at %s belongs to %s", (pointer, control) => expect(caseControl(pointer)).toBe(control));
});
