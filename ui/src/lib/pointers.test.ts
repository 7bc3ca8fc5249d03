import { expect, test } from "vitest";
import { rangeOf } from "./pointers";

const TEXT = ` {"a": [1, {"b/c": "x\\"]", "d": -1.5e3}], "a~": {}, "deep": {"list": [[], [true]]}} `;

test.each([
  ["", TEXT.trim()],
  ["/a", '[1, {"b/c": "x\\"]", "d": -1.5e3}]'],
  ["/a/0", "1"],
  ["/a/1/b~1c", '"x\\"]"'],
  ["/a/1/d", "-1.5e3"],
  ["/a~0", "{}"],
  ["/deep/list/1/0", "true"],
])("%s is found", (pointer, expected) => {
  const [from, to] = rangeOf(TEXT, pointer) ?? [0, 0];
  expect(TEXT.slice(from, to)).toBe(expected);
});

test("what is missing is shown where it would be", () => {
  const text = '{"stages": {"execute": {}}}';
  const [from, to] = rangeOf(text, "/stages/execute/command") ?? [0, 0];
  expect(text.slice(from, to)).toBe("{}");
});

test("of two members of a name the last one counts", () => {
  const text = '{"a": 1, "a": 2}';
  const [from, to] = rangeOf(text, "/a") ?? [0, 0];
  expect([from, text.slice(from, to)]).toEqual([14, "2"]);
});

test("what is no JSON has no places", () => {
  expect(rangeOf('{"a": ', "/a")).toBeNull();
});
