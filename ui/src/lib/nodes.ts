/** What operators do with executors: no new work, be empty by then, work again, be forgotten. */

import { request, sendJson } from "./api";
import type { Act } from "./may";
import type { ExecutorNode } from "./types";

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
