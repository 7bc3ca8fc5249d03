/**
 * Where an output is not as expected, line by line.
 *
 * Both texts come from strangers' programs and may be anything, so every cost is bounded: the
 * number of lines compared, the edits looked for, the rows shown, the length of a line. What is
 * beyond a bound is compared in order, or left out with a word, never looked for at length.
 */

/** Lines of each side that are compared. */
export const LINES_MAX = 5000;
/** Beyond so many edits the rest is paired line by line: a path is no longer worth its memory. */
const EDITS_MAX = 500;
export const ROWS_MAX = 400;
/** Equal lines that are kept around a difference. */
const CONTEXT = 3;
const LINE_CHARS_MAX = 2000;

export interface Line {
  number: number;
  text: string;
}

export type Row =
  | { kind: "same" | "changed"; expected: Line; got: Line }
  | { kind: "missing"; expected: Line; got: null }
  | { kind: "extra"; expected: null; got: Line }
  | { kind: "fold"; count: number };

export interface Diff {
  rows: Row[];
  /** Rows beyond `ROWS_MAX`, or lines beyond `LINES_MAX`, are not among them. */
  cut: boolean;
  /** Nothing but white space differs. */
  whitespaceOnly: boolean;
}

/** A text's lines; a last one without a line end is marked as that. */
export function linesOf(text: string): string[] {
  if (text === "") return [];
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  else lines.push(NO_NEWLINE + (lines.pop() ?? ""));
  return lines;
}

/** Before a line that ends without a newline; no output has it after `visibleText`. */
const NO_NEWLINE = "\u0000";

export function endsBare(line: string): boolean {
  return line.startsWith(NO_NEWLINE);
}

export function shownLine(line: string): string {
  const whole = endsBare(line) ? line.slice(1) : line;
  return whole.length > LINE_CHARS_MAX ? `${whole.slice(0, LINE_CHARS_MAX)}…` : whole;
}

export function diff(expected: string, got: string): Diff {
  const [left, right] = [linesOf(expected), linesOf(got)];
  const cut = left.length > LINES_MAX || right.length > LINES_MAX;
  const all = pairs(left.slice(0, LINES_MAX), right.slice(0, LINES_MAX));
  const rows = folded(all);
  return {
    rows: rows.slice(0, ROWS_MAX),
    cut: cut || rows.length > ROWS_MAX,
    whitespaceOnly: words(expected) === words(got) && expected !== got,
  };
}

function words(text: string): string {
  return text.split(/\s+/).filter(Boolean).join(" ");
}

function pairs(left: string[], right: string[]): Row[] {
  let head = 0;
  while (head < left.length && head < right.length && left[head] === right[head]) head += 1;
  let tail = 0;
  const most = Math.min(left.length, right.length) - head;
  while (tail < most && left.at(-1 - tail) === right.at(-1 - tail)) tail += 1;
  const middle = edits(
    left.slice(head, left.length - tail),
    right.slice(head, right.length - tail),
  );
  const rows: Row[] = [];
  const same = (a: number, b: number) =>
    rows.push({ kind: "same", expected: line(left, a), got: line(right, b) });
  for (let index = 0; index < head; index += 1) same(index, index);
  for (const [from, to] of middle) change(rows, left, right, shift(from, head), shift(to, head));
  for (let index = tail; index > 0; index -= 1) same(left.length - index, right.length - index);
  return rows;
}

function line(lines: string[], index: number): Line {
  return { number: index + 1, text: lines[index] ?? "" };
}

type Range = readonly [number, number];

function shift([first, last]: Range, by: number): Range {
  return [first + by, last + by];
}

/** A stretch of both sides: equal if it is, else paired as far as both go. */
function change(rows: Row[], left: string[], right: string[], from: Range, to: Range): void {
  const length = Math.max(from[1] - from[0], to[1] - to[0]);
  for (let index = 0; index < length; index += 1) {
    const [a, b] = [from[0] + index, to[0] + index];
    const [expected, got] = [a < from[1] ? line(left, a) : null, b < to[1] ? line(right, b) : null];
    if (expected && got)
      rows.push({ kind: expected.text === got.text ? "same" : "changed", expected, got });
    else if (expected) rows.push({ kind: "missing", expected, got: null });
    else if (got) rows.push({ kind: "extra", expected: null, got });
  }
}

/**
 * Stretches of both sides, in order, that are equal or replace each other: Myers' shortest edit
 * script, given up for pairing in order when it takes more than `EDITS_MAX` edits.
 */
function edits(left: string[], right: string[]): [Range, Range][] {
  const whole: [Range, Range][] = [
    [
      [0, left.length],
      [0, right.length],
    ],
  ];
  if (left.length === 0 || right.length === 0) return whole;
  const trace = search(left, right);
  return trace === null ? whole : script(left, right, trace);
}

/** The furthest places by diagonal after each number of edits; null if there are too many. */
function search(left: string[], right: string[]): Map<number, number>[] | null {
  const trace: Map<number, number>[] = [];
  let reached = new Map<number, number>([[1, 0]]);
  for (let count = 0; count <= EDITS_MAX; count += 1) {
    const next = new Map<number, number>();
    for (let diagonal = -count; diagonal <= count; diagonal += 2) {
      let x = startOf(reached, diagonal, count);
      while (x < left.length && x - diagonal < right.length && left[x] === right[x - diagonal])
        x += 1;
      next.set(diagonal, x);
      if (x >= left.length && x - diagonal >= right.length) return [...trace, next];
    }
    trace.push(next);
    reached = next;
  }
  return null;
}

/** Where a step onto `diagonal` begins: below, or right of, the furthest place beside it. */
function startOf(reached: Map<number, number>, diagonal: number, count: number): number {
  const below = reached.get(diagonal + 1) ?? -1;
  const right = (reached.get(diagonal - 1) ?? -2) + 1;
  return diagonal === -count || (diagonal !== count && right - 1 < below) ? below : right;
}

function script(left: string[], right: string[], trace: Map<number, number>[]): [Range, Range][] {
  const equal: [number, number, number][] = [];
  let [x, y] = [left.length, right.length];
  for (let count = trace.length - 1; count > 0; count -= 1) {
    const before = trace[count - 1] ?? new Map<number, number>();
    const diagonal = x - y;
    const start = startOf(before, diagonal, count);
    if (x > start) equal.push([start, start - diagonal, x - start]);
    const down = start === before.get(diagonal + 1);
    x = down ? start : start - 1;
    y = down ? start - diagonal - 1 : start - diagonal;
  }
  if (x > 0) equal.push([0, 0, x]);
  const found: [Range, Range][] = [];
  let [a, b] = [0, 0];
  for (const [first, other, length] of [
    ...equal.reverse(),
    [left.length, right.length, 0] as const,
  ]) {
    if (first > a || other > b)
      found.push([
        [a, first],
        [b, other],
      ]);
    if (length > 0)
      found.push([
        [first, first + length],
        [other, other + length],
      ]);
    [a, b] = [first + length, other + length];
  }
  return found;
}

/** Long stretches of equal lines as their number, but for those beside a difference. */
function folded(rows: Row[]): Row[] {
  const near = new Uint8Array(rows.length);
  rows.forEach((row, index) => {
    if (row.kind === "same") return;
    near.fill(1, Math.max(0, index - CONTEXT), index + CONTEXT + 1);
  });
  const found: Row[] = [];
  let hidden: Row[] = [];
  const fold = () => {
    // A fold of one line takes the room of the line.
    if (hidden.length > 1) found.push({ kind: "fold", count: hidden.length });
    else found.push(...hidden);
    hidden = [];
  };
  rows.forEach((row, index) => {
    if (near[index]) {
      fold();
      found.push(row);
    } else hidden.push(row);
  });
  fold();
  return found;
}

export interface Piece {
  text: string;
  /** It is what differs. */
  marked: boolean;
}

/** A line in pieces: what it shares at both ends with the other one, and what differs between. */
export function pieces(text: string, other: string): Piece[] {
  const [mine, its] = [shownLine(text), shownLine(other)];
  let head = 0;
  while (head < mine.length && mine[head] === its[head]) head += 1;
  let tail = 0;
  const most = Math.min(mine.length, its.length) - head;
  while (tail < most && mine.at(-1 - tail) === its.at(-1 - tail)) tail += 1;
  const end = mine.length - tail;
  return [
    { text: mine.slice(0, head), marked: false },
    { text: mine.slice(head, end), marked: true },
    { text: mine.slice(end), marked: false },
  ].filter((piece) => piece.text !== "");
}

/** Spaces and tabs as signs that can be seen, and each as wide as before. */
export function visibleBlanks(text: string): string {
  return text.replaceAll(" ", "·").replaceAll("\t", "→\t");
}

/** Blanks at a line's end, which nobody sees, apart from the rest. */
export function trailing(text: string): [string, string] {
  const rest = text.trimEnd();
  return [rest, text.slice(rest.length)];
}
