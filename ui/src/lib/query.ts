/** The task list's filters as they stand in the address, in the form, and in the request. */

import type { Matching } from "./api";
import type { State } from "./types";

/** `start` and `end` are ISO 8601 with `Z`, or empty; `page` counts from 1, as people do. */
export interface View {
  /** Words with single blanks between them: parts of names, beginnings of ids, labels. */
  q: string;
  /** The first digits of an id, or all of them. */
  id: string;
  user: string;
  start: string;
  end: string;
  /** States with commas between them, as in the request; so the next two. */
  state: string;
  reason: string;
  verdict: string;
  /** `key=value`, with commas between several. */
  label: string;
  /** A part of it. */
  name: string;
  /** The executor. */
  node: string;
  /** `true` or `false`: whether a person holds it. */
  held: string;
  /** The highest first; the dates are of those that have the same. */
  byPriority: boolean;
  oldestFirst: boolean;
  limit: number;
  /** A page is found by its cursor; its number is for people. */
  page: number;
  cursor: string;
}

export const LIMITS = [10, 25, 50, 100];
export const DEFAULT_LIMIT = 25;

const WORDS = ["q", "id", "user", "start", "end", "state", "reason", "verdict"] as const;
const MORE_WORDS = ["label", "name", "node", "held"] as const;
export const FILTERS = [...WORDS, ...MORE_WORDS] as const;

/** As the gateway bounds a search. */
export const SEARCH_CHARS = 200;
const SEARCH_WORDS = 8;

/** Links above the list: what an executor has is one thing to who looks for it. */
export const STATE_LINKS: { word: string; state: string }[] = [
  { word: "All", state: "" },
  { word: "Queued", state: "queued" },
  { word: "Running", state: "starting,compiling,running" },
  { word: "Succeeded", state: "succeeded" },
  { word: "Failed", state: "failed" },
  { word: "Error", state: "error" },
  { word: "Cancelled", state: "cancelled" },
];
const OPEN: State[] = ["queued", "starting", "compiling", "running"];

export function parseView(parameters: URLSearchParams): View {
  const text = (name: string) => (parameters.get(name) ?? "").trim();
  const limit = Number(text("limit"));
  const page = Number(text("page"));
  const cursor = text("cursor");
  return {
    q: spaced(text("q")),
    id: text("id").toLowerCase(),
    user: text("user"),
    start: isoOrEmpty(text("start")),
    end: isoOrEmpty(text("end")),
    state: text("state"),
    reason: text("reason"),
    verdict: text("verdict"),
    label: text("label"),
    name: text("name"),
    node: text("node"),
    held: /^(true|false)$/.exec(text("held"))?.[0] ?? "",
    byPriority: text("sort") === "priority",
    oldestFirst: text("order") === "oldest",
    limit: LIMITS.includes(limit) ? limit : DEFAULT_LIMIT,
    // Without its cursor a page is nowhere: the first one is shown.
    page: cursor && Number.isSafeInteger(page) && page > 1 ? page : 1,
    cursor,
  };
}

/** What is pasted has blanks of other kinds, too, which the gateway would refuse. */
function spaced(text: string): string {
  return text.split(/\s+/).filter(Boolean).join(" ");
}

function isoOrEmpty(text: string): string {
  const time = Date.parse(text);
  return Number.isNaN(time) ? "" : iso(time);
}

function iso(time: number): string {
  return `${new Date(time).toISOString().slice(0, 19)}Z`;
}

/** The address of a view, without what is default anyway. */
export function hrefOf(view: View): string {
  const parameters = new URLSearchParams();
  for (const name of FILTERS) if (view[name]) parameters.set(name, view[name]);
  if (view.byPriority) parameters.set("sort", "priority");
  if (view.oldestFirst) parameters.set("order", "oldest");
  if (view.limit !== DEFAULT_LIMIT) parameters.set("limit", `${view.limit}`);
  if (view.page > 1) parameters.set("page", `${view.page}`);
  if (view.cursor) parameters.set("cursor", view.cursor);
  const search = parameters.toString();
  return search ? `/tasks?${search}` : "/tasks";
}

/** The same view, from its beginning. */
export function firstPage(view: View): View {
  return { ...view, page: 1, cursor: "" };
}

export function unfiltered(view: View): View {
  return { ...firstPage(view), ...Object.fromEntries(FILTERS.map((name) => [name, ""])) };
}

/** Labels as the gateway takes them: without blanks around them. */
function labelsOf(view: View): string[] {
  return view.label
    .split(",")
    .map((label) => label.trim())
    .filter(Boolean);
}

/** The parameters of `GET /api/v2/tasks`. */
export function requestOf(view: View): URLSearchParams {
  const parameters = new URLSearchParams({ limit: `${view.limit}` });
  const put = (name: string, value: string) => value && parameters.set(name, value);
  put("q", view.q);
  put("id_prefix", view.id);
  put("user", view.user);
  put("created_after", view.start);
  put("created_before", view.end);
  put("label", labelsOf(view).join(","));
  for (const name of ["state", "reason", "verdict", "name", "node", "held", "cursor"] as const)
    put(name, view[name]);
  if (view.byPriority) parameters.set("sort", "priority");
  if (view.oldestFirst) parameters.set("order", "oldest");
  return parameters;
}

/**
 * The open tasks of a filter, as an act names them; null if it is one for tasks that ended. `only`
 * is whose they must be, where the filter does not say it.
 */
export function matchingOf(view: View, only: number | null = null): Matching | null {
  const asked = view.state.split(",");
  const states = OPEN.filter((state) => view.state === "" || asked.includes(state));
  if (states.length === 0 || view.reason || view.verdict) return null;
  return {
    ...(view.state && { state: states }),
    ...(view.q && { q: view.q }),
    ...(view.id && { id_prefix: view.id }),
    ...(only !== null && { user: only }),
    ...(view.user && { user: Number(view.user) }),
    ...(view.start && { created_after: view.start }),
    ...(view.end && { created_before: view.end }),
    ...(view.label && { label: labelsOf(view) }),
    ...(view.name && { name: view.name }),
    ...(view.node && { node: view.node }),
    ...(view.held && { held: view.held === "true" }),
  };
}

export function isFiltered(view: View): boolean {
  return FILTERS.some((name) => view[name] !== "");
}

/** An event does not say everything that a list can be filtered by. */
export function isToldByEvents(view: View): boolean {
  const { q, state, reason, verdict, label, node, held } = view;
  return [q, state, reason, verdict, label, node, held].every((each) => each === "");
}

/** For `<input type="datetime-local">`, which speaks the reader's own time zone. */
export function localInput(isoTime: string): string {
  if (!isoTime) return "";
  const date = new Date(isoTime);
  const shifted = new Date(date.getTime() - date.getTimezoneOffset() * 60_000);
  // Seconds only where there are any: the field is narrow.
  return shifted.toISOString().slice(0, 19).replace(/:00$/, "");
}

export function fromLocalInput(value: string): string {
  const time = Date.parse(value);
  return Number.isNaN(time) ? "" : iso(time);
}

/** A view as it stands in the fields of the form, which name times in the reader's own zone. */
export type Typed = Record<(typeof FILTERS)[number], string>;

export function typedOf(view: View): Typed {
  const { q, id, user, state, reason, verdict, label, name, node, held } = view;
  const [start, end] = [localInput(view.start), localInput(view.end)];
  return { q, id, user, start, end, state, reason, verdict, label, name, node, held };
}

/** The first page of what is typed, in the order and size of `view`. */
export function viewOf(typed: Typed, view: View): View {
  const texts = Object.fromEntries(FILTERS.map((each) => [each, typed[each].trim()]));
  const [start, end] = [fromLocalInput(typed.start), fromLocalInput(typed.end)];
  const [q, id] = [spaced(typed.q), typed.id.trim().toLowerCase()];
  return { ...firstPage(view), ...texts, q, id, start, end };
}

export type FilterProblems = Partial<Record<(typeof FILTERS)[number], string>>;

export function filterProblems(view: View): FilterProblems {
  const problems: FilterProblems = {};
  const [chars, words] = [[...view.q].length, view.q.split(" ").length];
  if (/\p{C}/u.test(view.q))
    problems.q = "It has characters that nobody can see; type it instead of pasting it.";
  else if (chars > SEARCH_CHARS)
    problems.q = `A search has ${SEARCH_CHARS} characters at most; this has ${chars}.`;
  else if (words > SEARCH_WORDS)
    problems.q = `A search has ${SEARCH_WORDS} words at most; this has ${words}.`;
  if (view.id && !/^[0-9a-f]{6,24}$/.test(view.id))
    problems.id = `A task id has 24 hexadecimal digits, of which the first 6 will do; this has ${view.id.length} characters.`;
  if (view.user && (!/^\d+$/.test(view.user) || Number(view.user) > 2_147_483_647))
    problems.user = "A user id is a whole number from 0 to 2147483647.";
  if (view.start && view.end && view.start > view.end)
    problems.end = "The end is before the start.";
  if (labelsOf(view).some((label) => !/^[^=]{1,63}=/.test(label)))
    problems.label = "A label is KEY=value; between several stand commas.";
  if (view.node && !/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(view.node))
    problems.node = "A name of an executor has letters, digits, “.”, “_” and “-”.";
  return problems;
}
