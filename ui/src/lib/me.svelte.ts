/** Who the gateway takes this browser for. Nobody in particular where a cluster has no users. */
import { getMe } from "./api";
import { Loader } from "./loader.svelte";
import type { Role } from "./types";

/** From the least to the most; each may do what the ones before it may. */
export const ROLES: readonly Role[] = ["viewer", "submitter", "operator", "admin"];

export function includes(role: Role, needed: Role): boolean {
  return ROLES.indexOf(role) >= ROLES.indexOf(needed);
}

/** Roles that a token of someone may be given. */
export function upTo(role: Role): readonly Role[] {
  return ROLES.slice(0, ROLES.indexOf(role) + 1);
}

export const me = new Loader(getMe);
