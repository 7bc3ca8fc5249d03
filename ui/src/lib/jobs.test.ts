import { describe, expect, it } from "vitest";
import {
  jobBadge,
  jobHeadline,
  jobHref,
  memberStateOf,
  pace,
  paceText,
  percent,
  placeOf,
  remember,
  retryable,
  segmentsOf,
  timeLeft,
} from "./jobs";
import type { Job } from "./types";

const NONE = { succeeded: 0, failed: 0, error: 0, cancelled: 0, running: 0, queued: 0 };

function job(counts: Partial<Job["counts"]>, more: Partial<Job> = {}): Job {
  const all = { ...NONE, ...counts };
  return {
    id: "6b04d4787d852fb9eb000000",
    user: 0,
    name: "",
    state: "running",
    done: false,
    size: Object.values(all).reduce((sum, count) => sum + count, 0),
    counts: all,
    array: "0-9",
    limit: null,
    max_fails: null,
    stopped: null,
    held: false,
    retry_of: null,
    created_at: "2026-11-24T00:00:00Z",
    updated_at: "2026-11-24T00:00:00Z",
    finished_at: null,
    ...more,
  };
}

describe("a job's progress", () => {
  it("is 100 % only when all have ended, and more than 0 % when one has", () => {
    expect(percent(job({ queued: 100_000 }))).toBe(0);
    expect(percent(job({ succeeded: 1, queued: 99_999 }))).toBe(1);
    expect(percent(job({ succeeded: 99_999, queued: 1 }))).toBe(99);
    expect(percent(job({ succeeded: 3, failed: 1 }))).toBe(100);
  });

  it("has a part for each state that some task is in", () => {
    expect(segmentsOf(job({ queued: 2, failed: 1 }))).toEqual([
      { state: "failed", count: 1 },
      { state: "queued", count: 2 },
    ]);
  });

  it.each([
    [job({ succeeded: 3, queued: 7 }), "3 of 10 tasks have ended."],
    [job({ succeeded: 2, failed: 1, queued: 7 }), "3 of 10 tasks have ended, 1 of them not well."],
    [job({ succeeded: 1200 }, { done: true, state: "succeeded" }), "All 1,200 tasks succeeded."],
    [job({ succeeded: 1 }, { done: true, state: "succeeded" }), "Its task succeeded."],
    [job({ failed: 2, error: 1 }, { done: true, state: "failed" }), "3 of 3 tasks failed."],
    [
      job({ failed: 3, cancelled: 7 }, { done: true, stopped: "max_fails", max_fails: 2 }),
      "Stopped: 3 tasks failed, and 2 failures were allowed.",
    ],
    [
      job({ succeeded: 46, cancelled: 954 }, { done: true, stopped: "cancelled" }),
      "Cancelled; 46 of 1,000 tasks had ended before.",
    ],
    [
      job(
        { cancelled: 2 },
        { done: true, stopped: "cancelled", cancellation: { by: "ann", reason: "wrong input" } },
      ),
      "Cancelled by ann: wrong input; 0 of 2 tasks had ended before.",
    ],
  ])("is a sentence", (each, said) => expect(jobHeadline(each)).toBe(said));

  it("says that it is stopping while something still runs", () => {
    expect(jobBadge(job({ running: 1 }, { stopped: "cancelled" })).word).toBe("Stopping");
  });
});

describe("a job's pace", () => {
  const at = (seconds: number, ended: number) => ({ at: seconds * 1000, ended });

  it("is unknown until some seconds have passed and something has ended", () => {
    expect(pace([])).toBeNull();
    expect(pace([at(0, 0), at(2, 9)])).toBeNull();
    expect(pace([at(0, 5), at(30, 5)])).toBeNull();
  });

  it("is that of the last minute", () => {
    const samples = [at(0, 0), at(50, 1000), at(100, 1100)];
    expect(pace(samples.reduce(remember, [] as ReturnType<typeof remember>))).toBe(2);
  });

  it.each([
    [12.34, "12 a second"],
    [1.25, "1.3 a second"],
    [0.2, "12 a minute"],
    [0.001, "3.6 an hour"],
  ])("of %d is said as %s", (perSecond, said) => expect(paceText(perSecond)).toBe(said));

  it("tells how long the rest takes", () => {
    expect(timeLeft(job({ succeeded: 10, queued: 20 }), 2)).toBe(10_000);
  });
});

it("keeps filter and place in the address", () => {
  expect(jobHref("a", "")).toBe("/jobs/a");
  expect(jobHref("a", "failed", "NA")).toBe("/jobs/a?state=failed&cursor=NA");
  expect(memberStateOf("failed")).toBe("failed");
  expect(memberStateOf("compiling")).toBe("");
  expect(memberStateOf(null)).toBe("");
});

it("offers the ends that were no success", () => {
  expect(retryable(job({ succeeded: 2, failed: 1, cancelled: 3 }))).toEqual([
    { state: "failed", count: 1 },
    { state: "cancelled", count: 3 },
  ]);
  expect(retryable(job({ succeeded: 2 }))).toEqual([]);
});

it("knows jobs by their ids", () => {
  expect(placeOf("6b04d4787d852fb9eb000000")).toBe("/jobs/6b04d4787d852fb9eb000000");
  expect(placeOf("6b04d4787d852fb9eb000001")).toBe("/tasks/6b04d4787d852fb9eb000001");
});

it("a held job runs as long as an executor has tasks of it", () => {
  const held = job({ running: 1, queued: 2, succeeded: 1 }, { held: true });
  expect(jobBadge(held).word).toBe("Running");
  expect(jobHeadline(held)).toBe(
    "1 of 4 tasks have ended; no other begins before the job is released.",
  );
  expect(jobBadge({ ...held, counts: { ...held.counts, running: 0 } }).word).toBe("Held");
  expect(jobBadge({ ...held, done: true, state: "succeeded" }).word).toBe("Succeeded");
});
