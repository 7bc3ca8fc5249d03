/** What came of tasks over time: which time is asked for, and what is said of the answer. */

import { duration, parseTime } from "./format";
import type { Stats, StatsBucket } from "./types";
import { VERDICTS } from "./verdicts";

export interface Range {
  key: string;
  word: string;
  s: number;
  /** The step that shows it best. */
  step: string;
}

export const RANGES: Range[] = [
  { key: "1h", word: "1 hour", s: 3600, step: "1m" },
  { key: "6h", word: "6 hours", s: 6 * 3600, step: "5m" },
  { key: "24h", word: "24 hours", s: 86_400, step: "1h" },
  { key: "7d", word: "7 days", s: 7 * 86_400, step: "1h" },
  { key: "30d", word: "30 days", s: 30 * 86_400, step: "1d" },
  { key: "90d", word: "90 days", s: 90 * 86_400, step: "1d" },
];
const DEFAULT_RANGE = "24h";

export interface Step {
  key: string;
  word: string;
  s: number;
}

const STEPS: Step[] = [
  { key: "1m", word: "minute", s: 60 },
  { key: "5m", word: "5 minutes", s: 300 },
  { key: "1h", word: "hour", s: 3600 },
  { key: "1d", word: "day", s: 86_400 },
];

/** As the gateway's own bound. */
const BUCKETS_MAX = 500;
/** Fewer say nothing about time. */
const BUCKETS_MIN = 5;

/** Those that a range can be looked at by. */
export function stepsOf(range: Range): Step[] {
  // The range begins in the middle of a step: there is one more than fit into it.
  return STEPS.filter(({ s }) => range.s / s >= BUCKETS_MIN && range.s / s < BUCKETS_MAX);
}

/** What the address asks for. */
export interface Span {
  range: Range;
  step: Step;
}

export function parseSpan(parameters: URLSearchParams): Span {
  const find = (key: string | null) => RANGES.find((each) => each.key === key);
  const range = find(parameters.get("range")) ?? (find(DEFAULT_RANGE) as Range);
  const steps = stepsOf(range);
  const asked = steps.find((each) => each.key === parameters.get("step"));
  return { range, step: asked ?? (steps.find((each) => each.key === range.step) as Step) };
}

/** The address of a range, without what is default anyway. */
export function spanHref(range: Range, step: string = range.step): string {
  const parameters = new URLSearchParams();
  if (range.key !== DEFAULT_RANGE) parameters.set("range", range.key);
  if (step !== range.step) parameters.set("step", step);
  const search = parameters.toString();
  return search ? `/stats?${search}` : "/stats";
}

/** In the order of a pile: what is well stands below. */
export const END_STATES = ["succeeded", "failed", "error", "cancelled"] as const;

export interface Totals {
  ended: Record<(typeof END_STATES)[number], number>;
  /** How many had each, the most wanted verdict first. */
  verdicts: { verdict: string; count: number }[];
  all: number;
  cpu_s: number;
  retries: number;
  losses: number;
}

export function totalsOf(buckets: StatsBucket[]): Totals {
  const sum = (of: (bucket: StatsBucket) => number) =>
    buckets.reduce((total, bucket) => total + of(bucket), 0);
  const ended = {
    succeeded: sum((bucket) => bucket.ended.succeeded),
    failed: sum((bucket) => bucket.ended.failed),
    error: sum((bucket) => bucket.ended.error),
    cancelled: sum((bucket) => bucket.ended.cancelled),
  };
  const given = new Set(buckets.flatMap((bucket) => Object.keys(bucket.verdicts)));
  const known = VERDICTS.filter((verdict) => given.delete(verdict));
  return {
    ended,
    verdicts: [...known, ...given]
      .map((verdict) => ({ verdict, count: sum((bucket) => bucket.verdicts[verdict] ?? 0) }))
      .filter(({ count }) => count > 0),
    all: END_STATES.reduce((total, state) => total + ended[state], 0),
    cpu_s: sum((bucket) => bucket.cpu_s),
    retries: sum((bucket) => bucket.retries),
    losses: sum((bucket) => bucket.losses),
  };
}

/** `93 %`, `under 1 %`: never 0 of something, and never 100 of what is not all. */
export function shareText(part: number, whole: number): string {
  if (whole === 0 || part === 0) return "0 %";
  if (part === whole) return "100 %";
  const share = (100 * part) / whole;
  if (share < 1) return "under 1 %";
  return share > 99 ? "over 99 %" : `${Math.round(share)} %`;
}

/** Counting follows what happens so far behind; more is worth a word. */
const BEHIND_MS = 180_000;

/** Up to when everything is counted, where that is not about now; else null. */
export function countedTo(stats: Stats, now: number): number | null {
  const to = parseTime(stats.complete_to);
  return Math.min(parseTime(stats.to), now) - to > BEHIND_MS ? to : null;
}

/** Those where something happened, for a table that is read from its top. */
export function tellingBuckets(stats: Stats): StatsBucket[] {
  return stats.buckets.filter(
    ({ ended, retries, losses }) =>
      retries + losses > 0 || END_STATES.some((state) => ended[state] > 0),
  );
}

export function seconds(value: number | null, nothing = "—"): string {
  return value === null ? nothing : duration(value * 1000);
}
