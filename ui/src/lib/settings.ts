/** The cluster's settings that can be set while it runs: quotas, and what is kept. */

import { NotAllDone } from "./acts";
import { ApiError, bodyOf, getJson, request } from "./api";
import type { Keeping, SetKeeping } from "./keeping";
import type { Quotas } from "./quotas";

/** What one judicator's host was told to keep, and what it goes by. */
export interface Judicator extends Keeping {
  name: string;
  /** The quotas that it goes by, where null is no bound; null of one that is too old. */
  in_force: Quotas | null;
  /** What it keeps; null of one that is too old. */
  keeping: Keeping | null;
}

/** Of what is set, 0 is no bound, and null says nothing. */
export interface Settings {
  /** Null where no judicator says it. The revision is that of all that is set. */
  quotas: Quotas | null;
  /** Null where no judicator says it. */
  keeping: SetKeeping | null;
  judicators: Judicator[];
}

const CONFIG = "/api/v2/cluster/config";

export function getSettings(signal?: AbortSignal): Promise<Settings> {
  return getJson<Settings>(CONFIG, signal);
}

/** A merge patch. Refused if somebody has changed what is set since `revision`. */
export async function patchSettings(patch: object, revision: number): Promise<Settings> {
  try {
    const response = await request(CONFIG, {
      method: "PATCH",
      headers: { "Content-Type": "application/merge-patch+json", "If-Match": `"${revision}"` },
      body: JSON.stringify(patch),
    });
    return await bodyOf<Settings>(response);
  } catch (error) {
    if (error instanceof ApiError && error.code === "precondition_failed")
      throw new NotAllDone("Somebody else has changed what is set; nothing was saved. Look again.");
    throw error;
  }
}

/** Judicators that do not go by what is set yet. */
export function behind(settings: Settings): string[] {
  const revision = settings.quotas?.revision ?? 0;
  return settings.judicators
    .filter((each) => (each.in_force?.revision ?? -1) < revision)
    .map((each) => each.name);
}
