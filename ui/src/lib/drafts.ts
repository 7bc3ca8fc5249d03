/**
 * Unsent forms, kept in this browser so that a closed tab loses nothing. There are two slots: the
 * plain form, and the latest rerun (of one task). Archives cannot be kept; the form says so.
 */
import type { Draft } from "./submission";

export interface Kept {
  /** The task a rerun started from; null in the plain slot. */
  from: string | null;
  savedAt: number;
  draft: Draft;
}

/** Browsers give a page about 5 MB; a draft must not push everything else out. */
const CHARS_MAX = 1_000_000;

function key(from: string | null): string {
  return from === null ? "khala.draft" : "khala.draft.rerun";
}

export function loadDraft(from: string | null): Kept | null {
  try {
    const text = localStorage.getItem(key(from));
    if (text === null) return null;
    const kept = JSON.parse(text) as Kept;
    return kept.from === from && typeof kept.draft.fields.user === "string" ? kept : null;
  } catch {
    return null;
  }
}

/** False when it could not be kept: too large, or storage is off or full. */
export function saveDraft(from: string | null, draft: Draft, now: number): boolean {
  try {
    const text = JSON.stringify({ from, savedAt: now, draft } satisfies Kept);
    if (text.length > CHARS_MAX) return false;
    localStorage.setItem(key(from), text);
    return true;
  } catch {
    return false;
  }
}

export function dropDraft(from: string | null): void {
  try {
    localStorage.removeItem(key(from));
  } catch {
    // Nothing was kept then.
  }
}
