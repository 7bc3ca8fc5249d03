/**
 * Reading a log to its end, over as many connections as that takes.
 *
 * The place of the last record leads to the one after it, at any gateway, so a lost connection
 * costs time and no output. Nothing is read that would not be kept: the beginning of a long output
 * is asked for only by whoever downloads it.
 */

import { ApiError } from "./api";
import type { LogRecord, TaskLog } from "./log";
import { SseParser } from "./sse";

export interface Source {
  /** Asks for the log with these parameters; fails with an `ApiError`. */
  open(query: URLSearchParams, signal: AbortSignal): Promise<Response>;
  /** Waits before the next attempt; `failures` counts from 1. */
  pause(failures: number, retryAfterS: number | null): Promise<void>;
}

export interface Watcher {
  /** The log has changed. */
  onRecords(): void;
  onConnection(up: boolean): void;
}

/** The most that a request may name; the gateway stops at 256 KiB of each stream before that. */
const TAIL_LINES = "10000";
/** The gateway gives a sign of life every 15 s; two missed ones and a half mean that it is gone. */
const SILENCE_MS = 40_000;

/**
 * Reads until the log is over or `signal` is aborted. Fails with the `ApiError` of a refusal that
 * asking again would not change.
 */
export async function follow(
  source: Source,
  log: TaskLog,
  watcher: Watcher,
  signal: AbortSignal,
): Promise<void> {
  let after = "";
  let failures = 0;
  const take = (record: LogRecord) => {
    after = record.id;
    log.take(record);
  };
  while (!log.ended) {
    const before = after;
    let retryAfterS: number | null = null;
    try {
      if (after) await read(source, { follow: "true", after }, watcher, signal, take);
      else await begin(source, watcher, signal, log, take);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError) {
        if (!error.temporary) throw error;
        retryAfterS = error.retryAfterS;
      }
    }
    if (log.ended || signal.aborted) return;
    watcher.onConnection(false);
    failures = after === before ? failures + 1 : 1;
    await source.pause(failures, retryAfterS);
    if (signal.aborted) return;
  }
}

/** A tail begins in the newest stage that has output: what compile wrote has one of its own. */
async function begin(
  source: Source,
  watcher: Watcher,
  signal: AbortSignal,
  log: TaskLog,
  take: (record: LogRecord) => void,
): Promise<void> {
  await read(source, { stage: "compile", tail: TAIL_LINES }, watcher, signal, (record) => {
    // It is the end of what was asked for, not of the log; and no place to go on from.
    if (record.event !== "end") log.take(record);
  });
  await read(source, { follow: "true", tail: TAIL_LINES }, watcher, signal, take);
}

/** One connection, as long as it lasts. */
async function read(
  source: Source,
  query: Record<string, string>,
  watcher: Watcher,
  signal: AbortSignal,
  take: (record: LogRecord) => void,
): Promise<void> {
  const silence = new AbortController();
  let watch: ReturnType<typeof setTimeout> | undefined;
  const heard = () => {
    clearTimeout(watch);
    watch = setTimeout(() => silence.abort(), SILENCE_MS);
  };
  heard();
  try {
    const both = AbortSignal.any([signal, silence.signal]);
    const response = await source.open(new URLSearchParams(query), both);
    const reader = response.body?.getReader();
    if (!reader) return;
    watcher.onConnection(true);
    const decoder = new TextDecoder();
    const parser = new SseParser();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      const events = parser.push(decoder.decode(value, { stream: true }));
      for (const event of events) take(JSON.parse(event.data) as LogRecord);
      if (events.length > 0) watcher.onRecords();
    }
  } finally {
    clearTimeout(watch);
  }
}
