import { ApiError } from "./api";

/**
 * One thing read from the gateway: its latest value, and what went wrong with the latest read.
 *
 * A failed read keeps the old value on screen; it is the error beside it that says how old. Calls
 * are coalesced: however many events arrive while a read is under way, one more read follows it,
 * because only a read that started after an event is sure to contain it.
 */
export class Loader<T> {
  data = $state.raw<T | null>(null);
  error = $state.raw<ApiError | null>(null);
  busy = $state(false);

  private abort: AbortController | null = null;
  private again = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly read: (signal: AbortSignal) => Promise<T>;

  constructor(read: (signal: AbortSignal) => Promise<T>) {
    this.read = read;
  }

  /** Reads now, or once more after the read that is under way. */
  load(): void {
    if (this.abort) this.again = true;
    else void this.run();
  }

  /** Reads within `delayMs`; calls in between are served by the same read. */
  loadWithin(delayMs: number): void {
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      this.load();
    }, delayMs);
  }

  /** Drops the read under way, whose question is out of date, and reads anew. */
  restart(): void {
    this.stop();
    void this.run();
  }

  stop(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.abort?.abort();
    this.abort = null;
    this.again = false;
  }

  private async run(): Promise<void> {
    const abort = new AbortController();
    this.abort = abort;
    this.busy = true;
    try {
      const data = await this.read(abort.signal);
      if (abort.signal.aborted) return;
      this.data = data;
      this.error = null;
    } catch (error) {
      if (abort.signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      this.error = error;
    } finally {
      if (this.abort === abort) {
        this.abort = null;
        this.busy = false;
      }
    }
    if (this.again) {
      this.again = false;
      this.load();
    }
  }
}
