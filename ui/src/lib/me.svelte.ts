/** Who the gateway takes this browser for. Nobody in particular where a cluster has no users. */
import { getMe } from "./api";
import { Loader } from "./loader.svelte";
import { refusal, ROLES, type Act } from "./may";
import type { CreatedToken, Role, User } from "./types";

/** Roles that a token of someone may be given. */
export function upTo(role: Role): readonly Role[] {
  return ROLES.slice(0, ROLES.indexOf(role) + 1);
}

export const me = new Loader(getMe);

/** Why this browser's visitor may not do that; empty if nothing is known against it. */
export function barred(act: Act, user: number | null = null): string {
  return refusal(me.data, act, user);
}

/**
 * A user that was just made, with a token that cannot be shown again. It outlives the page: the first
 * user of a cluster closes it, and this browser may be asked to sign in before the token was read.
 */
class Made {
  user = $state.raw<{ user: User; token: CreatedToken | null } | null>(null);
}

export const made = new Made();
