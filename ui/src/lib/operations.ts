/**
 * What operators do with the cluster as a whole: remove what is not to be kept, let another
 * judicator lead, take backups, let hosts join. Requests, and sentences about their answers.
 */

import { bodyOf, getJson, request, sendJson } from "./api";
import type { Badge } from "./describe";
import { bytes, duration, plural } from "./format";

/** What is kept of tasks that have ended; nulls where nothing bounds it. */
export interface Kept {
  age_s: number | null;
  count: number | null;
  size_bytes: number | null;
}

/** What went, or would go. */
export interface Collected {
  dry_run: boolean;
  kept: Kept;
  tasks: number;
  jobs: number;
  size_bytes: number;
  /** When the first and the last of them ended. */
  oldest: string | null;
  newest: string | null;
  /** Older ones that stay. */
  needed: number;
  /** Not all was looked at. */
  more: boolean;
}

export interface Backup {
  id: string;
  /** On whose disk it is. */
  judicator: string;
  state: "running" | "done" | "failed";
  created_at: string;
  finished_at: string | null;
  size_bytes: number;
  tasks: number;
  blobs: number;
  /** When it was last restored and counted; null if that failed. */
  verified_at: string | null;
  verifying: boolean;
  error: string | null;
}

export interface Backups {
  items: Backup[];
  /** Judicators that could not be asked. */
  unreachable: string[];
}

/** What hosts join with, without its secret. */
export interface JoinToken {
  id: string;
  role: string;
  created_at: string;
  expires_at: string;
  uses: number;
  uses_left: number;
}

/** Removing takes as long as the gateway looks, and what it asked answers. */
export async function collect(dryRun: boolean): Promise<Collected> {
  return bodyOf<Collected>(await sendJson("POST", "/api/v2/gc", { dry_run: dryRun }));
}

/** Null: any judicator but the one that leads. */
export async function transferLeadership(
  to: string | null,
): Promise<{ leader: string; before: string }> {
  return bodyOf(await sendJson("POST", "/api/v2/cluster/transfer-leadership", { to }));
}

const BACKUPS = "/api/v2/backups";

export function listBackups(signal?: AbortSignal): Promise<Backups> {
  return getJson<Backups>(BACKUPS, signal);
}

/** Null: a judicator that does not lead, if there is one. */
export async function createBackup(judicator: string | null): Promise<Backup> {
  return bodyOf<Backup>(await sendJson("POST", BACKUPS, { judicator }));
}

function backupPath(id: string): string {
  return `${BACKUPS}/${encodeURIComponent(id)}`;
}

export async function verifyBackup(id: string): Promise<void> {
  await request(`${backupPath(id)}/verify`, { method: "POST" });
}

export async function removeBackup(id: string): Promise<void> {
  await request(backupPath(id), { method: "DELETE" });
}

export function archiveUrl(id: string): string {
  return `${backupPath(id)}/archive`;
}

const JOIN_TOKENS = "/api/v2/cluster/join-tokens";

/** Those that are still good, the latest last. */
export async function listJoinTokens(signal?: AbortSignal): Promise<JoinToken[]> {
  return (await getJson<{ items: JoinToken[] }>(JOIN_TOKENS, signal)).items;
}

export async function createJoinToken(said: {
  role: string;
  expires_in: string;
  uses: number;
}): Promise<{ token: string; record: JoinToken }> {
  return bodyOf(await sendJson("POST", JOIN_TOKENS, said));
}

export async function revokeJoinToken(id: string): Promise<void> {
  await request(`${JOIN_TOKENS}/${encodeURIComponent(id)}`, { method: "DELETE" });
}

// ---- sentences ---------------------------------------------------------------------------------

/** What the settings keep of tasks that have ended. */
export function keptText(kept: Kept): string {
  const parts = [
    kept.age_s === null ? "" : `what ended within ${duration(kept.age_s * 1000)}`,
    kept.count === null ? "" : `the newest ${kept.count.toLocaleString("en")}`,
    kept.size_bytes === null ? "" : `what fits into ${bytes(kept.size_bytes)}`,
  ].filter(Boolean);
  return `Kept of tasks that have ended: ${parts.join(", and of that ") || "everything"}, but for those that say themselves how long they stay.`;
}

/** What went, or would go, with its number and size. */
export function goneText(found: Collected): string {
  const would = found.dry_run ? "would go" : "went";
  if (found.tasks === 0) return found.more ? "Nothing yet; there is more." : `Nothing ${would}.`;
  const least = found.more ? "At least " : "";
  const jobs = found.jobs > 0 ? `, ${plural(found.jobs, "whole job")} among them` : "";
  return `${least}${plural(found.tasks, "task")} ${would}, ${bytes(found.size_bytes)}${jobs}.`;
}

/** How a backup stands. */
export function backupBadge(backup: Backup): Badge {
  if (backup.state === "running") return { look: "starting", word: "Being taken", tone: "busy" };
  if (backup.verifying) return { look: "starting", word: "Being verified", tone: "busy" };
  if (backup.state === "failed") return { look: "failed", word: "Failed", tone: "bad" };
  return backup.verified_at === null
    ? { look: "error", word: "Not verified", tone: "warn" }
    : { look: "succeeded", word: "Verified", tone: "good" };
}

/** Something is being done with one of them. */
export function isUnderWay({ items }: Backups): boolean {
  return items.some((each) => each.state === "running" || each.verifying);
}
