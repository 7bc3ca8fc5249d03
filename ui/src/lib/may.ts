/**
 * What a role may not do, said before it is tried. `needs.json` has it by the names of the gateway's
 * operations: the least role, and whose that must be what it changes; a test of the gateway compares.
 * The gateway decides: where nobody knows who one is, everything is offered.
 */

import NEEDS from "./needs.json";
import type { Me, Role } from "./types";

export type Act = keyof typeof NEEDS;

/** From the least to the most; each may do what the ones before it may. */
export const ROLES: readonly Role[] = ["viewer", "submitter", "operator", "admin"];

/** Whose things alone this one's acts on filters are for; null: everybody's. */
export function onlyUser(me: Me | null): number | null {
  return me?.role === "submitter" ? me.number : null;
}

/** Why not, in a sentence; empty if nothing is known against it. `user` is whose it is. */
export function refusal(me: Me | null, act: Act, user: number | null = null): string {
  const [needed, owned] = NEEDS[act];
  if (me === null) return "";
  const rank = ROLES.indexOf(me.role);
  if (rank < ROLES.indexOf(needed as Role))
    return `This needs the role ${needed}; yours is ${me.role}.`;
  const rules = rank >= ROLES.indexOf("operator");
  if (owned === "nothing" || rules || user === null || me.number === null || me.number === user)
    return "";
  return `It is user ${user}'s; to change what is others' needs the role operator.`;
}
