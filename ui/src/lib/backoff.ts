/** How long to wait for a gateway that does not answer. */

const BACKOFF_MS = [1000, 2000, 4000, 8000, 15_000];

/** The wait after so many failures in a row (from 1); at least as long as the gateway asked for. */
export function backoffMs(failures: number, retryAfterS: number | null = null): number {
  const base = BACKOFF_MS[Math.min(failures, BACKOFF_MS.length) - 1] ?? 0;
  // A restarted gateway must not meet all its tabs in the same instant.
  return Math.max(base, (retryAfterS ?? 0) * 1000) * (0.75 + Math.random() * 0.5);
}
