/** What is set in the cluster of quotas, and what is in force by that: requests, rows and drafts. */

import { bytes, duration } from "./format";
import { patchSettings, type Settings } from "./settings";

export interface Bounds {
  queued: number | null;
  running: number | null;
  /** Processor seconds a day. */
  cpu_s: number | null;
  stored_bytes: number | null;
}

export interface Quotas {
  revision: number;
  default: Bounds;
  /** By number. */
  users: Record<string, Bounds>;
}

/** Of one user, or of everybody. */
export interface Row {
  /** Null: everybody. */
  user: string | null;
  inForce: Bounds;
  set: Bounds;
}

/** As it is typed; empty: nothing is set. */
export type Draft = Record<keyof Bounds, string>;

interface Field {
  key: keyof Bounds;
  label: string;
  /** Among others. */
  word: string;
  /** How many of the bound's own unit one of the field's is. */
  unit: number;
}

/** In the order of a task's life. */
export const FIELDS: readonly Field[] = [
  { key: "queued", label: "Tasks that wait", word: "waiting", unit: 1 },
  { key: "running", label: "Tasks that run", word: "running", unit: 1 },
  { key: "cpu_s", label: "Processor hours a day", word: "processor time", unit: 3600 },
  { key: "stored_bytes", label: "Stored, in GiB", word: "stored", unit: 2 ** 30 },
];

const NOTHING: Bounds = { queued: null, running: null, cpu_s: null, stored_bytes: null };
const NUMBER = /^\d{1,12}(\.\d{1,6})?$/;
const USER_MAX = 2 ** 31 - 1;

/** Refused if somebody has changed what is set since `revision`. */
export function setQuota(
  user: string | null,
  bounds: Partial<Bounds> | null,
  revision: number,
): Promise<Settings> {
  const quotas = user === null ? { default: bounds } : { users: { [user]: bounds } };
  return patchSettings({ quotas }, revision);
}

/** Everybody first, as the newest of what judicators go by says. */
export function rowsOf(settings: Settings): Row[] {
  const known = settings.judicators.flatMap((each) => each.in_force ?? []);
  const set = settings.quotas;
  if (known.length === 0 || set === null) return [];
  const newest = known.reduce((one, other) => (other.revision > one.revision ? other : one));
  const users = Object.keys({ ...newest.users, ...set.users }).sort(
    (a, b) => Number(a) - Number(b),
  );
  return [
    { user: null, inForce: newest.default, set: set.default },
    ...users.map((user) => ({
      user,
      inForce: newest.users[user] ?? newest.default,
      set: set.users[user] ?? NOTHING,
    })),
  ];
}

export function boundsText(bounds: Bounds): string {
  const parts = [
    bounds.queued === null ? "" : `${bounds.queued.toLocaleString("en")} waiting`,
    bounds.running === null ? "" : `${bounds.running.toLocaleString("en")} running`,
    bounds.cpu_s === null ? "" : `${duration(bounds.cpu_s * 1000)} of processor time a day`,
    bounds.stored_bytes === null ? "" : `${bytes(bounds.stored_bytes)} stored`,
  ];
  return parts.filter(Boolean).join(" · ") || "No bounds";
}

/** Which of the bounds are set here, and not by judicators' hosts. */
export function setText(set: Bounds): string {
  const words = FIELDS.filter(({ key }) => set[key] !== null).map(
    ({ key, word }) => `${word}${set[key] === 0 ? " (no bound)" : ""}`,
  );
  return words.length > 0 ? `Set here: ${words.join(", ")}` : "";
}

export function draftOf(set: Bounds): Draft {
  const texts = FIELDS.map(({ key, unit }) => {
    const bound = set[key];
    return [key, bound === null ? "" : `${Number((bound / unit).toFixed(6))}`];
  });
  return Object.fromEntries(texts) as Draft;
}

export function draftProblems(draft: Draft): Partial<Draft> {
  const problems: Partial<Draft> = {};
  for (const { key, unit } of FIELDS) {
    const text = draft[key].trim();
    if (text === "") continue;
    if (unit === 1 && !/^\d{1,12}$/.test(text)) problems[key] = "A whole number is needed.";
    else if (!NUMBER.test(text)) problems[key] = "A number is needed.";
    else if (Number(text) > 0 && Math.round(Number(text) * unit) === 0)
      problems[key] = "That is less than the least bound.";
  }
  return problems;
}

export function userProblem(text: string): string {
  if (/^\d{1,10}$/.test(text.trim()) && Number(text) <= USER_MAX) return "";
  return "A user's number is needed.";
}

/** What is other than it was; a field that was emptied takes away what is set. */
export function patchOf(set: Bounds, draft: Draft): Partial<Bounds> {
  const before = draftOf(set);
  const patch: Partial<Bounds> = {};
  for (const { key, unit } of FIELDS) {
    const text = draft[key].trim();
    if (text !== before[key]) patch[key] = text === "" ? null : Math.round(Number(text) * unit);
  }
  return patch;
}
