import type { Enforcement } from "./types";

const gaps: Record<string, string> = {
  memory_total: "memory of all processes together",
  shared_memory: "shared memory",
  file_memory: "files in memory as memory",
  cpu_share: "the share of processors",
  cpu_total: "processor time of all processes together",
  limit_reasons: "telling a lack of memory or processes from an ordinary failure",
};

/** In few words: "root, cgroup v1". */
export function enforcementLabel(held: Enforcement | null): string {
  if (!held) return "unknown";
  const mode = held.mode === "degraded" ? "no cgroups" : held.mode.replaceAll("_", " ");
  return `${held.root ? "root" : "not root"}, ${mode}`;
}

/** What is not enforced, as one sentence; empty if everything is. */
export function enforcementGaps(held: Enforcement | null): string {
  if (!held || held.unenforced.length === 0) return "";
  return `Not enforced: ${held.unenforced.map((gap) => gaps[gap] ?? gap).join("; ")}.`;
}
