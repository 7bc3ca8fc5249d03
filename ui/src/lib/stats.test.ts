import { describe, expect, it } from "vitest";
import {
  countedTo,
  parseSpan,
  RANGES,
  shareText,
  spanHref,
  stepsOf,
  tellingBuckets,
  totalsOf,
} from "./stats";
import type { StatsBucket } from "./types";

const span = (search: string) => {
  const { range, step } = parseSpan(new URLSearchParams(search));
  return `${range.key} by ${step.key}`;
};

function bucket(at: string, changes: Partial<StatsBucket> = {}): StatsBucket {
  return {
    at,
    ended: { succeeded: 0, failed: 0, cancelled: 0, error: 0 },
    verdicts: {},
    wait_s: { p50: null, p95: null },
    run_s: { p50: null, p95: null },
    cpu_s: 0,
    retries: 0,
    losses: 0,
    ...changes,
  };
}

describe("the address", () => {
  it("says range and step, and what it does not say is the best", () => {
    expect(span("")).toBe("24h by 1h");
    expect(span("range=1h")).toBe("1h by 1m");
    expect(span("range=7d&step=1d")).toBe("7d by 1d");
  });
  it("falls back to sense for nonsense", () => {
    expect(span("range=soon&step=2h")).toBe("24h by 1h");
    expect(span("range=30d&step=1m")).toBe("30d by 1d");
  });
  it("survives a round trip", () => {
    for (const range of RANGES)
      for (const step of stepsOf(range)) {
        const search = spanHref(range, step.key).split("?")[1] ?? "";
        expect(span(search)).toBe(`${range.key} by ${step.key}`);
      }
  });
});

it("no range is asked for in more buckets than the gateway answers", () => {
  for (const range of RANGES) {
    expect(stepsOf(range).map(({ key }) => key)).toContain(range.step);
    for (const step of stepsOf(range)) expect(range.s / step.s + 1).toBeLessThanOrEqual(500);
  }
});

it("buckets are added up", () => {
  const totals = totalsOf([
    bucket("a", {
      ended: { succeeded: 3, failed: 1, cancelled: 0, error: 0 },
      verdicts: { WA: 1, AC: 2 },
      cpu_s: 1.5,
    }),
    bucket("b", {
      ended: { succeeded: 1, failed: 0, cancelled: 2, error: 1 },
      verdicts: { AC: 1, NEW: 4, TLE: 0 },
      cpu_s: 2,
      retries: 5,
      losses: 1,
    }),
  ]);
  expect(totals.ended).toEqual({ succeeded: 4, failed: 1, error: 1, cancelled: 2 });
  expect([totals.all, totals.cpu_s, totals.retries, totals.losses]).toEqual([8, 3.5, 5, 1]);
  // A verdict of a newer gateway comes last, and is there.
  expect(totals.verdicts).toEqual([
    { verdict: "AC", count: 3 },
    { verdict: "WA", count: 1 },
    { verdict: "NEW", count: 4 },
  ]);
});

it.each([
  [0, 0, "0 %"],
  [1, 1000, "under 1 %"],
  [1, 3, "33 %"],
  [999, 1000, "over 99 %"],
  [5, 5, "100 %"],
])("%d of %d are %s", (part, whole, text) => {
  expect(shareText(part, whole)).toBe(text);
});

it("the table leaves out times in which nothing happened", () => {
  const some = [bucket("a"), bucket("b", { retries: 1 }), bucket("c")];
  const stats = { from: "a", to: "d", step_s: 60, buckets: some, complete_to: "d" };
  expect(tellingBuckets(stats).map(({ at }) => at)).toEqual(["b"]);
});

it("says up to when it is counted where that is not about now", () => {
  const stats = {
    from: "2026-11-27T00:00:00Z",
    to: "2026-11-28T00:00:00Z",
    step_s: 3600,
    buckets: [],
    complete_to: "2026-11-27T20:00:00Z",
  };
  const now = Date.parse("2026-11-27T23:30:00Z");
  expect(countedTo(stats, now)).toBe(Date.parse(stats.complete_to));
  expect(countedTo({ ...stats, complete_to: "2026-11-27T23:29:00Z" }, now)).toBeNull();
  // The last hour is not over yet.
  expect(countedTo({ ...stats, complete_to: "2026-11-27T23:30:00Z" }, now)).toBeNull();
});
