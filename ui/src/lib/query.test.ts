import { describe, expect, it } from "vitest";
import {
  filterProblems,
  fromLocalInput,
  hrefOf,
  localInput,
  matchingOf,
  parseView,
  requestOf,
} from "./query";

const ID = "6b04d4787d852fb9eb7f7a4e";
const view = (search: string) => parseView(new URLSearchParams(search));

describe("the address of a view", () => {
  it.each([
    "/tasks",
    `/tasks?id=${ID}&user=3`,
    "/tasks?start=2026-01-01T00%3A00%3A00Z&end=2026-01-02T00%3A00%3A01Z&order=oldest&limit=100&page=7",
  ])("%s survives a round trip", (href) => {
    expect(hrefOf(view(href.split("?")[1] ?? ""))).toBe(href);
  });
  it("falls back to sense for nonsense", () => {
    expect(hrefOf(view("page=-3&limit=7&start=soon&order=sideways"))).toBe("/tasks");
    expect(view("page=1.5").page).toBe(1);
  });
});

it("asks KV2 in naive UTC and counts pages from 0", () => {
  const asked = requestOf(view("start=2026-01-01T02:00:00%2B02:00&page=3&order=oldest"));
  expect(asked).toMatchObject({ start: "2026-01-01T00:00:00", page: 2, oldToNew: true, limit: 25 });
});

it("brings local times through the form unchanged", () => {
  for (const time of ["2026-01-01T00:00:00Z", "2026-07-01T12:34:56Z"])
    expect(fromLocalInput(localInput(time))).toBe(time);
  expect(localInput("")).toBe("");
  expect(fromLocalInput("")).toBe("");
});

it("names what cannot match", () => {
  expect(filterProblems(view(`id=${ID.toUpperCase()}&user=0`))).toEqual({});
  expect(filterProblems(view("id=12")).id).toContain("2 characters");
  expect(Object.keys(filterProblems(view("user=2147483648")))).toEqual(["user"]);
  expect(Object.keys(filterProblems(view("start=2026-01-02Z&end=2026-01-01Z")))).toEqual(["end"]);
});

it("names a filter as the second interface does", () => {
  expect(matchingOf(view("user=0&start=2026-01-01T00:00:00Z&end=2026-01-02"))).toEqual({
    user: 0,
    created_after: "2026-01-01T00:00:00Z",
    created_before: "2026-01-02T00:00:00Z",
  });
  expect(matchingOf(view(`id=${ID}`))).toEqual({});
});
