import { expect, it } from "vitest";
import { FAILURES } from "./attempts";
import { emptyTries, triesDocument, triesOf, tryControl, tryProblems, usesTries } from "./tries";
import type { Task } from "./types";

const ONE = "6b04d4787d852fb9eb7f7a4e";
const OTHER = "6b04d4787d852fb9eb000000";
const asked = (document: Record<string, unknown>) =>
  JSON.parse(JSON.stringify(document)) as Record<string, unknown>;

it("says nothing that was not asked for", () => {
  expect(usesTries(emptyTries())).toBe(false);
  expect(asked(triesDocument(emptyTries()))).toEqual({});
});

it("survives the way through a document and a task", () => {
  const tries = {
    attempts: "3",
    on: "signal wall_time",
    backoff: "5s",
    longest: "60s",
    crashes: "5",
    ttl: "1800s",
    after: `${ONE}\n${OTHER}:any`,
  };
  expect(usesTries(tries)).toBe(true);
  expect(asked(triesDocument(tries))).toEqual({
    retry: { max_attempts: 3, on: ["signal", "wall_time"], backoff_s: "5s", backoff_max_s: "60s" },
    max_crashes: 5,
    queue_ttl_s: "1800s",
    depends_on: [ONE, { id: OTHER, on: "any" }],
  });
  const task = {
    retry: { max_attempts: 3, on: ["signal", "wall_time"], backoff_s: 5, backoff_max_s: 60 },
    max_crashes: 5,
    queue_ttl_s: 1800,
    depends_on: [
      { id: ONE, on: "ok" },
      { id: OTHER, on: "any" },
    ],
  } as unknown as Task;
  expect(triesOf(task)).toEqual(tries);
});

it("leaves out of a task what is as ever", () => {
  const retry = { max_attempts: 2, on: FAILURES, backoff_s: 1, backoff_max_s: 300 };
  const task = { retry, max_crashes: 3, queue_ttl_s: null, depends_on: [] } as unknown as Task;
  expect(triesOf(task)).toEqual({ ...emptyTries(), attempts: "2" });
});

it("wants the number of results beside what is said of them", () => {
  expect(tryProblems({ ...emptyTries(), attempts: "many" })).toHaveProperty("try_attempts");
  expect(tryProblems({ ...emptyTries(), backoff: "2s" })).toHaveProperty("try_attempts");
  expect(tryProblems({ ...emptyTries(), attempts: "2", backoff: "2s" })).toEqual({});
});

it.each([
  ["/retry/max_attempts", "try_attempts"],
  ["/retry/on/0", "try_on"],
  ["/retry/backoff_max_s", "try_longest"],
  ["/retry", "try_attempts"],
  ["/max_crashes", "try_crashes"],
  ["/queue_ttl_s", "try_ttl"],
  ["/depends_on/3/id", "try_after"],
  ["/name", null],
])("a fault at %s belongs to %s", (pointer, control) => expect(tryControl(pointer)).toBe(control));
