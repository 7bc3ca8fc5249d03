/** Words for what was not kept of a task's files, and for what the compile cache did. */
import { plural, visibleText } from "./format";
import type { CacheCounts, LeftOut } from "./types";

const WHY: Record<string, string> = {
  too_many: "more files than are kept",
  too_large: "more bytes than are kept",
  not_a_file: "not a plain file",
  too_deep: "too many folders down",
  unreadable: "could not be read",
  not_reached: "time ran out before the rest was looked at",
};

/** `12 left out, more bytes than are kept: a.bin, b.bin and 10 more` */
export function leftOut(omission: LeftOut): string {
  const why = WHY[omission.reason] ?? omission.reason;
  if (omission.names.length === 0) return `${omission.count} left out, ${why}`;
  const more = omission.count - omission.names.length;
  const names = omission.names.map(visibleText).join(", ") + (more > 0 ? ` and ${more} more` : "");
  return `${omission.count} left out, ${why}: ${names}`;
}

/** What a person wants to know of a stage's `cache`; empty where there is nothing to say. */
export function cacheWord(use: string | null): string {
  if (use === "hit") return "from the cache";
  return use === "off" ? "cache off" : "";
}

/** `75 %`, or why there is no such number. */
export function hitRate(counts: CacheCounts | null): string {
  if (!counts) return "unknown";
  if (counts.max_bytes === 0) return "off";
  const asked = counts.hits + counts.misses;
  return asked === 0 ? "not used yet" : `${Math.round((100 * counts.hits) / asked)} %`;
}

export function cacheDetail(counts: CacheCounts): string {
  const asked = counts.hits + counts.misses;
  const held = plural(counts.entries, "entry", "entries");
  return `${counts.hits} of ${plural(asked, "compilation")} since its start; ${held}`;
}
