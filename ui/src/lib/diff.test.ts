import { describe, expect, it } from "vitest";
import {
  diff,
  endsBare,
  linesOf,
  pieces,
  ROWS_MAX,
  trailing,
  visibleBlanks,
  type Row,
} from "./diff";

/** `= - + ~` and the lines, as short as can be read. */
function written(rows: Row[]): string[] {
  return rows.map((row) => {
    switch (row.kind) {
      case "same":
        return `=${row.got.text}`;
      case "changed":
        return `~${row.expected.text}>${row.got.text}`;
      case "missing":
        return `-${row.expected.text}`;
      case "extra":
        return `+${row.got.text}`;
      case "fold":
        return `…${row.count}`;
    }
  });
}

const text = (...lines: string[]) => lines.map((each) => `${each}\n`).join("");
const rowsOf = (expected: string, got: string) => written(diff(expected, got).rows);

describe("a difference", () => {
  it.each([
    ["nothing", "", "", []],
    ["a changed line", text("a", "b", "c"), text("a", "x", "c"), ["=a", "~b>x", "=c"]],
    ["a missing line", text("a", "b", "c"), text("a", "c"), ["=a", "-b", "=c"]],
    ["an extra line", text("a", "c"), text("a", "b", "c"), ["=a", "+b", "=c"]],
    ["no output", text("a"), "", ["-a"]],
    [
      "two places",
      text("a", "b", "c", "d"),
      text("b", "c", "x", "d"),
      ["-a", "=b", "=c", "+x", "=d"],
    ],
    ["a changed and a missing line", text("a", "b", "c"), text("x", "c"), ["~a>x", "-b", "=c"]],
  ])("%s", (_, expected, got, rows) => expect(rowsOf(expected, got)).toEqual(rows));

  it("numbers the lines of both sides", () => {
    const [, added, last] = diff(text("a", "c"), text("a", "b", "c")).rows;
    expect(added).toEqual({ kind: "extra", expected: null, got: { number: 2, text: "b" } });
    expect(last).toMatchObject({ expected: { number: 2 }, got: { number: 3 } });
  });

  it("folds what is equal and far from it", () => {
    const same = Array.from({ length: 50 }, (_, index) => `${index}`);
    const rows = rowsOf(text(...same, "a", ...same), text(...same, "b", ...same));
    expect(rows).toEqual(["…47", "=47", "=48", "=49", "~a>b", "=0", "=1", "=2", "…47"]);
  });

  it("knows a text without a newline at its end from one with it", () => {
    const [row] = diff("a\n", "a").rows;
    expect(row?.kind).toBe("changed");
    expect(linesOf("a").map(endsBare)).toEqual([true]);
    expect(diff("a\n", "a").whitespaceOnly).toBe(true);
  });

  it("says when nothing but white space differs", () => {
    expect(diff("a b\n", "a  b \n").whitespaceOnly).toBe(true);
    expect(diff("ab\n", "a b\n").whitespaceOnly).toBe(false);
    expect(diff("a\n", "a\n").whitespaceOnly).toBe(false);
  });

  it("is bounded where everything differs", () => {
    const many = (prefix: string) =>
      text(...Array.from({ length: 20_000 }, (_, index) => `${prefix}${index}`));
    const found = diff(many("a"), many("b"));
    expect(found.rows).toHaveLength(ROWS_MAX);
    expect(found.cut).toBe(true);
    expect(found.rows[7]).toMatchObject({ kind: "changed", expected: { number: 8 } });
  });

  it("can be put together again to both texts", () => {
    // A small generator of its own, so that a failure can be repeated.
    let seed = 7;
    const next = (below: number) => (seed = (seed * 48_271) % 2_147_483_647) % below;
    for (let round = 0; round < 300; round += 1) {
      const lines = () => Array.from({ length: next(7) }, () => "abc"[next(3)] ?? "a");
      const [left, right] = [lines(), lines()];
      const rows = diff(text(...left), text(...right)).rows.filter((row) => row.kind !== "fold");
      if (rows.length === 0) continue;
      const folds = diff(text(...left), text(...right)).rows.length - rows.length;
      if (folds > 0) continue;
      expect(rows.flatMap((row) => row.expected?.text ?? [])).toEqual(left);
      expect(rows.flatMap((row) => row.got?.text ?? [])).toEqual(right);
      for (const row of rows) if (row.kind === "same") expect(row.expected.text).toBe(row.got.text);
    }
  });
});

describe("a line", () => {
  it("is marked where it differs", () => {
    expect(pieces("sum = 7", "sum = 12")).toEqual([
      { text: "sum = ", marked: false },
      { text: "7", marked: true },
    ]);
    expect(pieces("aXa", "aa")).toEqual([
      { text: "a", marked: false },
      { text: "X", marked: true },
      { text: "a", marked: false },
    ]);
  });
  it("shows its blanks", () => {
    expect(visibleBlanks("a b\tc")).toBe("a·b→\tc");
    expect(trailing("a b \t")).toEqual(["a b", " \t"]);
  });
});
