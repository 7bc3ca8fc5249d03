/**
 * Everything the pages ask of the gateway, in one place: addresses, answers and failures.
 *
 * Two contracts meet here. `/api/*` is KV2's (HTTP 200 with a `result` code), `/api/v2/*` answers
 * with statuses and problem documents. Both become the same `ApiError`, so that a page never has
 * to know which of the two it talked to. Every request has a deadline: a page that waits for ever
 * cannot say what is wrong.
 */

import type {
  AccessToken,
  Acted,
  ArtifactList,
  Attempts,
  AuditItem,
  CaseDetail,
  ClusterStatus,
  CreatedToken,
  Cursored,
  Explanation,
  FileName,
  Job,
  Limits,
  Me,
  MemberState,
  Nodes,
  Preset,
  Queue,
  Quota,
  Role,
  StageName,
  State,
  Stats,
  Submitted,
  Task,
  TaskPage,
  TaskRow,
  User,
} from "./types";

/** One fault of a document that was sent: where, and what is wrong there. */
export interface Issue {
  pointer: string;
  detail: string;
  limit?: unknown;
  given?: unknown;
}

export class ApiError extends Error {
  /** HTTP status; 0 when no answer came. */
  readonly status: number;
  readonly code: string;
  readonly title: string;
  readonly retryAfterS: number | null;
  readonly issues: Issue[];

  constructor(
    status: number,
    code: string,
    title: string,
    detail: string,
    retryAfterS: number | null = null,
    issues: Issue[] = [],
  ) {
    super(detail);
    this.status = status;
    this.code = code;
    this.title = title;
    this.retryAfterS = retryAfterS;
    this.issues = issues;
  }

  /** The same request may well work later. */
  get temporary(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

const DEADLINE_MS = 20_000;
/** A submission carries many MiB, which a slow line needs minutes for. */
const UPLOAD_DEADLINE_MS = 300_000;

const TITLES: Record<number, string> = {
  400: "The request was refused",
  401: "A token is needed",
  403: "Not allowed",
  404: "Not found",
  409: "Not possible as things are",
  413: "Too large",
  422: "The request was refused",
  429: "Too many requests",
  500: "The gateway failed",
  502: "The gateway is not reachable",
  503: "The cluster cannot answer now",
  504: "The gateway did not answer in time",
};

let onUnauthenticated: () => void = () => {};

/** `hook` runs whenever an answer says that a token is needed. */
export function whenUnauthenticated(hook: () => void): void {
  onUnauthenticated = hook;
}

/** Details are written for logs as well: they start small and end without a full stop. */
export function sentence(text: string): string {
  const trimmed = text.trim();
  // A name of a field or flag keeps its spelling.
  const first = /^[\w-]+:/.test(trimmed)
    ? trimmed
    : trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?…]$/.test(first) ? first : `${first}.`;
}

/** An answer that is not a success, as an error that a person can read. */
export async function failure(response: Response): Promise<ApiError> {
  if (response.status === 401) onUnauthenticated();
  const retryAfter = Number(response.headers.get("Retry-After") ?? Number.NaN);
  let code = `http_${response.status}`;
  const title = TITLES[response.status] ?? `The gateway answered ${response.status}`;
  let detail =
    response.status === 503
      ? "No judicator can answer at present. Accepted tasks are kept."
      : sentence(
          response.headers.get("Khala-Detail") ?? "The gateway gave no further explanation.",
        );
  let issues: Issue[] = [];
  if ((response.headers.get("Content-Type") ?? "").includes("json")) {
    const body: unknown = await response.json().catch(() => null);
    if (body !== null && typeof body === "object") {
      const problem = body as Record<string, unknown>;
      if (typeof problem["code"] === "string") code = problem["code"];
      if (typeof problem["detail"] === "string" && problem["detail"])
        detail = sentence(problem["detail"]);
      if (Array.isArray(problem["errors"])) issues = problem["errors"] as Issue[];
    }
  }
  return new ApiError(
    response.status,
    code,
    title,
    detail,
    Number.isFinite(retryAfter) ? retryAfter : null,
    issues,
  );
}

/**
 * `fetch` whose failures are `ApiError`s; an abort by `init.signal` stays an abort. No deadline
 * (null) is for streams alone, which watch their own heartbeat.
 */
export async function request(
  path: string,
  init: RequestInit = {},
  deadlineMs: number | null = DEADLINE_MS,
): Promise<Response> {
  const signals = init.signal ? [init.signal] : [];
  if (deadlineMs !== null) signals.push(AbortSignal.timeout(deadlineMs));
  let response: Response;
  try {
    response = await fetch(path, {
      ...init,
      signal: AbortSignal.any(signals),
      credentials: "same-origin",
    });
  } catch (error) {
    throw init.signal?.aborted ? error : noAnswer(error);
  }
  if (!response.ok) throw await failure(response);
  return response;
}

function noAnswer(error: unknown): ApiError {
  if (error instanceof DOMException && error.name === "TimeoutError")
    return new ApiError(
      0,
      "deadline",
      "No answer in time",
      "The gateway took too long to answer. It may be busy, or the connection is slow.",
    );
  return new ApiError(
    0,
    "unreachable",
    "The gateway is not reachable",
    "No connection to the gateway. It may be restarting, or this computer is offline.",
  );
}

/** The body of an answer; a connection that breaks in the middle of it is no answer either. */
export async function bodyOf<T>(response: Response, signal?: AbortSignal): Promise<T> {
  try {
    return (await response.json()) as T;
  } catch (error) {
    throw signal?.aborted ? error : noAnswer(error);
  }
}

export async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  return bodyOf<T>(await request(path, signal ? { signal } : {}), signal);
}

/** A JSON document under way. */
export function sendJson(method: string, path: string, document: unknown): Promise<Response> {
  return request(path, {
    method,
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(document),
  });
}

/** KV2's `result` codes other than 0, as errors; `detail` is the gateway's own sentence. */
function kv2Failure(result: number, what: string, detail: string | null = null): ApiError {
  switch (result) {
    case 2:
      return new ApiError(404, "not_found", "Not found", `${what} does not exist.`);
    case 3:
      return new ApiError(
        413,
        "too_large",
        "Too large",
        detail ?? `${what} is larger than this gateway takes.`,
      );
    case 4:
      return new ApiError(
        400,
        "invalid_request",
        "The request was refused",
        detail ?? `The gateway calls ${what.toLowerCase()} invalid and does not say which part.`,
      );
    default:
      return new ApiError(500, "error", "The gateway failed", `${what} could not be processed.`);
  }
}

/** `parameters` are those of the address. */
export function listTasks(parameters: URLSearchParams, signal?: AbortSignal): Promise<TaskPage> {
  return getJson<TaskPage>(`/api/v2/tasks?${parameters}`, signal);
}

/** An answer, and the mark of what it was made of. */
export interface Tagged<T> {
  value: T;
  etag: string;
}

function taskPath(id: string): string {
  return `/api/v2/tasks/${encodeURIComponent(id)}`;
}

async function taggedOf<T>(response: Response, signal?: AbortSignal): Promise<Tagged<T>> {
  return { value: await bodyOf<T>(response, signal), etag: response.headers.get("ETag") ?? "" };
}

export async function getTask(id: string, signal?: AbortSignal): Promise<Tagged<Task>> {
  return taggedOf(await request(taskPath(id), signal ? { signal } : {}), signal);
}

/** A merge patch: null takes away. */
export interface TaskPatch {
  name?: string | null;
  labels?: Record<string, string | null>;
  priority?: number;
  /** As "7d"; null: as the cluster keeps any. */
  retention?: string | null;
  held?: boolean;
}

/**
 * All of it or nothing. With `etag` refused with `precondition_failed` if the task is another
 * since; priority and `held` with `not_waiting` if it does not wait.
 */
export async function patchTask(
  id: string,
  patch: TaskPatch,
  etag: string | null = null,
): Promise<Tagged<Task>> {
  const response = await request(taskPath(id), {
    method: "PATCH",
    headers: {
      "Content-Type": "application/merge-patch+json",
      ...(etag && { "If-Match": etag }),
    },
    body: JSON.stringify(patch),
  });
  return taggedOf(response);
}

function casePath(id: string, number: number): string {
  return `${taskPath(id)}/cases/${number}`;
}

export function getCase(id: string, number: number, signal?: AbortSignal): Promise<CaseDetail> {
  return getJson<CaseDetail>(casePath(id, number), signal);
}

export function caseOutputUrl(id: string, number: number, stream: "stdout" | "stderr"): string {
  return `${casePath(id, number)}/${stream}`;
}

export function getExplanation(id: string, signal?: AbortSignal): Promise<Explanation> {
  return getJson<Explanation>(`${taskPath(id)}/explain`, signal);
}

export function getAttempts(id: string, signal?: AbortSignal): Promise<Attempts> {
  return getJson<Attempts>(`${taskPath(id)}/attempts`, signal);
}

/** The same task once more, as a new one, whose id this is. `key` is as for a submission. */
export async function retryTask(id: string, key: string): Promise<string> {
  const response = await request(`${taskPath(id)}/retry`, {
    method: "POST",
    headers: { "Idempotency-Key": key },
  });
  return (await bodyOf<{ id: string }>(response)).id;
}

export async function getSubmitted(id: string, signal?: AbortSignal): Promise<Submitted> {
  const answer = await getJson<{ result: number; task: Submitted | null }>(
    `/api/task?id=${encodeURIComponent(id)}&no_truncate=1`,
    signal,
  );
  if (answer.result !== 0 || !answer.task) throw kv2Failure(answer.result, `Task ${id}`);
  return answer.task;
}

/** `key` names this submission, so that sending it twice cannot make two tasks. */
export async function submitTask(form: FormData, key: string): Promise<string> {
  const response = await request(
    "/api/task",
    { method: "POST", body: form, headers: { "Idempotency-Key": key } },
    UPLOAD_DEADLINE_MS,
  );
  const answer = await bodyOf<{ id: string | null; result: number }>(response);
  if (answer.result !== 0 || !answer.id) {
    throw kv2Failure(answer.result, "The task", response.headers.get("Khala-Detail"));
  }
  return answer.id;
}

/** As `submitTask`, for a task document in the part `spec` of the form. */
export async function createTask(form: FormData, key: string): Promise<string> {
  const response = await request(
    "/api/v2/tasks",
    { method: "POST", body: form, headers: { "Idempotency-Key": key } },
    UPLOAD_DEADLINE_MS,
  );
  return (await bodyOf<{ id: string }>(response)).id;
}

/** As `createTask`, for a job; its id. */
export async function createJob(job: Record<string, unknown>, key: string): Promise<string> {
  const response = await request(
    "/api/v2/jobs",
    {
      method: "POST",
      body: JSON.stringify(job),
      headers: { "Content-Type": "application/json", "Idempotency-Key": key },
    },
    UPLOAD_DEADLINE_MS,
  );
  return (await bodyOf<{ id: string }>(response)).id;
}

/** The limits of a task that asks for none but these time-outs. */
export async function getDefaultLimits(
  wall: Record<StageName, number>,
): Promise<Record<StageName, Limits>> {
  const stage = (name: StageName) => ({
    command: "true",
    limits: wall[name] > 0 ? { wall_s: wall[name] } : {},
  });
  const response = await sendJson("POST", "/api/v2/tasks?dry_run=true", {
    stages: { compile: stage("compile"), execute: stage("execute") },
  });
  const plan = await bodyOf<{ stages: Record<StageName, { limits: Limits }> }>(response);
  return { compile: plan.stages.compile.limits, execute: plan.stages.execute.limits };
}

/** What is said of a cancellation: why, in a line, and how long what runs has to end. */
function saidOf(reason: string, graceS: number) {
  return { ...(reason && { reason }), ...(graceS && { grace_s: graceS }) };
}

/** False when there was nothing left to cancel. */
async function cancelAt(path: string, reason: string, graceS: number): Promise<boolean> {
  try {
    await sendJson("POST", `${path}/cancel`, saidOf(reason, graceS));
    return true;
  } catch (error) {
    if (error instanceof ApiError && error.code === "already_done") return false;
    throw error;
  }
}

export function cancelTask(id: string, reason: string, graceS: number): Promise<boolean> {
  return cancelAt(taskPath(id), reason, graceS);
}

/** What an act on many tasks is for. */
export interface Matching {
  q?: string;
  state?: State[];
  id_prefix?: string;
  user?: number;
  created_after?: string;
  created_before?: string;
  label?: string[];
  name?: string;
  node?: string;
  held?: boolean;
}

/** Tasks that one act may be for; as the gateway's own bound. */
export const CANCEL_MAX = 10_000;

/** How many tasks of a filter have not ended; more than `CANCEL_MAX` are not counted to their end. */
export async function countOpen(matching: Matching, signal?: AbortSignal): Promise<number> {
  const parameters = new URLSearchParams({
    state: "queued,starting,compiling,running",
    limit: "500",
  });
  for (const [name, value] of Object.entries(matching)) parameters.set(name, `${value}`);
  let count = 0;
  for (;;) {
    const page = await listTasks(parameters, signal);
    count += page.items.length;
    if (page.next_cursor === null || count > CANCEL_MAX) return count;
    parameters.set("cursor", page.next_cursor);
  }
}

/** Refused with `count_differs` if they are not as many as expected. */
export async function cancelMatching(
  matching: Matching,
  count: number,
  reason: string,
  graceS: number,
): Promise<Acted> {
  const response = await request(
    "/api/v2/tasks/actions",
    {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({
        action: "cancel",
        filter: matching,
        expect_count: count,
        ...saidOf(reason, graceS),
      }),
    },
    UPLOAD_DEADLINE_MS,
  );
  return bodyOf<Acted>(response);
}

/** `cursor` is the `next_cursor` of the page before; empty for the first page. */
export function listJobs(
  query: { user: string; cursor: string; limit: number },
  signal?: AbortSignal,
): Promise<Cursored<Job>> {
  const parameters = new URLSearchParams({ limit: `${query.limit}` });
  if (query.user) parameters.set("user", query.user);
  if (query.cursor) parameters.set("cursor", query.cursor);
  return getJson<Cursored<Job>>(`/api/v2/jobs?${parameters}`, signal);
}

function jobPath(id: string): string {
  return `/api/v2/jobs/${encodeURIComponent(id)}`;
}

export function getJob(id: string, signal?: AbortSignal): Promise<Job> {
  return getJson<Job>(jobPath(id), signal);
}

export function listMembers(
  id: string,
  query: { state: MemberState | ""; cursor: string; limit: number },
  signal?: AbortSignal,
): Promise<Cursored<TaskRow>> {
  const parameters = new URLSearchParams({ limit: `${query.limit}` });
  if (query.state) parameters.set("state", query.state);
  if (query.cursor) parameters.set("cursor", query.cursor);
  return getJson<Cursored<TaskRow>>(`${jobPath(id)}/tasks?${parameters}`, signal);
}

export function cancelJob(id: string, reason: string, graceS: number): Promise<boolean> {
  return cancelAt(jobPath(id), reason, graceS);
}

/** What an executor has goes on. Refused with `already_done` if it has ended, or was stopped. */
export async function holdJob(id: string, held: boolean): Promise<Job> {
  const response = await request(jobPath(id), {
    method: "PATCH",
    headers: { "Content-Type": "application/merge-patch+json" },
    body: JSON.stringify({ held }),
  });
  return bodyOf<Job>(response);
}

/** Those tasks of an ended job that ended so, as a new job, whose id this is. */
export async function retryJob(id: string, only: MemberState[]): Promise<string> {
  const response = await sendJson("POST", `${jobPath(id)}/retry`, { only });
  return (await bodyOf<{ id: string }>(response)).id;
}

/** All of them, by name. */
export async function listPresets(signal?: AbortSignal): Promise<Preset[]> {
  return (await getJson<{ presets: Preset[] }>("/api/v2/presets", signal)).presets;
}

function presetPath(name: string): string {
  return `/api/v2/presets/${encodeURIComponent(name)}`;
}

export function getPreset(name: string, signal?: AbortSignal): Promise<Preset> {
  return getJson<Preset>(presetPath(name), signal);
}

/** Makes it, or replaces what it says. */
export async function putPreset(
  name: string,
  said: { description: string; task: unknown },
): Promise<void> {
  await sendJson("PUT", presetPath(name), said);
}

/** One that is gone already is removed. */
export async function removePreset(name: string): Promise<void> {
  try {
    await request(presetPath(name), { method: "DELETE" });
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 404)) throw error;
  }
}

export function getQuota(user: string, signal?: AbortSignal): Promise<Quota> {
  return getJson<Quota>(`/api/v2/quota?${new URLSearchParams({ user })}`, signal);
}

/** The head of what waits; `user` empty: of everybody. */
export function getQueue(
  query: { user: string; limit: number },
  signal?: AbortSignal,
): Promise<Queue> {
  const parameters = new URLSearchParams({ limit: `${query.limit}` });
  if (query.user) parameters.set("user", query.user);
  return getJson<Queue>(`/api/v2/queue?${parameters}`, signal);
}

/** `from` in ms since the epoch, up to now; `step` as the gateway names them. */
export function getStats(
  query: { from: number; step: string },
  signal?: AbortSignal,
): Promise<Stats> {
  const from = new Date(query.from).toISOString();
  return getJson<Stats>(`/api/v2/stats?${new URLSearchParams({ from, step: query.step })}`, signal);
}

export function getNodes(signal?: AbortSignal): Promise<Nodes> {
  return getJson<Nodes>("/api/v2/nodes", signal);
}

export function getStatus(signal?: AbortSignal): Promise<ClusterStatus> {
  return getJson<ClusterStatus>("/api/v2/status", signal);
}

export function fileUrl(id: string, file: FileName): string {
  return `/api/task?id=${encodeURIComponent(id)}&file=${file}`;
}

/** What a task writes, while it runs and afterwards. */
export function logUrl(id: string, query: URLSearchParams): string {
  return `${taskPath(id)}/logs?${query}`;
}

/** The beginning of what one attempt wrote to one stream. */
export async function getLogText(
  id: string,
  query: { attempt: number; stage: StageName; stream: "stdout" | "stderr"; limit: number },
  signal: AbortSignal,
): Promise<string> {
  const parameters = new URLSearchParams({
    attempt: `${query.attempt}`,
    stage: query.stage,
    stream: query.stream,
    limit: `${query.limit}`,
  });
  return (await request(logUrl(id, parameters), { signal })).text();
}

export function getArtifacts(id: string, signal?: AbortSignal): Promise<ArtifactList> {
  return getJson<ArtifactList>(`${taskPath(id)}/artifacts`, signal);
}

export function artifactsZip(id: string): string {
  return `${taskPath(id)}/artifacts.zip`;
}

export async function getFile(id: string, file: FileName): Promise<Uint8Array<ArrayBuffer>> {
  const response = await request(fileUrl(id, file), {}, UPLOAD_DEADLINE_MS);
  return new Uint8Array(await response.arrayBuffer());
}

/** Trades a token for a cookie that scripts cannot read. False when the token is wrong. */
export async function openSession(token: string): Promise<boolean> {
  try {
    await sendJson("POST", "/api/v2/session", { token });
    return true;
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return false;
    throw error;
  }
}

/** Forgets the cookie, here and at the cluster. */
export async function closeSession(): Promise<void> {
  await request("/api/v2/session", { method: "DELETE" });
}

export function getMe(signal?: AbortSignal): Promise<Me> {
  return getJson<Me>("/api/v2/me", signal);
}

/** One's own, the latest first. */
export async function listTokens(signal?: AbortSignal): Promise<AccessToken[]> {
  return (await getJson<{ items: AccessToken[] }>("/api/v2/tokens", signal)).items;
}

export async function createToken(said: {
  name: string;
  role: Role;
  expires_in: string;
}): Promise<CreatedToken> {
  return bodyOf<CreatedToken>(await sendJson("POST", "/api/v2/tokens", said));
}

/** One that is gone already is revoked. */
export async function revokeToken(id: string): Promise<void> {
  try {
    await request(`/api/v2/tokens/${encodeURIComponent(id)}`, { method: "DELETE" });
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 404)) throw error;
  }
}

/** All of them, by name; an administrator's. */
export async function listUsers(signal?: AbortSignal): Promise<User[]> {
  return (await getJson<{ items: User[] }>("/api/v2/users", signal)).items;
}

export async function createUser(said: {
  name: string;
  role: Role;
  token: { name: string; expires_in: string };
}): Promise<{ user: User; token: CreatedToken | null }> {
  return bodyOf<{ user: User; token: CreatedToken | null }>(
    await sendJson("POST", "/api/v2/users", said),
  );
}

export async function changeUser(
  name: string,
  change: { role?: Role; disabled?: boolean },
): Promise<void> {
  await sendJson("PATCH", `/api/v2/users/${encodeURIComponent(name)}`, change);
}

export async function deleteUser(name: string): Promise<void> {
  await request(`/api/v2/users/${encodeURIComponent(name)}`, { method: "DELETE" });
}

/** What was changed, the latest first; an administrator's. Empty texts: any. */
export function readAudit(
  query: { user: string; act: string; cursor: string },
  signal?: AbortSignal,
): Promise<{ items: AuditItem[]; next_cursor: string | null }> {
  const parameters = new URLSearchParams({ limit: "50" });
  for (const [name, value] of Object.entries(query)) if (value) parameters.set(name, value);
  return getJson<{ items: AuditItem[]; next_cursor: string | null }>(
    `/api/v2/audit?${parameters}`,
    signal,
  );
}
