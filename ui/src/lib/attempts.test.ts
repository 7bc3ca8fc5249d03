import { describe, expect, it } from "vitest";
import { attemptBadge, attemptTook, attemptWhy, hasHistory, retryText } from "./attempts";
import type { Attempt, Task } from "./types";

const attempt = (more: Partial<Attempt>) =>
  ({ attempt: 1, end: "recorded", reason: "ok", message: null, ...more }) as Attempt;
const task = (more: Partial<Task>) =>
  ({ attempt: 1, state: "succeeded", retry: null, retries: 0, crashes: 0, ...more }) as Task;

it.each([
  [{ attempt: 0, state: "queued" }, false],
  [{ attempt: 1, state: "queued" }, true],
  [{ attempt: 1, state: "running" }, false],
  [{ attempt: 2, state: "running" }, true],
  [{ attempt: 1, state: "failed" }, false],
  [{ attempt: 1, state: "cancelled", retries: 1 }, true],
  [{ attempt: 1, state: "error", crashes: 1 }, true],
] as const)("of %j there is a history: %s", (more, has) =>
  expect(hasHistory(task(more))).toBe(has),
);

describe("an attempt", () => {
  it.each([
    ["running", null, "Running"],
    ["recorded", "ok", "Succeeded"],
    ["recorded", "signal", "Failed"],
    ["retried", "signal", "Failed, tried again"],
    ["executor_lost", null, "Executor lost"],
    ["returned", null, "Given back"],
    ["drained", null, "Moved away"],
    ["cancelled", null, "Cancelled"],
    ["vanished", null, "vanished"],
  ])("that is %s, %s is called %s", (end, reason, word) =>
    expect(attemptBadge(attempt({ end, reason })).word).toBe(word),
  );
  it("says why, with its own words first", () => {
    expect(attemptWhy(attempt({ message: "exit status 4" }))).toBe("exit status 4");
    expect(attemptWhy(attempt({ end: "executor_lost" }))).toContain("lost");
    expect(attemptWhy(attempt({}))).toBe("");
  });
  it("took what it took, or lasts", () => {
    const began = "2026-11-24T00:00:00Z";
    const now = Date.parse("2026-11-24T00:00:05Z");
    const ended_at = "2026-11-24T00:00:02Z";
    expect(attemptTook(attempt({ started_at: began, ended_at }), now)).toBe("2 s");
    expect(attemptTook(attempt({ started_at: began, ended_at: null }), now)).toBe("5 s");
    expect(attemptTook(attempt({ started_at: null, ended_at }), now)).toBe("–");
  });
});

it("says which results are tried again", () => {
  const on =
    "signal exit_nonzero wall_time cpu_time memory output_limit process_limit file_size disk syscall";
  const retry = { max_attempts: 3, on: on.split(" "), backoff_s: 1, backoff_max_s: 300 };
  expect(retryText(task({}))).toBeNull();
  expect(retryText(task({ retry }))).toBe("up to 3 results, after any failure");
  expect(retryText(task({ retry: { ...retry, on: ["signal", "wall_time"] } }))).toBe(
    "up to 3 results, after signal or wall_time",
  );
});
