/**
 * What is set in the cluster of what it keeps, and what judicators keep by that: rows and drafts.
 * What keeps less than before begins a day after it was set.
 */

import { bytes, duration, plural } from "./format";
import { patchSettings, type Judicator, type Settings } from "./settings";

/** Of what judicators were told or go by, null is no bound. */
export interface Keeping {
  retention: { age_s: number | null; count: number | null; size_bytes: number | null };
  audit_s: number;
  backups_kept: number;
}

/** 0 is no bound; null: nothing is said, and what judicators were told holds. */
export interface SetKeeping {
  retention: Keeping["retention"];
  audit_s: number | null;
  backups_kept: number | null;
  /** When what keeps less begins; null: nothing is coming. */
  less_from: string | null;
}

/** Nothing is set. */
export const NOTHING: SetKeeping = {
  retention: { age_s: null, count: null, size_bytes: null },
  audit_s: null,
  backups_kept: null,
  less_from: null,
};

type Key = "age_s" | "count" | "size_bytes" | "audit_s" | "backups_kept";
/** No bound: null. */
type Amount = number | null;
type Unit = readonly [string, number];

interface Field {
  key: Key;
  label: string;
  /** Something that can be typed. */
  example: string;
  /** From the largest; none: a number of things. */
  units: readonly Unit[];
  /** There may be no bound. */
  boundless: boolean;
  /** As gateways have them. */
  least: number;
  most: number;
  text: (amount: number) => string;
  /** What comes of it, after a date. */
  sentence: (amount: Amount) => string;
}

const TIMES: readonly Unit[] = [
  ["d", 86_400],
  ["h", 3600],
  ["m", 60],
  ["s", 1],
];
const SIZES: readonly Unit[] = [
  ["TiB", 2 ** 40],
  ["GiB", 2 ** 30],
  ["MiB", 2 ** 20],
  ["KiB", 2 ** 10],
  ["B", 1],
];

export const FIELDS: readonly Field[] = [
  {
    key: "age_s",
    label: "Ended tasks, by age",
    example: "30d",
    units: TIMES,
    boundless: true,
    least: 3600,
    most: 36_500 * 86_400,
    text: lifeText,
    sentence: (amount) =>
      amount === null
        ? "ended tasks are kept however old they are"
        : `ended tasks are kept for ${lifeText(amount)}`,
  },
  {
    key: "count",
    label: "Ended tasks, by number",
    example: "1000000",
    units: [],
    boundless: true,
    least: 1,
    most: 1e9,
    text: newest,
    sentence: (amount) =>
      amount === null
        ? "ended tasks are kept however many they are"
        : `${newest(amount)} ended tasks are kept`,
  },
  {
    key: "size_bytes",
    label: "Ended tasks, by size",
    example: "200GiB",
    units: SIZES,
    boundless: true,
    least: 1,
    most: 2 ** 50,
    text: bytes,
    sentence: (amount) =>
      amount === null
        ? "ended tasks are kept however large they are"
        : `ended tasks are kept up to ${bytes(amount)}`,
  },
  {
    key: "audit_s",
    label: "Audit log",
    example: "90d",
    units: TIMES,
    boundless: false,
    least: 86_400,
    most: 36_500 * 86_400,
    text: lifeText,
    sentence: (amount) => `new entries of the audit log are kept for ${lifeText(amount ?? 0)}`,
  },
  {
    key: "backups_kept",
    label: "Backups",
    example: "14",
    units: [],
    boundless: false,
    least: 1,
    most: 1000,
    text: newest,
    sentence: (amount) => `each judicator keeps ${plural(amount ?? 0, "backup")}`,
  },
];

/** `30 days`, `36 hours`. */
export function lifeText(seconds: number): string {
  if (seconds > 0 && seconds % 86_400 === 0) return plural(seconds / 86_400, "day");
  if (seconds > 0 && seconds % 3600 === 0) return plural(seconds / 3600, "hour");
  return duration(seconds * 1000);
}

function newest(count: number): string {
  return `the newest ${count.toLocaleString("en")}`;
}

function textOf(field: Field, amount: Amount): string {
  return amount === null ? "no bound" : field.text(amount);
}

function amountOf(kept: Keeping | SetKeeping, key: Key): Amount {
  return key === "audit_s" || key === "backups_kept" ? kept[key] : kept.retention[key];
}

function now(judicator: Judicator, key: Key): Amount {
  return amountOf(judicator.keeping ?? judicator, key);
}

/** When no notice runs any more, if `said` is what is set. */
function later(judicator: Judicator, key: Key, said: Amount): Amount {
  if (judicator.keeping === null) return now(judicator, key);
  if (said === null) return amountOf(judicator, key);
  return said === 0 ? null : said;
}

function isLess(one: Amount, other: Amount): boolean {
  return one !== null && (other === null || one < other);
}

/** What some judicators have alike. */
export interface Alike {
  text: string;
  /** Their names; empty: all of them. */
  where: string;
}

function alike(
  field: Field,
  judicators: readonly Judicator[],
  of: (each: Judicator) => Amount,
): Alike[] {
  const names = new Map<string, string[]>();
  for (const each of judicators) {
    const text = textOf(field, of(each));
    names.set(text, [...(names.get(text) ?? []), each.name]);
  }
  return [...names].map(([text, of]) => ({ text, where: names.size > 1 ? of.join(", ") : "" }));
}

function inOneLine(found: readonly Alike[]): string {
  return found.map(({ text, where }) => (where ? `${text} (${where})` : text)).join(" · ");
}

export interface Row {
  key: Key;
  label: string;
  /** More than one where judicators differ. */
  inForce: Alike[];
  /** It is set in the cluster. */
  set: boolean;
  /** What less comes; empty: nothing. */
  coming: string;
}

export function rowsOf({ judicators, keeping }: Settings): Row[] {
  if (keeping === null || judicators.length === 0) return [];
  return FIELDS.map((field) => {
    const { key, label } = field;
    const said = amountOf(keeping, key);
    const comes = comesLess(judicators, keeping, key);
    return {
      key,
      label,
      inForce: alike(field, judicators, (each) => now(each, key)),
      set: said !== null,
      coming: comes ? inOneLine(alike(field, judicators, (each) => later(each, key, said))) : "",
    };
  });
}

function comesLess(judicators: readonly Judicator[], keeping: SetKeeping, key: Key): boolean {
  const said = amountOf(keeping, key);
  return (
    keeping.less_from !== null &&
    judicators.some((each) => isLess(later(each, key, said), now(each, key)))
  );
}

/** Judicators that are too old to go by what is set of it. */
export function tooOld({ judicators }: Settings): string[] {
  return judicators.filter((each) => each.keeping === null).map((each) => each.name);
}

export type Said = Partial<Record<Key, Amount>>;

/** What is less from `less_from` on, as sentences without their beginning. */
export function comingSentences({ judicators, keeping }: Settings): string[] {
  if (keeping === null) return [];
  return FIELDS.filter(({ key }) => comesLess(judicators, keeping, key)).flatMap((field) => {
    const said = amountOf(keeping, field.key);
    const less = (each: Judicator) => isLess(later(each, field.key, said), now(each, field.key));
    return sentences(field, judicators, said, less);
  });
}

/** For those judicators that `which` names; they are named if they are not all. */
function sentences(
  field: Field,
  judicators: readonly Judicator[],
  said: Amount,
  which: (each: Judicator) => boolean,
): string[] {
  const names = new Map<Amount, string[]>();
  for (const each of judicators.filter(which)) {
    const amount = later(each, field.key, said);
    names.set(amount, [...(names.get(amount) ?? []), each.name]);
  }
  return [...names].map(([amount, of]) => {
    const where = of.length < judicators.length ? ` (${of.join(", ")})` : "";
    return `${field.sentence(amount)}${where}`;
  });
}

/** What keeps in force what is in force: what hosts were told where that is it, else it is said. */
export function takeBack({ judicators, keeping }: Settings): Said {
  const said: Said = {};
  for (const { key } of FIELDS) {
    if (keeping === null || !comesLess(judicators, keeping, key)) continue;
    const able = judicators.filter((each) => each.keeping !== null);
    const amounts = able.map((each) => now(each, key));
    if (able.every((each) => amountOf(each, key) === now(each, key))) said[key] = null;
    else if (amounts.includes(null)) said[key] = 0;
    else said[key] = Math.max(...amounts.map((each) => each ?? 0));
  }
  return said;
}

/** Refused if somebody has changed what is set since `revision`. */
export function setKeeping(
  { age_s, count, size_bytes, ...rest }: Said,
  revision: number,
): Promise<Settings> {
  return patchSettings({ keeping: { retention: { age_s, count, size_bytes }, ...rest } }, revision);
}

/** As it is typed; empty: nothing is set. */
export type Draft = Record<Key, string>;

const NONE = "none";
const NUMBER = /^(\d{1,12}(?:\.\d{1,6})?)\s*([a-z]+)$/i;
const COUNT = /^\d{1,12}$/;
const GROUPED = /(?<=\d)[ ,_](?=\d{3}(\D|$))/g;

export function draftOf(keeping: SetKeeping): Draft {
  const texts = FIELDS.map((field) => {
    const amount = amountOf(keeping, field.key);
    return [field.key, amount === null ? "" : typed(field, amount)];
  });
  return Object.fromEntries(texts) as Draft;
}

function typed({ units }: Field, amount: number): string {
  if (amount === 0) return NONE;
  const [unit, size] = units.find(([, size]) => amount % size === 0) ?? units.at(-1) ?? ["", 1];
  return `${amount / size}${unit}`;
}

/** Null: nothing is said. NaN: it is no amount. */
function parse({ units, boundless }: Field, text: string): Amount {
  const trimmed = text.trim();
  if (trimmed === "") return null;
  if (boundless && (trimmed === NONE || trimmed === "0")) return 0;
  const plain = trimmed.replace(GROUPED, "");
  if (units.length === 0) return COUNT.test(plain) && Number(plain) > 0 ? Number(plain) : NaN;
  const [, number, word = ""] = NUMBER.exec(plain) ?? [];
  const [, size] = units.find(([unit]) => isUnit(word, unit)) ?? ["", NaN];
  const amount = Math.round(Number(number) * size);
  return amount > 0 ? amount : NaN;
}

/** Of sizes the first letter is enough, as for the options of hosts. */
function isUnit(word: string, unit: string): boolean {
  return word === unit || (unit.endsWith("iB") && word.toUpperCase() === unit[0]);
}

/** Gateways take it. */
function isTaken({ least, most }: Field, amount: Amount): boolean {
  return amount === null || amount === 0 || (amount >= least && amount <= most);
}

export function draftProblems(draft: Draft): Partial<Draft> {
  const problems: Partial<Draft> = {};
  for (const field of FIELDS) {
    const amount = parse(field, draft[field.key]);
    if (isTaken(field, amount)) continue;
    if (amount !== null && !Number.isNaN(amount)) {
      const most = field.units.length ? field.text(field.most) : field.most.toLocaleString("en");
      problems[field.key] =
        amount < field.least
          ? `At least ${field.text(field.least)} is needed.`
          : `${most} is the most.`;
      continue;
    }
    const what =
      field.units === TIMES ? "A duration" : field.units === SIZES ? "A size" : "A whole number";
    const none = field.boundless ? `, or ${NONE}` : "";
    problems[field.key] = `${what} such as ${field.example} is needed${none}.`;
  }
  return problems;
}

/** What is other than it was; what was emptied is left to hosts. What gateways do not take is left out. */
export function saidIn(keeping: SetKeeping, draft: Draft): Said {
  const said: Said = {};
  for (const field of FIELDS) {
    const amount = parse(field, draft[field.key]);
    if (isTaken(field, amount) && amount !== amountOf(keeping, field.key)) said[field.key] = amount;
  }
  return said;
}

export interface Effects {
  /** What keeps more, or takes back what was to keep less. */
  atOnce: string[];
  /** What keeps less. */
  later: string[];
}

/** What comes of it, as sentences without their beginning. */
export function effectsOf({ judicators, keeping }: Settings, said: Said): Effects {
  const effects: Effects = { atOnce: [], later: [] };
  for (const field of FIELDS) {
    const amount = said[field.key];
    if (amount === undefined || keeping === null) continue;
    const before = amountOf(keeping, field.key);
    const less = (each: Judicator) => isLess(later(each, field.key, amount), now(each, field.key));
    const other = (each: Judicator) =>
      later(each, field.key, amount) !== now(each, field.key) ||
      later(each, field.key, before) !== now(each, field.key);
    const more = (each: Judicator) => !less(each) && other(each);
    effects.atOnce.push(...sentences(field, judicators, amount, more));
    effects.later.push(...sentences(field, judicators, amount, less));
  }
  return effects;
}

/** What holds of it where nothing is set. */
export function hostText({ judicators }: Settings, key: Key): string {
  const field = FIELDS.find((each) => each.key === key);
  return field ? inOneLine(alike(field, judicators, (each) => amountOf(each, key))) : "";
}
