import { describe, expect, it } from "vitest";
import type { TaskEvent } from "./live.svelte";
import { applyEvents, mergeReread, newerIds, type Row } from "./rows";

const at = (second: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, second)).toISOString();

function row(id: string, created: number, more: Partial<Row> = {}): Row {
  return {
    id,
    user: 0,
    name: "",
    state: "queued",
    status: 0,
    reason: null,
    verdict: null,
    executor: null,
    createdAt: Date.parse(at(created)),
    updatedAt: Date.parse(at(created)),
    done: false,
    held: false,
    priority: 0,
    ...more,
  };
}

function event(
  id: string,
  created: number,
  updated: number,
  more: Partial<TaskEvent> = {},
): TaskEvent {
  return {
    id,
    job: null,
    user: 0,
    name: "",
    state: "running",
    kv2_status: 3,
    reason: null,
    verdict: null,
    executor: "e",
    attempt: 1,
    created_at: at(created),
    updated_at: at(updated),
    done: false,
    held: false,
    priority: 0,
    ...more,
  };
}

const ALL = { id: "", name: "", user: "", start: null, end: null };

describe("applyEvents", () => {
  it("changes rows in place, in their order", () => {
    const rows = [row("b", 2), row("a", 1)];
    const next = applyEvents(rows, [event("a", 1, 3)]);
    expect(next.map((each) => each.id)).toEqual(["b", "a"]);
    expect(next[0]).toBe(rows[0]);
    expect(next[1]).toMatchObject({ state: "running", status: 3, executor: "e" });
  });
  it("returns the same list when nothing shown is concerned", () => {
    const rows = [row("a", 1)];
    expect(applyEvents(rows, [event("x", 1, 2)])).toBe(rows);
  });
  it("ignores what is older than the row, and never revives a finished task", () => {
    const fresh = [row("a", 5)];
    expect(applyEvents(fresh, [event("a", 1, 4)])).toBe(fresh);
    const done = [row("a", 1, { done: true, state: "succeeded", status: 5 })];
    expect(applyEvents(done, [event("a", 1, 9)])).toBe(done);
  });
  it("applies several events of one task in turn, up to how it ended and where", () => {
    const end = { state: "failed", kv2_status: 4, reason: "memory", done: true } as const;
    const [next] = applyEvents([row("a", 1)], [event("a", 1, 2), event("a", 1, 3, end)]);
    expect(next).toMatchObject({
      state: "failed",
      status: 4,
      reason: "memory",
      executor: "e",
      done: true,
    });
  });
});

describe("newerIds", () => {
  const rows = [row("b", 10), row("a", 5)];
  it("counts only tasks above the first row", () => {
    const events = [event("new", 11, 11), event("old", 3, 12), event("b", 10, 12)];
    expect(newerIds(rows, events, ALL)).toEqual(["new"]);
  });
  it("respects every filter", () => {
    const fresh = event("new", 20, 20, { user: 7 });
    expect(newerIds(rows, [fresh], { ...ALL, user: "7" })).toEqual(["new"]);
    expect(newerIds(rows, [fresh], { ...ALL, user: "8" })).toEqual([]);
    expect(newerIds(rows, [fresh], { ...ALL, id: "ne" })).toEqual(["new"]);
    expect(newerIds(rows, [fresh], { ...ALL, id: "other" })).toEqual([]);
    const named = { ...fresh, name: "Alpha" };
    expect(newerIds(rows, [named], { ...ALL, name: "alp" })).toEqual(["new"]);
    expect(newerIds(rows, [named], { ...ALL, name: "beta" })).toEqual([]);
    expect(newerIds(rows, [fresh], { ...ALL, start: Date.parse(at(21)) })).toEqual([]);
    expect(newerIds(rows, [fresh], { ...ALL, end: Date.parse(at(19)) })).toEqual([]);
  });
  it("takes any match into an empty list", () => {
    expect(newerIds([], [event("x", 1, 1)], ALL)).toEqual(["x"]);
  });
});

describe("mergeReread", () => {
  it("refreshes what is shown, reports what is new, and moves nothing", () => {
    const shown = [row("b", 10), row("a", 5)];
    const again = row("b", 10, { updatedAt: Date.parse(at(12)), state: "running" });
    const merged = mergeReread(shown, [row("d", 30), row("c", 20), again]);
    expect(merged.rows).toEqual([again, shown[1]]);
    expect(merged.newer).toEqual(["d", "c"]);
  });
  it("keeps a row that an event made newer than the read", () => {
    const ahead = row("a", 5, { updatedAt: Date.parse(at(9)), state: "running" });
    expect(mergeReread([ahead], [row("a", 5)]).rows).toEqual([ahead]);
  });
});
