/** The task list's filters as they stand in the address, in the form, and in the request. */

import type { ListQuery, Matching } from "./api";

/** `start` and `end` are ISO 8601 with `Z`, or empty; `page` counts from 1, as people do. */
export interface View {
  id: string;
  user: string;
  start: string;
  end: string;
  oldestFirst: boolean;
  limit: number;
  page: number;
}

export const LIMITS = [10, 25, 50, 100];
export const DEFAULT_LIMIT = 25;

export function parseView(parameters: URLSearchParams): View {
  const text = (name: string) => (parameters.get(name) ?? "").trim();
  const limit = Number(text("limit"));
  const page = Number(text("page"));
  return {
    id: text("id").toLowerCase(),
    user: text("user"),
    start: isoOrEmpty(text("start")),
    end: isoOrEmpty(text("end")),
    oldestFirst: text("order") === "oldest",
    limit: LIMITS.includes(limit) ? limit : DEFAULT_LIMIT,
    page: Number.isSafeInteger(page) && page >= 1 ? page : 1,
  };
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
  if (view.id) parameters.set("id", view.id);
  if (view.user) parameters.set("user", view.user);
  if (view.start) parameters.set("start", view.start);
  if (view.end) parameters.set("end", view.end);
  if (view.oldestFirst) parameters.set("order", "oldest");
  if (view.limit !== DEFAULT_LIMIT) parameters.set("limit", `${view.limit}`);
  if (view.page > 1) parameters.set("page", `${view.page}`);
  const search = parameters.toString();
  return search ? `/tasks?${search}` : "/tasks";
}

/** KV2 compares naive times in UTC. */
export function requestOf(view: View): ListQuery {
  return {
    id: view.id,
    user: view.user,
    start: view.start.replace(/Z$/, ""),
    end: view.end.replace(/Z$/, ""),
    oldToNew: view.oldestFirst,
    limit: view.limit,
    page: view.page - 1,
  };
}

/** The same filter in the words of the second interface; the id is no part of it. */
export function matchingOf(view: View): Matching {
  return {
    ...(view.user && { user: Number(view.user) }),
    ...(view.start && { created_after: view.start }),
    ...(view.end && { created_before: view.end }),
  };
}

export function isFiltered(view: View): boolean {
  return view.id !== "" || view.user !== "" || view.start !== "" || view.end !== "";
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

export interface FilterProblems {
  id?: string;
  user?: string;
  end?: string;
}

export function filterProblems(view: View): FilterProblems {
  const problems: FilterProblems = {};
  if (view.id && !/^[0-9a-f]{24}$/.test(view.id))
    problems.id = `A task id has 24 hexadecimal digits; this has ${view.id.length} characters.`;
  if (view.user && (!/^\d+$/.test(view.user) || Number(view.user) > 2_147_483_647))
    problems.user = "A user id is a whole number from 0 to 2147483647.";
  if (view.start && view.end && view.start > view.end)
    problems.end = "The end is before the start.";
  return problems;
}
