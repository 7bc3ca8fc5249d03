/**
 * The output of a running task, for the page that shows it.
 *
 * A program that writes without end must not cost a page without end: what arrives is shown a few
 * times a second, however many records it comes in. Like the event stream, a hidden tab gives its
 * connection back after a while, and begins with the newest text again when it is looked at.
 */

import { ApiError, logUrl, request } from "./api";
import { backoffMs } from "./backoff";
import { follow } from "./follow";
import { TaskLog, type LogViews } from "./log";

export type FollowState = "connecting" | "live" | "waiting" | "paused" | "over" | "failed";

const SHOW_EVERY_MS = 150;
const HIDDEN_GRACE_MS = 30_000;

export class Follower {
  state = $state<FollowState>("connecting");
  /** Null before the first record. */
  views = $state.raw<LogViews | null>(null);

  private readonly task: string;
  private log = new TaskLog();
  private abort: AbortController | null = null;
  private showTimer: ReturnType<typeof setTimeout> | undefined;
  private hideTimer: ReturnType<typeof setTimeout> | undefined;
  private readonly onVisibility = () => this.watchTab();

  constructor(task: string) {
    this.task = task;
  }

  start(): void {
    document.addEventListener("visibilitychange", this.onVisibility);
    void this.read();
  }

  stop(): void {
    document.removeEventListener("visibilitychange", this.onVisibility);
    clearTimeout(this.showTimer);
    clearTimeout(this.hideTimer);
    this.abort?.abort();
  }

  private async read(): Promise<void> {
    const abort = new AbortController();
    this.abort = abort;
    this.state = "connecting";
    try {
      await follow(
        {
          open: (query, signal) =>
            request(
              logUrl(this.task, query),
              { signal, headers: { Accept: "text/event-stream" }, cache: "no-store" },
              null,
            ),
          pause: (failures, retryAfterS) => pause(backoffMs(failures, retryAfterS), abort.signal),
        },
        this.log,
        {
          onRecords: () => this.showSoon(),
          onConnection: (up) => (this.state = up ? "live" : "waiting"),
        },
        abort.signal,
      );
      if (!abort.signal.aborted) this.state = "over";
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.state = "failed";
    }
  }

  private showSoon(): void {
    this.showTimer ??= setTimeout(() => {
      this.showTimer = undefined;
      this.views = this.log.views();
    }, SHOW_EVERY_MS);
  }

  private watchTab(): void {
    clearTimeout(this.hideTimer);
    if (document.hidden) {
      this.hideTimer = setTimeout(() => {
        if (this.state === "over" || this.state === "failed") return;
        this.abort?.abort();
        this.state = "paused";
      }, HIDDEN_GRACE_MS);
    } else if (this.state === "paused") {
      void this.read();
    }
  }
}

/** Ends early when nobody waits any more. */
function pause(delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, delayMs);
    signal.addEventListener("abort", done);
  });
}
