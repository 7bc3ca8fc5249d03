/**
 * Geometry of the charts: from numbers and dates to ticks and paths. Pure, so that it can be tested
 * without a screen; what it looks like is the components' business.
 */

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** Ticks of an axis from 0: round numbers, of which the last is at least `most`. */
export function countTicks(most: number): number[] {
  // Nobody counts halves.
  return ticksUpTo(Math.max(most, 1), (rough) => Math.max(1, roundUp(rough)));
}

/** As `countTicks`, in seconds that `duration` says in one round number. */
export function durationTicks(mostS: number): number[] {
  return ticksUpTo(Math.max(mostS, 0.001), (rough) => {
    if (rough <= 1) return Math.max(0.001, roundUp(rough));
    return ROUND_S.find((each) => each >= rough) ?? roundUp(rough / 86_400) * 86_400;
  });
}

const ROUND_S = [
  1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400,
];
/** Lines across a chart, at most, beside that of 0. */
const LINES = 4;

function ticksUpTo(most: number, stepOf: (rough: number) => number): number[] {
  const step = stepOf(most / LINES);
  // A rounding error is no reason for another line.
  const count = Math.max(1, Math.ceil(most / step - 1e-9));
  return Array.from({ length: count + 1 }, (_, index) => step * index);
}

/** The next of 1, 2, 5, 10, 20, … and of 0.5, 0.2, 0.1, … */
function roundUp(value: number): number {
  const magnitude = Math.floor(Math.log10(value));
  for (const factor of [1, 2, 5]) {
    const round = shifted(factor, magnitude);
    if (round >= value * (1 - 1e-9)) return round;
  }
  return shifted(1, magnitude + 1);
}

/** 2 and -3 are 0.002, without the error of a multiplication. */
function shifted(factor: number, magnitude: number): number {
  return Number(`${factor}e${magnitude}`);
}

const ROUND_MS = [
  MINUTE_MS,
  ...[5, 10, 15, 30].map((minutes) => minutes * MINUTE_MS),
  ...[1, 2, 3, 6, 12].map((hours) => hours * HOUR_MS),
  ...[1, 2, 5, 7, 14, 30, 90].map((days) => days * DAY_MS),
];

/** At most about `count` dates (ms) between two, at round times of the reader's own day. */
export function timeTicks(from: number, to: number, count: number): number[] {
  const step = ROUND_MS.find((each) => (to - from) / each <= count) ?? 365 * DAY_MS;
  const day = new Date(from);
  day.setHours(0, 0, 0, 0);
  const found: number[] = [];
  if (step >= DAY_MS) {
    // A day of a change of clocks has another length.
    for (; day.getTime() <= to; day.setDate(day.getDate() + step / DAY_MS))
      if (day.getTime() >= from) found.push(day.getTime());
    return found;
  }
  for (let at = day.getTime(); at <= to; at += step) if (at >= from) found.push(at);
  return found;
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** `14:00`, and at midnight the day that begins, `27 Nov`. */
export function tickText(at: number): string {
  const date = new Date(at);
  if (date.getHours() === 0 && date.getMinutes() === 0)
    return `${date.getDate()} ${MONTHS[date.getMonth()]}`;
  return clockText(date);
}

function clockText(date: Date): string {
  const two = (value: number) => `${value}`.padStart(2, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** `27 Nov 14:00 to 15:00`, and of a whole day its date. */
export function spanText(begin: number, end: number): string {
  const [first, last] = [new Date(begin), new Date(end)];
  const day = `${first.getDate()} ${MONTHS[first.getMonth()]}`;
  if (end - begin < DAY_MS) return `${day} ${clockText(first)} to ${clockText(last)}`;
  // The gateway's days are those of UTC.
  return clockText(first) === "00:00" ? day : `a day from ${day} ${clockText(first)}`;
}

export interface Bar {
  x: number;
  width: number;
}

/** The places of `count` bars side by side in a width; a gap only where it leaves something. */
export function barsIn(width: number, count: number): Bar[] {
  const each = width / Math.max(count, 1);
  const gap = each >= 6 ? Math.min(4, each * 0.2) : each >= 2 ? 0.5 : 0;
  return Array.from({ length: count }, (_, index) => ({
    x: each * index + gap / 2,
    width: each - gap,
  }));
}

/** Of each series the path of its bars, which stand on those of the series before it. */
export function stackedPaths(
  series: number[][],
  bars: Bar[],
  heightOf: (value: number) => number,
  bottom: number,
): string[] {
  const below = bars.map(() => 0);
  return series.map((values) =>
    bars
      .map(({ x, width }, index) => {
        const value = values[index] ?? 0;
        if (value <= 0) return "";
        const base = bottom - heightOf(below[index] ?? 0);
        below[index] = (below[index] ?? 0) + value;
        const top = bottom - heightOf(below[index] ?? 0);
        return `M${fixed(x)} ${fixed(base)}V${fixed(top)}h${fixed(width)}V${fixed(base)}z`;
      })
      .join(""),
  );
}

/** Half of the dash that stands for a value between two that are not known. */
const ALONE = 3;

/** A line through the middles of the bars, broken where nothing is known. */
export function linePath(
  values: (number | null)[],
  bars: Bar[],
  heightOf: (value: number) => number,
  bottom: number,
): string {
  const known = (index: number) => (values[index] ?? null) !== null && index < bars.length;
  return bars
    .map((bar, index) => {
      const value = values[index] ?? null;
      if (value === null) return "";
      const [x, y] = [bar.x + bar.width / 2, fixed(bottom - heightOf(value))];
      if (known(index - 1)) return `L${fixed(x)} ${y}`;
      return known(index + 1) ? `M${fixed(x)} ${y}` : `M${fixed(x - ALONE)} ${y}h${2 * ALONE}`;
    })
    .join("");
}

function fixed(value: number): string {
  return `${Math.round(value * 100) / 100}`;
}
