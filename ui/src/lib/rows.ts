/**
 * The rows of the task list and how events change them.
 *
 * Rows change in place and never move: somebody may be about to click one. Tasks that would appear
 * above the first row are only counted, until the reader asks for them.
 */

import type { Brief, State } from "./types";
import { stateOfKv2 } from "./describe";
import { parseTime } from "./format";
import type { TaskEvent } from "./live.svelte";

export interface Row {
  id: string;
  user: number;
  /** Null for a status this page does not know. */
  state: State | null;
  status: number;
  executor: string | null;
  createdAt: number;
  updatedAt: number;
  done: boolean;
}

export function rowOf(brief: Brief): Row {
  return {
    id: brief.id,
    user: brief.user,
    state: stateOfKv2(brief.status),
    status: brief.status,
    executor: brief.executor,
    createdAt: parseTime(brief.add_time),
    updatedAt: parseTime(brief.report_time),
    done: brief.done,
  };
}

/** The row after an event; the same object when the event is older than what the row shows. */
export function applyEvent(row: Row, event: TaskEvent): Row {
  const updatedAt = parseTime(event.updated_at);
  // A finished task never runs again, and events may overtake a re-read.
  if (updatedAt < row.updatedAt || (row.done && !event.done)) return row;
  return {
    ...row,
    state: event.state,
    status: event.kv2_status,
    executor: event.done ? null : event.executor,
    updatedAt,
    done: event.done,
  };
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
  id: string;
  user: string;
  /** ms since the epoch, or null for no bound. */
  start: number | null;
  end: number | null;
}

function matches(event: TaskEvent, filter: Filter): boolean {
  const created = parseTime(event.created_at);
  return (
    (filter.id === "" || filter.id === event.id) &&
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
