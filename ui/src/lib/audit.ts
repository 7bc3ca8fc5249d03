/** Entries of the audit log in words. */
import type { AuditItem } from "./types";

/** How it ended, as far as anybody said. */
export function outcomeOf(status: number | null): { word: string; tone: "good" | "warn" | "bad" } {
  if (status === null) return { word: "nobody knows how it ended", tone: "warn" };
  if (status < 300) return { word: "done", tone: "good" };
  if (status === 403) return { word: "not allowed", tone: "bad" };
  return { word: `refused (${status})`, tone: "bad" };
}

/** By name, or what vouched for whoever has none. */
export function whoOf(item: AuditItem): string {
  if (item.user !== null) return item.user;
  switch (item.known_by) {
    case "token_file":
      return "the gateway's token";
    case "host":
      return `a command on ${item.via}`;
    default:
      return "anybody";
  }
}
