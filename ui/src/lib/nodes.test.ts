import { expect, it } from "vitest";
import { actsOn, examined, worstFirst } from "./nodes";
import type { Examination, Finding } from "./types";

const CORDON = { reason: "", since: "2026-01-01T00:00:00Z", deadline: null };

it("offers of an executor what can come of it as it is", () => {
  expect(actsOn({ state: "online", cordon: null })).toEqual(["cordon", "drain"]);
  expect(actsOn({ state: "draining", cordon: null })).toEqual(["cordon", "drain"]);
  expect(actsOn({ state: "online", cordon: CORDON })).toEqual(["uncordon", "drain"]);
  expect(actsOn({ state: "lost", cordon: null })).toEqual(["forget"]);
  // The cordon would still hold, should it come back.
  expect(actsOn({ state: "lost", cordon: CORDON })).toEqual(["uncordon", "forget"]);
});

function found(check: string, level: Finding["level"]): Finding {
  return { check, level, found: "", repair: null };
}

function look(able: boolean, ...levels: Finding["level"][]): Examination {
  const findings = levels.map((level, at) => found(`${at}`, level));
  return { role: "executor", at: "2026-01-01T00:00:00Z", able, findings };
}

it("has what is not good of a host first, and else the doctor's order", () => {
  const findings = [
    found("kernel", "good"),
    found("disk", "warning"),
    found("ports", "missing"),
    found("memory", "good"),
    found("clock", "warning"),
    // Of a gateway that is newer than the page.
    found("age", "ruined" as Finding["level"]),
  ];
  const checks = worstFirst(findings).map((each) => each.check);
  expect(checks).toEqual(["ports", "age", "disk", "clock", "kernel", "memory"]);
  expect(findings[0]?.check).toBe("kernel");
});

it("says in a line what came of a look", () => {
  expect(examined(look(true, "good", "good"))).toBe("Able to work: nothing is wrong");
  expect(examined(look(true, "warning", "good"))).toBe("Able to work: 1 warning");
  expect(examined(look(false, "missing", "warning", "warning"))).toBe(
    "Not able to work: 1 missing, 2 warnings",
  );
});
