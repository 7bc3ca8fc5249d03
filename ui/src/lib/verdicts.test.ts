import { expect, it } from "vitest";
import { acceptedText, firstWrong, verdictBadge, verdictCounts } from "./verdicts";
import type { Case, Task } from "./types";

const cases = (...verdicts: (string | null)[]) =>
  verdicts.map((verdict, index) => ({ number: index + 1, verdict }) as Case);
const said = (...verdicts: (string | null)[]) =>
  acceptedText({ cases: cases(...verdicts) } as Task);

it("counts what was accepted", () => {
  expect(said()).toBeNull();
  expect(said(null, null)).toBeNull();
  expect(said("AC")).toBe("Its case was accepted");
  expect(said("AC", "AC")).toBe("All 2 cases were accepted");
  expect(said("AC", "WA")).toBe("1 of 2 cases was accepted");
  expect(said("WA", "SKIP")).toBe("0 of 2 cases were accepted");
});

it("leads to the first case that was not accepted", () => {
  expect(firstWrong(cases("AC", "SKIP", "TLE", "WA"))?.number).toBe(3);
  expect(firstWrong(cases("AC", "SKIP", null))).toBeNull();
});

it("has a word for each verdict, and shows one that it does not know", () => {
  expect(verdictBadge("WA")).toMatchObject({ word: "Wrong answer", tone: "bad" });
  expect(verdictBadge("XX").word).toBe("XX");
});

it("counts verdicts from the best to the worst", () => {
  expect(verdictCounts(cases("XX", "WA", null, "AC", "WA"))).toEqual([
    { verdict: "AC", count: 1 },
    { verdict: "WA", count: 2 },
    { verdict: "XX", count: 1 },
  ]);
});
