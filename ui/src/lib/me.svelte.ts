/** Who the gateway takes this browser for. Nobody in particular where a cluster has no users. */
import { getMe } from "./api";
import { Loader } from "./loader.svelte";
import type { CreatedToken, Role, User } from "./types";

/** From the least to the most; each may do what the ones before it may. */
export const ROLES: readonly Role[] = ["viewer", "submitter", "operator", "admin"];

/** Roles that a token of someone may be given. */
export function upTo(role: Role): readonly Role[] {
  return ROLES.slice(0, ROLES.indexOf(role) + 1);
}

export const me = new Loader(getMe);

/**
 * A user that was just made, with a token that cannot be shown again. It outlives the page: the first
 * user of a cluster closes it, and this browser may be asked to sign in before the token was read.
 */
class Made {
  user = $state.raw<{ user: User; token: CreatedToken | null } | null>(null);
}

export const made = new Made();
