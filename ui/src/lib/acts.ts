/** Acts that people ask for, and what is said where they cannot be done. */

import { ApiError } from "./api";

/** An act was answered and is not done as it was asked for; the message is a sentence for people. */
export class NotAllDone extends Error {}

export function wordsOf(error: unknown): string {
  if (error instanceof ApiError) return `${error.title}. ${error.message}`;
  return error instanceof NotAllDone ? error.message : String(error);
}
