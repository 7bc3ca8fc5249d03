/**
 * The rows of the task list and how events change them.
 *
 * Rows change in place and never move: somebody may be about to click one. Tasks that would appear
 * above the first row are only counted, until the reader asks for them.
 */

import type { State, TaskRow } from "./types";
import { parseTime } from "./format";
import type { TaskEvent } from "./live.svelte";

export interface Row {
  id: string;
  user: number;
  name: string;
  state: State;
  status: number;
  /** Why it ended, and whether its output was right. */
  reason: string | null;
  verdict: string | null;
  executor: string | null;
  createdAt: number;
  updatedAt: number;
  done: boolean;
  held: boolean;
  priority: number;
}

/** Events bring the same rows. */
export function rowOf(row: TaskRow | TaskEvent): Row {
  return {
    id: row.id,
    user: row.user,
    name: row.name,
    state: row.state,
    status: row.kv2_status,
    reason: row.reason,
    verdict: row.verdict,
    executor: row.executor,
    createdAt: parseTime(row.created_at),
    updatedAt: parseTime(row.updated_at),
    done: row.done,
    held: row.held,
    priority: row.priority,
  };
}

/** The row after an event; the same object when the event is older than what the row shows. */
export function applyEvent(row: Row, event: TaskEvent): Row {
  const updatedAt = parseTime(event.updated_at);
  // A finished task never runs again, and events may overtake a re-read.
  if (updatedAt < row.updatedAt || (row.done && !event.done)) return row;
  return rowOf(event);
}

/** The rows after a frame's events, and whether anything changed. */
export function applyEvents(rows: Row[], events: TaskEvent[]): Row[] {
  const latest = new Map<string, TaskEvent[]>();
  for (const event of events) {
    const list = latest.get(event.id);
    if (list) list.push(event);
    else latest.set(event.id, [event]);
  }
  let changed = false;
  const next = rows.map((row) => {
    const own = latest.get(row.id);
    if (!own) return row;
    const after = own.reduce(applyEvent, row);
    if (after !== row) changed = true;
    return after;
  });
  return changed ? next : rows;
}

export interface Filter {
  /** The beginning of it. */
  id: string;
  /** A part of it. */
  name: string;
  user: string;
  /** ms since the epoch, or null for no bound. */
  start: number | null;
  end: number | null;
}

function matches(event: TaskEvent, filter: Filter): boolean {
  const created = parseTime(event.created_at);
  return (
    event.id.startsWith(filter.id) &&
    event.name.toLowerCase().includes(filter.name.toLowerCase()) &&
    (filter.user === "" || Number(filter.user) === event.user) &&
    (filter.start === null || created >= filter.start) &&
    (filter.end === null || created <= filter.end)
  );
}

/** Ids of matching tasks that belong above `rows`, which start with the newest known one. */
export function newerIds(rows: Row[], events: TaskEvent[], filter: Filter): string[] {
  const newest = rows[0]?.createdAt ?? Number.NEGATIVE_INFINITY;
  const shown = new Set(rows.map((row) => row.id));
  return events
    .filter((event) => !shown.has(event.id) && matches(event, filter))
    .filter((event) => parseTime(event.created_at) >= newest)
    .map((event) => event.id);
}

/**
 * A re-read page laid over the rows on screen: rows that are still there are refreshed in place,
 * new ones above them are returned apart, in `newer`.
 */
export function mergeReread(rows: Row[], fresh: Row[]): { rows: Row[]; newer: string[] } {
  const byId = new Map(fresh.map((row) => [row.id, row]));
  const shown = new Set(rows.map((row) => row.id));
  const newest = rows[0]?.createdAt ?? Number.NEGATIVE_INFINITY;
  return {
    rows: rows.map((row) => {
      const again = byId.get(row.id);
      return again && again.updatedAt >= row.updatedAt ? again : row;
    }),
    newer: fresh
      .filter((row) => !shown.has(row.id) && row.createdAt >= newest)
      .map((row) => row.id),
  };
}
