import { describe, expect, it } from "vitest";
import {
  filterProblems,
  fromLocalInput,
  hrefOf,
  isToldByEvents,
  localInput,
  matchingOf,
  parseView,
  requestOf,
  typedOf,
  viewOf,
} from "./query";

const ID = "6b04d4787d852fb9eb7f7a4e";
const view = (search: string) => parseView(new URLSearchParams(search));

describe("the address of a view", () => {
  it.each([
    "/tasks",
    `/tasks?id=${ID}&user=3`,
    "/tasks?q=alpha+hw%3D3&user=3",
    "/tasks?sort=priority&order=oldest",
    "/tasks?start=2026-01-01T00%3A00%3A00Z&end=2026-01-02T00%3A00%3A01Z&order=oldest&limit=100&page=7&cursor=abc",
    "/tasks?state=failed%2Cerror&reason=memory&verdict=MLE&label=hw%3D3&name=a%2Bb&node=e1&held=true",
  ])("%s survives a round trip", (href) => {
    expect(hrefOf(view(href.split("?")[1] ?? ""))).toBe(href);
  });
  it("falls back to sense for nonsense", () => {
    expect(hrefOf(view("page=-3&limit=7&start=soon&order=sideways&held=maybe"))).toBe("/tasks");
    expect(view("page=1.5&cursor=c").page).toBe(1);
    // An address of old, when pages were counted: no cursor says where that is.
    expect(view("page=7").page).toBe(1);
  });
});

it("asks in the words of the list", () => {
  const asked = requestOf(
    view(
      "start=2026-01-01T02:00:00%2B02:00&id=6B04D4&label=hw%3D3,+a%3Db&sort=priority&order=oldest&held=false&cursor=c",
    ),
  );
  expect(Object.fromEntries(asked)).toEqual({
    limit: "25",
    id_prefix: "6b04d4",
    created_after: "2026-01-01T00:00:00Z",
    label: "hw=3,a=b",
    held: "false",
    sort: "priority",
    order: "oldest",
    cursor: "c",
  });
});

it("asks for words with single blanks between them, however they were pasted", () => {
  const asked = (search: string) => requestOf(view(search)).get("q");
  expect(asked("q=+Alpha%09%C2%A0hw%3D3%0A")).toBe("Alpha hw=3");
  expect(asked("q=+")).toBeNull();
  const typed = { ...typedOf(view("q=a")), q: " b\u00a0 c " };
  expect(viewOf(typed, view("q=a&page=3&cursor=c"))).toEqual(view("q=b+c"));
});

it("takes a view through the form unchanged, from its first page", () => {
  const search =
    "start=2026-01-01T00:00:00Z&state=failed&label=hw%3D3&held=true&limit=100&order=oldest";
  const shown = view(`${search}&page=3&cursor=c`);
  expect(viewOf(typedOf(shown), shown)).toEqual(view(search));
  const typed = { ...typedOf(view("")), id: ` ${ID.toUpperCase()}`, name: " a b ", end: "soon" };
  expect(viewOf(typed, view(""))).toEqual({ ...view(""), id: ID, name: "a b" });
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
  expect(filterProblems(view("id=6b04d4&label=hw%3D3,a%3D&node=e1"))).toEqual({});
  expect(Object.keys(filterProblems(view("label=hw,a%3Db&node=%2F")))).toEqual(["label", "node"]);
  expect(Object.keys(filterProblems(view("user=2147483648")))).toEqual(["user"]);
  expect(Object.keys(filterProblems(view("start=2026-01-02Z&end=2026-01-01Z")))).toEqual(["end"]);
});

it("names what is no search", () => {
  const problem = (q: string) => filterProblems(view(new URLSearchParams({ q }).toString())).q;
  expect(problem("a b c d e f g h")).toBeUndefined();
  expect(problem("a b c d e f g h i")).toContain("this has 9");
  expect(problem("😀".repeat(200))).toBeUndefined();
  expect(problem("x".repeat(201))).toContain("this has 201");
  for (const unseen of ["a\u0000", "a\u200bb", "\u001b[31m"])
    expect(problem(unseen)).toContain("nobody can see");
});

it("asks for a list of words anew, since events do not tell of labels", () => {
  expect(isToldByEvents(view("name=a&user=3"))).toBe(true);
  expect(isToldByEvents(view("q=a"))).toBe(false);
});

it("names a filter as the second interface does", () => {
  expect(matchingOf(view("user=0&start=2026-01-01T00:00:00Z&end=2026-01-02"))).toEqual({
    user: 0,
    created_after: "2026-01-01T00:00:00Z",
    created_before: "2026-01-02T00:00:00Z",
  });
  expect(matchingOf(view("q=a+b&id=6b04d4&label=a%3Db,c%3Dd&name=x&node=e1&held=true"))).toEqual({
    q: "a b",
    id_prefix: "6b04d4",
    label: ["a=b", "c=d"],
    name: "x",
    node: "e1",
    held: true,
  });
});

it("names whose they must be where the filter does not", () => {
  expect(matchingOf(view("name=x"), 7)).toEqual({ user: 7, name: "x" });
  expect(matchingOf(view("user=8"), 7)).toEqual({ user: 8 });
});

it("has open tasks to act on only where the filter can match any", () => {
  expect(matchingOf(view("state=running,failed"))).toEqual({ state: ["running"] });
  for (const ended of ["state=failed", "reason=memory", "verdict=WA"])
    expect(matchingOf(view(ended))).toBeNull();
});
