import { describe, expect, it } from "vitest";
import { ApiError } from "./api";
import { editOf, editProblems, isOther, patchOf, refusalText, type Edited } from "./edit";

const TASK: Edited = {
  name: "sweep",
  labels: { hw: "3", set: "a" },
  priority: 5,
  retention_s: 604_800,
  state: "queued",
};

describe("a patch", () => {
  it("of what was not touched is empty", () => {
    expect(patchOf(TASK, editOf(TASK))).toEqual({});
    expect(
      patchOf(
        { ...TASK, labels: { a: "b=c", d: "" } },
        editOf({ ...TASK, labels: { a: "b=c", d: "" } }),
      ),
    ).toEqual({});
  });
  it("says what is another, and null of what is gone", () => {
    const edit = { name: " ", labels: "hw=4\nnew=1\n", priority: "-3", retention: " 12h" };
    expect(patchOf(TASK, edit)).toEqual({
      name: null,
      labels: { hw: "4", new: "1", set: null },
      priority: -3,
      retention: "12h",
    });
  });
  it("takes a retention away, of what has ended too", () => {
    const ended: Edited = { ...TASK, state: "succeeded" };
    expect(patchOf(ended, { ...editOf(ended), retention: " " })).toEqual({ retention: null });
    expect(patchOf({ ...TASK, retention_s: null }, editOf(TASK))).toEqual({ retention: "7d" });
  });
  it("leaves the priority alone of what has begun", () => {
    const running: Edited = { ...TASK, state: "running" };
    expect(patchOf(running, { ...editOf(running), name: "x", priority: "9" })).toEqual({
      name: "x",
    });
  });
});

it("what cannot be meant is told at its field", () => {
  expect(editProblems(editOf(TASK))).toEqual({});
  const problems = editProblems({ name: "", labels: "hw", priority: "1.5", retention: "" });
  expect(problems.labels).toContain("KEY=value");
  expect(problems.priority).toContain("from -100 to 100 is needed; given: “1.5”");
  expect(editProblems({ ...editOf(TASK), priority: "101" })).toHaveProperty("priority");
});

it("a task that went on is not one that somebody changed", () => {
  expect(isOther(TASK, { ...TASK, state: "running" })).toBe(false);
  expect(isOther(TASK, { ...TASK, labels: { hw: "3" } })).toBe(true);
  expect(isOther(TASK, { ...TASK, priority: 6 })).toBe(true);
  expect(isOther(TASK, { ...TASK, retention_s: null })).toBe(true);
});

it("a refusal says what can be done", () => {
  const refusal = (status: number, code: string) => new ApiError(status, code, "No", "Because.");
  expect(refusalText(refusal(409, "not_waiting"))).toBe(
    "Because. Nothing was changed; name, labels and retention can be changed at any time.",
  );
  expect(refusalText(refusal(412, "precondition_failed"))).toContain("Save again");
  expect(refusalText(refusal(422, "validation_failed"))).toBe("No. Because.");
});
