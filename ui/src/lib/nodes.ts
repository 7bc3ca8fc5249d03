/**
 * What operators do with executors: no new work, be empty by then, work again, be forgotten; and
 * what they read of a node's host.
 */

import { getJson, request, sendJson } from "./api";
import { plural } from "./format";
import type { Act } from "./may";
import type { Examination, ExecutorNode, Finding } from "./types";

export type NodeAct = "cordon" | "uncordon" | "drain" | "forget";

/** What one may do of each, by the gateway's name for it. */
export const NODE_ACTS: Record<NodeAct, { word: string; act: Act; title: string }> = {
  cordon: { word: "Cordon", act: "cordon_node", title: "No new tasks; what it runs goes on" },
  uncordon: { word: "Uncordon", act: "uncordon_node", title: "Let it have tasks again" },
  drain: { word: "Drain", act: "drain_node", title: "No new tasks, and empty by a deadline" },
  forget: { word: "Forget", act: "forget_node", title: "Not list it any more" },
};

/** Those that make sense of an executor as it is. */
export function actsOn(node: Pick<ExecutorNode, "state" | "cordon">): NodeAct[] {
  const lost = node.state === "lost";
  if (node.cordon) return lost ? ["uncordon", "forget"] : ["uncordon", "drain"];
  return lost ? ["forget"] : ["cordon", "drain"];
}

function nodePath(name: string): string {
  return `/api/v2/nodes/${encodeURIComponent(name)}`;
}

export async function cordonNode(name: string, reason: string): Promise<void> {
  await sendJson("POST", `${nodePath(name)}/cordon`, { reason });
}

/** `deadline` is a duration from now, as "15m". */
export async function drainNode(name: string, deadline: string, reason: string): Promise<void> {
  await sendJson("POST", `${nodePath(name)}/drain`, { deadline, reason });
}

export async function uncordonNode(name: string): Promise<void> {
  await request(`${nodePath(name)}/cordon`, { method: "DELETE" });
}

/** Refused with `not_possible` if it is not lost. */
export async function forgetNode(name: string): Promise<void> {
  await request(nodePath(name), { method: "DELETE" });
}

/** The last look of each role of that name; none while it has not looked. */
export async function examineNode(name: string, signal?: AbortSignal): Promise<Examination[]> {
  return (await getJson<{ items: Examination[] }>(`${nodePath(name)}/doctor`, signal)).items;
}

/** From the worst to the best; a level that these pages do not know is not good either. */
const LEVELS = ["missing", "warning", "good"];

/** What is not good comes first; among equals the doctor's order stays. */
export function worstFirst(findings: readonly Finding[]): Finding[] {
  const rank = (finding: Finding) =>
    LEVELS.includes(finding.level) ? LEVELS.indexOf(finding.level) : 0;
  return findings.toSorted((one, other) => rank(one) - rank(other));
}

/** What came of a look in a line: "Not able to work: 1 missing, 2 warnings". */
export function examined({ able, findings }: Examination): string {
  const count = (level: Finding["level"]) => findings.filter((each) => each.level === level).length;
  const [lacks, warnings] = [count("missing"), count("warning")];
  const counted = [
    ...(lacks > 0 ? [`${lacks} missing`] : []),
    ...(warnings > 0 ? [plural(warnings, "warning")] : []),
  ].join(", ");
  return `${able ? "Able" : "Not able"} to work: ${counted || "nothing is wrong"}`;
}
