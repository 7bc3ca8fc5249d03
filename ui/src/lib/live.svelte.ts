/**
 * The one event stream of a tab.
 *
 * Events are hints, not truth: whoever listens is also told to re-read (`onResync`) whenever
 * events may have been missed, that is after every (re)connect. While the stream is down the
 * re-reads continue at the pace of the attempts, so a proxy that swallows streams makes the page
 * slow, not wrong.
 *
 * A hidden tab gives its connection back after a while: browsers allow six per host, and six
 * forgotten tabs would otherwise block the seventh.
 */

import { ApiError, request } from "./api";
import { backoffMs } from "./backoff";
import type { Place, State } from "./types";
import { SseParser, type ServerEvent } from "./sse";

export interface TaskEvent {
  id: string;
  user: number;
  name: string;
  state: State;
  kv2_status: number;
  reason: string | null;
  verdict: string | null;
  executor: string | null;
  attempt: number;
  created_at: string;
  updated_at: string;
  done: boolean;
  held: boolean;
  priority: number;
  job: Place | null;
}

export interface ExecutorEvent {
  name: string;
  state: "online" | "lost" | "draining";
  slots: number;
  free: number;
  seen_at: string;
}

export interface Listener {
  /** All task events of one animation frame, oldest first. */
  onTasks?: (events: TaskEvent[]) => void;
  onExecutors?: (events: ExecutorEvent[]) => void;
  /** Read everything shown again. */
  onResync?: () => void;
}

export type LiveState = "connecting" | "live" | "waiting" | "paused";

/** The server's heartbeat comes every 15 s; two missed ones and a half mean that it is gone. */
const SILENCE_MS = 40_000;
const HIDDEN_GRACE_MS = 30_000;

class Live {
  state = $state<LiveState>("connecting");
  /** When the next attempt starts (`Date.now()` scale); only while `waiting`. */
  retryAt = $state(0);
  /** Why the last connection ended. */
  problem = $state("");

  private listeners = new Set<Listener>();
  private abort: AbortController | null = null;
  private failures = 0;
  private retryTimer: ReturnType<typeof setTimeout> | undefined;
  private hideTimer: ReturnType<typeof setTimeout> | undefined;
  private tasks: TaskEvent[] = [];
  private executors: ExecutorEvent[] = [];
  private flushing = false;
  private started = false;
  private watching = false;

  listen(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  start(): void {
    if (this.started) return;
    this.started = true;
    if (!this.watching) {
      this.watching = true;
      document.addEventListener("visibilitychange", () => this.onVisibility());
      window.addEventListener("online", () => this.retryNow());
    }
    this.failures = 0;
    void this.connect();
  }

  /** No stream until the next `start`: nobody is signed in. */
  stop(): void {
    this.started = false;
    clearTimeout(this.retryTimer);
    this.abort?.abort();
    this.state = "paused";
  }

  retryNow(): void {
    if (this.state !== "waiting") return;
    clearTimeout(this.retryTimer);
    void this.connect();
  }

  private onVisibility(): void {
    clearTimeout(this.hideTimer);
    if (!this.started) return;
    if (document.hidden) {
      this.hideTimer = setTimeout(() => {
        clearTimeout(this.retryTimer);
        this.abort?.abort();
        this.state = "paused";
      }, HIDDEN_GRACE_MS);
    } else if (this.state === "paused") {
      void this.connect();
    }
  }

  private async connect(): Promise<void> {
    const abort = new AbortController();
    this.abort = abort;
    this.state = "connecting";
    try {
      await this.read(abort);
      this.problem = "The gateway ended the stream.";
    } catch (error) {
      this.problem = error instanceof ApiError ? error.message : "The connection broke.";
    }
    if (this.abort !== abort || abort.signal.aborted) {
      // Somebody else decided what happens next, unless it was the watch over silence.
      if (abort.signal.reason !== "silent") return;
      this.problem = "The gateway fell silent.";
    }
    this.wait();
  }

  private wait(): void {
    if (!this.started) return;
    this.failures += 1;
    const delay = backoffMs(this.failures);
    this.retryAt = Date.now() + delay;
    this.state = "waiting";
    this.retryTimer = setTimeout(() => {
      this.resync();
      void this.connect();
    }, delay);
  }

  private async read(abort: AbortController): Promise<void> {
    let watch: ReturnType<typeof setTimeout> | undefined;
    const heard = () => {
      clearTimeout(watch);
      watch = setTimeout(() => abort.abort("silent"), SILENCE_MS);
    };
    try {
      heard();
      const response = await openStream(abort.signal);
      const reader = response.body?.getReader();
      if (!reader) return;
      const decoder = new TextDecoder();
      const parser = new SseParser();
      this.state = "live";
      this.problem = "";
      this.resync();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        heard();
        this.failures = 0;
        for (const event of parser.push(decoder.decode(value, { stream: true }))) this.take(event);
      }
    } finally {
      clearTimeout(watch);
    }
  }

  private take(event: ServerEvent): void {
    if (event.event === "reset") this.resync(); // Something was missed; the stream goes on.
    if (event.event !== "task" && event.event !== "executor") return;
    let data: unknown;
    try {
      data = JSON.parse(event.data);
    } catch {
      return; // Half an event is no hint; the next re-read brings the truth.
    }
    if (event.event === "task") this.tasks.push(data as TaskEvent);
    else this.executors.push(data as ExecutorEvent);
    if (this.flushing) return;
    this.flushing = true;
    // Hidden pages get no frames, but must not collect events without end.
    if (document.hidden) setTimeout(() => this.flush(), 250);
    else requestAnimationFrame(() => this.flush());
  }

  private flush(): void {
    this.flushing = false;
    const { tasks, executors } = this;
    this.tasks = [];
    this.executors = [];
    for (const listener of this.listeners) {
      if (tasks.length > 0) listener.onTasks?.(tasks);
      if (executors.length > 0) listener.onExecutors?.(executors);
    }
  }

  private resync(): void {
    for (const listener of this.listeners) listener.onResync?.();
  }
}

function openStream(signal: AbortSignal): Promise<Response> {
  // The stream itself has no deadline; the watch over silence stands in for it.
  return request(
    "/api/v2/events?topics=tasks,nodes",
    { signal, headers: { Accept: "text/event-stream" }, cache: "no-store" },
    null,
  );
}

export const live = new Live();
