/** What the gateway answers, as it comes over the wire. Times are RFC 3339 unless said otherwise. */

export type State =
  "queued" | "starting" | "compiling" | "running" | "succeeded" | "failed" | "cancelled" | "error";

export type StageName = "compile" | "execute";

export interface Limits {
  wall_ms: number;
  cpu_ms: number;
  memory_bytes: number;
  pids: number;
  output_bytes: number;
  file_bytes: number;
  cpus: number;
  disk_bytes: number;
  disk_files: number;
  on_output_limit: "stop" | "truncate";
}

/** `size` bytes were written, `kept` are stored, `text` is the beginning of them. */
export interface Stream {
  size: number;
  kept: number;
  text: string;
  /** Bytes that were not kept: after how many of the kept ones, and how many. */
  gap: { at: number; missing: number } | null;
  /** What was kept from behind the gap, unless it is too much to show. */
  tail: string | null;
  truncated: boolean;
}

export interface StageResult {
  reason: string;
  exit_code: number | null;
  signal: number | null;
  limit: number | null;
  observed: number | null;
  wall_ms: number;
  cpu_user_ms: number;
  cpu_system_ms: number;
  memory_peak_bytes: number;
  /** Null where nobody counts. */
  pids_peak: number | null;
  written_bytes: number | null;
  message: string | null;
  /** Of a compile stage: hit, miss or off. */
  cache: string | null;
  stdout: Stream;
  stderr: Stream;
}

export interface Stage {
  command: string;
  timeout_s: number;
  limits: Limits;
  /** What the task adds to the variables of this stage. */
  env: Record<string, string>;
  result: StageResult | null;
}

export interface StoredFile {
  size: number;
  sha256: string;
}

export interface TextInput {
  size: number;
  text: string;
}

export interface Task {
  id: string;
  user: number;
  state: State;
  reason: string | null;
  message: string | null;
  attempt: number;
  crashes: number;
  executor: string | null;
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
  updated_at: string;
  /** Why it waits; null if it does not, or if nobody can say. */
  pending: { code: string; detail: string } | null;
  /** The job it belongs to, and which one of its tasks it is; null for a task of its own. */
  job: Place | null;
  /** Null until the task is done, and if it never ran. */
  enforcement: Enforcement | null;
  stages: Record<StageName, Stage | null>;
  inputs: {
    compile_source: StoredFile | null;
    execute_data: StoredFile | null;
    execute_input: TextInput | null;
    execute_standard: TextInput | null;
  };
  name: string;
  labels: Record<string, string>;
  priority: number;
  /** Somebody holds it: it does not begin before it is released. */
  held: boolean;
  image: string;
  /** Missing from a gateway that knows of none. */
  network?: "none" | "loopback" | "full";
  /** What it takes up of its executor beside a slot. */
  resources: Record<string, number>;
  placement: Placement;
  cache: "auto" | "off";
  /** Null where nothing is expected. */
  check: { mode: string; absolute: number | null; relative: number | null } | null;
  stop_on_first_failure: boolean;
  /** What has to end before it begins: tasks and jobs. */
  depends_on: { id: string; on: string }[];
  /** Null if its first result is its last. */
  retry: Retry | null;
  /** Results that were not its last. */
  retries: number;
  max_crashes: number;
  queue_ttl_s: number | null;
  /** When it is removed at the earliest, if anything says that; unknown until it has ended. */
  removed_after?: string | null;
  /** How long after its end, as it says itself. */
  retention_s?: number | null;
  /** The task that it repeats; it may be gone. */
  rerun_of: string | null;
  artifacts_request: { collect: string[]; max_total: number; max_files: number } | null;
  /** Null until the task is done, and if it asked for none. */
  artifacts: ArtifactsSummary | null;
  /** Whether the output was right; null or missing where nothing was expected. */
  verdict?: string | null;
  score?: { got: number; of: number } | null;
  /** Of the only output of a task without cases. */
  first_difference?: Difference | null;
  cases?: Case[];
}

/** One try of a task: `running`, or how it ended, and what came of it if it had a result. */
export interface Attempt {
  attempt: number;
  end: string;
  executor: string | null;
  started_at: string | null;
  ended_at: string | null;
  reason: string | null;
  message: string | null;
  exit_code: number | null;
  signal: number | null;
  usage: { wall_ms: number; cpu_ms: number; memory_peak_bytes: number } | null;
}

export interface Attempts {
  attempts: Attempt[];
  /** Earlier ones that are counted only. */
  forgotten: number;
}

/** Which results of a task are followed by another try: those with a reason of `on`. */
export interface Retry {
  max_attempts: number;
  on: string[];
  backoff_s: number;
  backoff_max_s: number;
}

export interface Place {
  id: string;
  index: number;
}

/** A task in the lists of the second interface. */
export interface TaskRow {
  id: string;
  user: number;
  name: string;
  state: State;
  kv2_status: number;
  reason: string | null;
  executor: string | null;
  attempt: number;
  created_at: string;
  updated_at: string;
  finished_at: string | null;
  done: boolean;
  verdict: string | null;
  held: boolean;
  priority: number;
  job: Place | null;
}

/** What became of an act on many tasks; `failures` are the first few. */
export interface Acted {
  matched: number;
  cancelled: number;
  already_done: number;
  failed: number;
  failures: { id: string; detail: string }[];
}

/** `next_cursor` is null on the last page. */
export interface Cursored<Item> {
  items: Item[];
  next_cursor: string | null;
}

/** Who cancelled something, and why, as far as they said. */
export interface Cancellation {
  by: string;
  reason: string;
}

export interface TaskPage extends Cursored<TaskRow> {
  /** Null on the first page. */
  prev_cursor: string | null;
  /** How many match; null where that would have to be counted one by one. */
  total: number | null;
  total_is_exact: boolean;
}

/** In the order of a bar: what is over, what is under way, what is to come. */
export const MEMBER_STATES = [
  "succeeded",
  "failed",
  "error",
  "cancelled",
  "running",
  "queued",
] as const;

/** Those that an executor has are `running`. */
export type MemberState = (typeof MEMBER_STATES)[number];

/** Many tasks that were submitted as one. */
export interface Job {
  id: string;
  user: number;
  name: string;
  state: "queued" | "running" | "succeeded" | "failed" | "cancelled";
  done: boolean;
  size: number;
  counts: Record<MemberState, number>;
  /** An array's indexes as they were written; null for a list. */
  array: string | null;
  /** How many may be under way at a time. */
  limit: number | null;
  max_fails: number | null;
  stopped: "cancelled" | "max_fails" | null;
  /** Somebody holds it: no further tasks of it begin before it is released. */
  held: boolean;
  /** Null if it was not cancelled, or if nobody said anything. */
  cancellation?: Cancellation | null;
  /** The job whose tasks these are, once more. */
  retry_of: string | null;
  created_at: string;
  updated_at: string;
  finished_at: string | null;
}

/** The first place where an output is not as expected; null where that one was at its end. */
export interface Difference {
  line: number;
  expected: string | null;
  actual: string | null;
}

/** One input of a task; nulls until there is a result. */
export interface Case {
  number: number;
  name: string;
  weight: number;
  verdict: string | null;
  /** How the program ended; null if it was not run. */
  reason: string | null;
  wall_ms: number | null;
  memory_peak_bytes: number | null;
  message: string | null;
  first_difference: Difference | null;
}

/** The beginnings of a case's texts. */
export interface CaseDetail {
  case: Case;
  stdin: TextInput;
  /** Null where nothing is expected. */
  expected: TextInput | null;
  stdout: TextInput;
  stderr: TextInput;
}

/** Why a task does not run yet, or why it ended as it did. */
export interface Explanation {
  state: State;
  summary: string;
  /** What keeps executors from it; `nodes` are the first few of `count`. */
  blocking: { code: string; detail: string; nodes: string[]; count: number }[];
  /** Its place among all that wait, from 1; null where nobody can say. */
  position: number | null;
  /** False: it is further behind, which nobody counted. Missing from an older gateway. */
  position_is_exact?: boolean;
  /** In half of such cases it starts by the first, in nine tenths by the second. */
  estimated_start?: { p50_s: number; p90_s: number } | null;
  /** Any of these would let it run. */
  would_run_if: string[];
}

/** Files that were asked for and are not kept; `names` are the first few. */
export interface LeftOut {
  reason: string;
  count: number;
  names: string[];
}

export interface ArtifactsSummary {
  files: number;
  size: number;
  left_out: LeftOut[];
}

export interface Artifact {
  name: string;
  href: string;
  size: number;
  sha256: string;
  executable: boolean;
  modified_at: string;
}

export interface ArtifactList {
  files: Artifact[];
  size: number;
  left_out: LeftOut[];
}

/** KV2's full task, asked for untruncated; the exact text that was submitted. */
export interface Submitted {
  user: number;
  compile: { command: string; source: boolean; timeout: number };
  execute: {
    command: string;
    data: boolean;
    input: string;
    standard: string;
    timeout: number;
  };
}

/** What holds on an executor's host. */
export interface Enforcement {
  mode: string;
  root: boolean;
  unenforced: string[];
}

/** Of an executor's compile cache, since it started. */
export interface CacheCounts {
  hits: number;
  misses: number;
  stored: number;
  evicted: number;
  entries: number;
  size_bytes: number;
  max_bytes: number;
}

export interface ExecutorNode {
  name: string;
  state: "online" | "lost" | "draining";
  slots: number;
  free: number;
  seen_at: string;
  version: string;
  /** Null of an executor that is too old to say. */
  enforcement: Enforcement | null;
  /** Null while nobody knows. */
  cache: CacheCounts | null;
  /** Root file systems that tasks may name. */
  images: ImageInfo[];
  /** Set while an operator lets it have no new tasks; with a deadline it is to be empty by then. */
  cordon: { reason: string; since: string; deadline: string | null } | null;
}

export interface ImageInfo {
  name: string;
  /** Equal on two executors: the same contents. */
  identity: string;
  size_bytes: number;
}

export interface JudicatorNode {
  name: string;
  address: string;
  leader: boolean;
  serving: boolean;
  version: string;
}

export interface Nodes {
  executors: ExecutorNode[];
  judicators: JudicatorNode[];
}

/** What one check of the doctor found on a node's host. */
export interface Finding {
  check: string;
  level: "good" | "warning" | "missing";
  found: string;
  /** The command or the advice that repairs it. */
  repair: string | null;
}

/** A running role's last look at its own host. */
export interface Examination {
  role: string;
  at: string;
  /** Nothing is missing that the role needs. */
  able: boolean;
  findings: Finding[];
}

/** What task documents may begin with. */
export interface Preset {
  name: string;
  description: string;
  /** A part of a task document. */
  task: Record<string, unknown>;
  updated_at: string;
}

/** What a user may have, and has; nulls where the operator has set no limit. */
export interface Quota {
  user: number;
  queued: { limit: number | null; used: number | null };
  running: { limit: number | null; used: number | null };
  /** Since midnight, UTC. */
  cpu_s: { limit: number | null; used: number | null };
  stored_bytes: { limit: number | null; used: number | null };
}

/** Labels of executors. */
export type Placement = Record<"require" | "avoid" | "prefer", Record<string, string>>;

/** What waits, in the order in which it is taken. */
export interface Queue {
  /** What an executor could have now. */
  queued: number;
  /** What waits for more than an executor. */
  held: number;
  oldest_queued_s: number | null;
  items: QueueItem[];
  /** Those with the most first. */
  users: QueueUser[];
  /** There are tasks behind the last of `items`, or may be. */
  more: boolean;
  /** False: there are more, which nobody counted. */
  queued_is_exact: boolean;
  held_is_exact: boolean;
  users_are_exact: boolean;
}

export interface QueueItem {
  position: number;
  id: string;
  name: string;
  user: number;
  priority: number;
  job: Place | null;
  created_at: string;
  waited_s: number;
  /** What it takes up of an executor beside a slot. */
  needs: Record<string, number>;
  image: string;
  placement: Placement;
}

export interface QueueUser {
  user: number;
  queued: number;
  held: number;
  running: number;
}

/** What ended in a time, and how. */
export interface Stats {
  from: string;
  to: string;
  step_s: number;
  /** Also those in which nothing ended. */
  buckets: StatsBucket[];
  /** What ended before it is counted; of what came later some may be missing. */
  complete_to: string;
}

/** Nulls where nothing is known, because nothing ended. */
export interface Quantiles {
  p50: number | null;
  p95: number | null;
}

export interface StatsBucket {
  /** Its beginning. */
  at: string;
  ended: Record<"succeeded" | "failed" | "cancelled" | "error", number>;
  verdicts: Record<string, number>;
  wait_s: Quantiles;
  run_s: Quantiles;
  cpu_s: number;
  retries: number;
  /** Executors that were lost with a task. */
  losses: number;
}

export interface ClusterStatus {
  version: string;
  ready: boolean;
  queued: number;
  running: number;
  slots: number;
  free: number;
  notes: string[];
}

/** The files a task offers for download, by KV2's names. */
export type FileName =
  | "compile_source"
  | "execute_data"
  | "compile_command"
  | "execute_command"
  | "execute_input"
  | "execute_standard"
  | "compile_output"
  | "compile_error"
  | "execute_output"
  | "execute_error";

/** From the least to the most. */
export type Role = "viewer" | "submitter" | "operator" | "admin";

/** Who a request was made by. */
export interface Me {
  /** Null: nobody by name, but whom the gateway's own token or an open gateway vouches for. */
  name: string | null;
  number: number | null;
  role: Role;
  known_by: "token" | "session" | "token_file" | "open";
  expires_at: string | null;
  /** Whoever shows no token is refused. */
  has_users: boolean;
}

/** A personal token, without its secret. */
export interface AccessToken {
  id: string;
  user: string;
  name: string;
  role: Role;
  created_at: string;
  expires_at: string;
  used_at: string | null;
}

/** A new one; the secret is in this answer alone. */
export interface CreatedToken {
  id: string;
  secret: string;
  name: string;
  role: Role;
  expires_at: string;
}

/** A person or a program. */
export interface User {
  name: string;
  /** `user` of its tasks. */
  number: number;
  role: Role;
  created_at: string;
  disabled: boolean;
}

/** An entry of the audit log. */
export interface AuditItem {
  id: string;
  at: string;
  act: string;
  target: string;
  detail: string;
  user: string | null;
  known_by: Me["known_by"] | "host";
  address: string;
  via: string;
  /** Null: nobody said how it ended. */
  status: number | null;
}
