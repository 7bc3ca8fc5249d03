/** Whether an output was right, in words: two letters say nothing to who meets them first. */

import type { Badge } from "./describe";
import { plural } from "./format";
import type { Case, Task } from "./types";

const BADGES: Record<string, Badge> = {
  AC: { look: "succeeded", word: "Accepted", tone: "good" },
  SKIP: { look: "cancelled", word: "Skipped", tone: "calm" },
  PE: { look: "failed", word: "Wrong form", tone: "bad" },
  WA: { look: "failed", word: "Wrong answer", tone: "bad" },
  OLE: { look: "failed", word: "Output limit", tone: "bad" },
  TLE: { look: "failed", word: "Time limit", tone: "bad" },
  MLE: { look: "failed", word: "Memory limit", tone: "bad" },
  RE: { look: "failed", word: "Run-time error", tone: "bad" },
  CE: { look: "failed", word: "Compile error", tone: "bad" },
  IE: { look: "error", word: "Check failed", tone: "warn" },
};

export const VERDICTS = Object.keys(BADGES);

export function verdictBadge(verdict: string): Badge {
  return BADGES[verdict] ?? { look: "unknown", word: verdict, tone: "warn" };
}

/** `5 of 8 cases were accepted`, without a full stop; null where nothing is judged. */
export function acceptedText(task: Task): string | null {
  const cases = task.cases ?? [];
  if (cases.length === 0 || !cases.some((each) => each.verdict !== null)) return null;
  const accepted = cases.filter((each) => each.verdict === "AC").length;
  if (accepted === cases.length)
    return accepted === 1 ? "Its case was accepted" : `All ${accepted} cases were accepted`;
  return `${accepted} of ${plural(cases.length, "case")} ${accepted === 1 ? "was" : "were"} accepted`;
}

/** The verdicts that cases have, the best first as everywhere, and how many have each. */
export function verdictCounts(cases: Case[]): { verdict: string; count: number }[] {
  const counts = new Map<string, number>();
  for (const { verdict } of cases)
    if (verdict !== null) counts.set(verdict, (counts.get(verdict) ?? 0) + 1);
  const order = Object.keys(BADGES);
  const place = (verdict: string) =>
    order.includes(verdict) ? order.indexOf(verdict) : order.length;
  return [...counts]
    .map(([verdict, count]) => ({ verdict, count }))
    .sort((one, other) => place(one.verdict) - place(other.verdict));
}

/** The case to look at first: the one whose verdict the reader has to explain. */
export function firstWrong(cases: Case[]): Case | null {
  return (
    cases.find((each) => each.verdict !== null && !["AC", "SKIP"].includes(each.verdict)) ?? null
  );
}
