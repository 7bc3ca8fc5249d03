"""Every bound of the system that is not a setting, one constant each, with its reason; those of who
may ask are in `khala.model.access_limits`.

A queue, frame, batch or document without a bound is an outage waiting for its first large user.
What happens at a bound is stated beside it.
"""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

# --- documents -------------------------------------------------------------------------------
#: Payload parts (and, apart, outputs) stay inside the task document while their sum is below
#: this: one write less for small tasks, without status updates rewriting blobs.
INLINE_BYTES = 16 * KIB
#: One chunk document of a blob or an output; well below MongoDB's 16 MiB.
BLOB_CHUNK_BYTES = 4 * MIB
#: The same of an output, but for the last one. Parts of recorded bundles are found by it, so it
#: stays as it is.
OUTPUT_CHUNK_BYTES = 1 * MIB
#: A command is a script, not a payload; more is answered with `TooLarge`.
COMMAND_BYTES = 1 * MIB

# --- what a task may ask for -------------------------------------------------------------------
#: Entries of `sources`, and of `data`; a project of more files is an archive.
SOURCES = 256
#: Entries of the archive that is made of them: what the format can count.
ARCHIVE_ENTRIES = 65535
#: What a tar archive inflates to: it is taken apart in the gateway's memory.
TAR_BYTES = 64 * MIB
#: Variables of one stage, one name, and all of it: the kernel hands it to every program started.
ENVIRONMENT_VARIABLES = 256
ENVIRONMENT_NAME_CHARS = 128
ENVIRONMENT_BYTES = 32 * KIB
IMAGE_LABEL_CHARS = 64
#: Named beginnings of task documents: how many, and each of them, as JSON.
PRESETS = 200
PRESET_BYTES = 16 * KIB
PRESET_NAME_CHARS = 64
PRESET_TEXT_CHARS = 200
#: What the doctor says of a node.
EXAMINATION_BYTES = 64 * KIB
NAME_CHARS = 128
#: Labels of a task, or of an executor.
LABELS = 32
LABEL_KEY_CHARS = 63
LABEL_VALUE_CHARS = 128
#: Of what is searched for among tasks: characters, words; digits of a word that may begin an id,
#: fewer are hours of submissions.
SEARCH_CHARS = 200
SEARCH_WORDS = 8
ID_PREFIX_MIN = 6
#: Names of amounts of an executor, or of a task; the largest amount is what any JSON reader holds.
RESOURCES = 32
AMOUNT_MAX = 2**53
#: What is kept of the artifacts of a task that does not say how much.
ARTIFACT_DEFAULT_BYTES = 32 * MIB
#: Faults of one request that are listed; the rest shows when these are repaired.
ISSUES = 20

# --- jobs --------------------------------------------------------------------------------------
#: Tasks of one array; its ranges, as it is written; its largest index.
ARRAY_TASKS = 1_000_000
ARRAY_RANGES = 1000
ARRAY_INDEX = 2_147_483_647
#: Entries of an array: one, and all of them. They are held in memory while members are made.
ENTRY_BYTES = 8 * KIB
ENTRIES_BYTES = 16 * MIB
#: Tasks of one list, and of one batch.
LIST_TASKS = 1000
#: Members of one job that run again by one request; of more the job itself is submitted again.
RETRY_TASKS = 10_000
#: What is told of a job, and characters of a task's name within it.
JOB_NAME_CHARS = 128
#: Members that are open at a time where no limit is given; the others are made when these have
#: ended. Enough to keep slots busy, few enough to let later submissions have their turn.
JOB_WINDOW = 1000
#: Members made by one statement, and cancelled by one look.
JOB_PORTION = 500
#: Jobs looked at by one round; the next one goes on behind them.
JOB_ROUND = 64
JOB_INTERVAL_S = 0.2
#: A job that had no room is looked at again after this, if none of its members ended here.
JOB_PAUSE_S = 1.0

# --- files that tasks leave --------------------------------------------------------------------
#: Patterns of one task, and characters of one pattern.
ARTIFACT_GLOBS = 32
GLOB_CHARS = 256
#: Artifacts of one task; what is beyond is left out and counted. Their list travels in one frame
#: with the result and stands in the task document.
ARTIFACT_FILES = 1000
ARTIFACT_NAMES_BYTES = 64 * KIB
ARTIFACT_BYTES = 256 * MIB
#: Reading them out of the work directory holds a slot.
ARTIFACT_SECONDS = 30.0

# --- submissions -------------------------------------------------------------------------------
#: Of the key under which a repetition of a submission is the same one: a handle, not a payload.
KEY_CHARS = 128

# --- cases -------------------------------------------------------------------------------------
#: Of one task. Their names and what came of each travel in one frame: 700 bytes for each at most.
CASES = 256
CASE_NAME_CHARS = 64
CASE_WEIGHT_MAX = 1_000_000
#: How far a number may be from the expected one.
CHECK_TOLERANCE_MAX = 1e9
#: Kept of each output of a case, and of all of a task; beyond that nothing is kept, and said so.
CASE_OUTPUT_BYTES = 1 * MIB
CASE_OUTPUTS_BYTES = 256 * MIB
#: Shown of each text from their first difference on, and lines before it.
DIFF_TEXT_BYTES = 16 * KIB
DIFF_CONTEXT_LINES = 3
#: Of the texts at the first difference, and of what a checker says.
CASE_TEXT_BYTES = 80
CASE_NOTE_BYTES = 160
#: A pattern that outputs are held against, the output that it is tried on, and how long.
PATTERN_BYTES = 4 * KIB
PATTERN_OUTPUT_BYTES = 8 * MIB
PATTERN_SECONDS = 5.0

# --- compile cache -----------------------------------------------------------------------------
#: Entries of one executor, and bytes of one of them; what is larger is not kept.
CACHE_ENTRIES = 10_000
CACHE_ENTRY_BYTES = 256 * MIB
#: Of all names and link targets in one entry, which are held in memory: sixteen thousand files
#: deep below long folders are a quarter of a gigabyte of names alone.
CACHE_NAMES_BYTES = 8 * MIB

# --- group commit ----------------------------------------------------------------------------
#: Waiting transitions per lane; above it the caller gets `Unavailable` (503, Retry-After).
LANE_QUEUE_ITEMS = 4096
LANE_BATCH_ITEMS = 512
LANE_BATCH_BYTES = 4 * MIB
#: Flushes of one lane in flight: two hide the round trip, more only shrink the batches.
LANE_FLUSHES = 2
#: One database call, retries of the driver included.
STORE_TIMEOUT_S = 5.0
#: A queued transition is not tried again after this; long enough for most elections. Its caller
#: gets `Unavailable`, or `OutcomeUnknown` if a try may have taken effect.
COMMIT_DEADLINE_S = 10.0

# --- live output -----------------------------------------------------------------------------
#: A program that runs this long has its output stored while it runs; a shorter one stores it once,
#: with the result.
LIVE_AFTER_S = 0.1
#: How long what was written may wait for company.
LIVE_FLUSH_S = 0.05
#: One stored piece, and what an executor has under way at a time; the rest waits in its files.
LIVE_CHUNK_BYTES = 64 * KIB
LIVE_REQUEST_BYTES = 1 * MIB
#: Attempts whose live chunks a judicator remembers, to remove them when their result is recorded;
#: those it has forgotten are swept later.
LIVE_RUNS = 10_000
#: One read of a log; a recorded output answers with up to one of its own chunks.
LOG_READ_BYTES = 256 * KIB
#: Bytes of a log in one record: of an event stream, or one line of NDJSON.
LOG_RECORD_BYTES = 64 * KIB
#: How far back the last lines of a log are looked for.
LOG_TAIL_BYTES = 256 * KIB
#: Readers of one gateway that wait for more of a log; the next one is answered with 503.
LOG_FOLLOWERS = 512
#: A reader that takes nothing for so long is disconnected. Nothing is kept for it meanwhile, and
#: it goes on where it was when it comes back.
LOG_STALL_S = 60.0
#: A follower asks again this often if no news came: news are hints.
LOG_REREAD_S = 5.0

# --- executor protocol -----------------------------------------------------------------------
FRAME_BYTES = 256 * KIB
#: Messages waiting for one socket; above it the connection is closed (it reconnects and
#: reconciles, which is cheaper than a queue that never drains).
SEND_QUEUE_ITEMS = 4096
#: Results kept on an executor that no Judicator has taken yet; at the bound it takes no work.
SPOOL_ITEMS = 1024
#: Slots of one executor; more is a typing error.
SLOTS_MAX = 1024

#: Why an operator cordons an executor, in a line.
CORDON_REASON_CHARS = 200
#: Why a task or a job is cancelled, in a line, and by whom.
CANCEL_REASON_CHARS = 200
CANCEL_BY_CHARS = 64
#: From SIGTERM to the end of what a cancelled task runs.
CANCEL_GRACE_MAX_S = 300.0
#: From a drain to the moment at which what still runs there runs elsewhere.
DRAIN_MAX_S = 7 * 86_400.0
#: Images of one executor; each is mounted, probed and looked through at its start.
IMAGES_MAX = 64

# --- dispatch --------------------------------------------------------------------------------
#: Own submissions remembered in memory; the store's index finds the rest.
READY_ITEMS = 10_000
#: The same for each other shape, and the number of shapes that are remembered: many must not make
#: many times as much. What is beyond is found in the index, in turns.
SHAPE_READY_ITEMS = 1000
SHAPES = 128
#: Shapes are looked for in the index this often.
SHAPES_INTERVAL_S = 1.0
#: A task that has been passed over this long has an executor kept for it, and no longer than this.
KEEP_AFTER_S = 30.0
KEEP_S = 600.0
#: Tasks before one in its line that are counted for whoever only reads it.
AHEAD_MAX = 1000
#: A task submitted elsewhere is left to its own Judicator this long, so that they rarely race.
STRANGER_AGE_S = 0.25
#: But one that was submitted that much later than now: its Judicator's date is wrong, and may be
#: right again, or gone, long before the task would be old enough.
EARLY_S = 5.0
SCAN_INTERVAL_S = 0.25
#: Queued tasks read by one scan; more would be read again before they are leased.
SCAN_ITEMS = 1000
#: The same where what is read becomes this Judicator's own queue.
OWN_SCAN_ITEMS = 100
#: The next few tasks of all Judicators are read this often, though no slot is free.
PEEK_INTERVAL_S = 1.0
PEEK_ITEMS = 16
#: How often each judicator looks for held tasks whose date has come, and how many it reads at once.
DUE_INTERVAL_S = 0.5
DUE_ITEMS = 500
#: So often a person's change of a task is made again because another one was faster.
PATCH_TRIES = 8
#: Changes that a judicator knows to be its own when it is told of them.
PATCHES_KNOWN = 10_000
#: An executor that refused or lost a task is not given the same one again for this long.
REFUSAL_PAUSE_S = 5.0
#: Attempts lost in a row, without a result between them, after which an executor rests: a host
#: that breaks whatever it is given is always free, and would use up everybody's `CRASH_LIMIT`.
LOSSES_MAX = 3
REST_S = 30.0
#: Ended tasks kept in memory for those who waited for them, but for those with more artifacts
#: or cases: hundreds of them take ten times what the rest of a task may.
RECENT_TASKS = 512
RECENT_ARTIFACTS = 64
RECENT_CASES = 32
#: An executor whose attempts take no longer than this, from lease to result, is given as many
#: again as it has slots before they are free: the way to the Judicator and back would otherwise
#: leave its slots idle for as long as such an attempt runs.
SHORT_ATTEMPT_S = 0.25
#: An attempt that has waited this long for a slot is given back: the ones before it were not
#: short after all, and another executor may be free.
AHEAD_WAIT_S = 3.0
#: Attempts that ended with the loss of their executor; the last one ends the task in `error`. What
#: holds unless a task says otherwise, and the most that it can say: each may be a host's end.
CRASH_LIMIT = 3
CRASHES_MAX = 20
#: Tasks and jobs that a task may wait for.
PREDECESSORS = 64
#: What waits for others is looked at this often, so many at a time. Those that are waited for are
#: remembered up to a number, to look at once when they end.
DEPENDENCY_INTERVAL_S = 0.5
DEPENDENTS_PAGE = 500
AWAITED_TASKS = 100_000
#: Users whose quota holds tasks are looked at again this often, for what no event has told of:
#: another judicator's tasks, a midnight. So many tasks are let go by one step; so many users are
#: remembered, or have quotas that are set in the cluster. The indexes of quotas may take so long to
#: be made.
QUOTA_INTERVAL_S = 5.0
QUOTA_PORTION = 500
QUOTA_USERS = 1000
QUOTA_INDEXES_S = 3600.0
#: How often judicators look at what is set in the cluster.
SETTINGS_READ_S = 1.0
#: Limits of the time in the queue, and how often each judicator looks for tasks beyond theirs.
QUEUE_TTL_MIN_S = 1.0
QUEUE_TTL_MAX_S = 30 * 86_400.0
EXPIRY_INTERVAL_S = 1.0
#: How long after its end a task may say that it is removed: ten years at the most.
RETENTION_MIN_S = 60
RETENTION_MAX_S = 3650 * 86_400
#: The longest life of entries of the audit log, and the most backups that a judicator keeps.
AUDIT_DAYS_MAX = 36_500
BACKUPS_MAX = 1000

#: A backup that a judicator takes: how long it may take, and what must be free beside it.
BACKUP_S = 12 * 3600.0
BACKUP_MARGIN_BYTES = 512 * MIB
#: How long a token to join with may be good, and for how many hosts.
JOIN_TOKEN_MIN_S = 1.0
JOIN_TOKEN_MAX_S = 30 * 86_400.0
JOIN_TOKEN_USES = 1000

#: Results of one task, where it may have several, and attempts that are remembered of it: the last
#: ones, each with a result of half a KiB.
RETRY_ATTEMPTS = 20
PAST_ATTEMPTS = 32
#: Before a second try unless the task says so; the most that it doubles to; the most that a task
#: can say.
RETRY_BACKOFF_S = 1.0
RETRY_BACKOFF_MAX_S = 300.0
RETRY_BACKOFF_LIMIT_S = 86_400.0
#: The part of a pause by which it is longer, from task to task.
RETRY_SPREAD = 0.25

# --- timers (monotonic seconds); relations are asserted in `check_timers` ---------------------
HEARTBEAT_S = 2.0
SESSION_TTL_S = 10.0
RECONNECT_GRACE_S = 15.0
LINK_TIMEOUT_S = 6.0
ORPHAN_TTL_S = 120.0
AUDIT_INTERVAL_S = 5.0
#: A lease missing from the executor's inventory for this long is assigned again.
REASSIGN_S = 3.0
#: An executor's name is its own while its judicator has noted within this that it is connected:
#: another process of that name is refused. Longer than some of those notes may be late.
NAME_HELD_S = 10.0
#: No majority-acknowledged write for this long: the Judicator stops serving.
PULSE_TTL_S = 3.0
LEADER_TTL_S = 5.0
#: How long others leave a leader's claim to the one that an operator named; it takes four rounds of
#: a second. And all of a transfer, which may try several.
HANDOVER_S = 8.0
TRANSFER_S = 20.0

# --- public API ------------------------------------------------------------------------------
LIST_LIMIT_MAX = 10_000
#: Tasks of a list are counted up to this many, and those before one in the queue.
LIST_TOTAL_MAX = 10_000
#: Of the queue: tasks that one answer shows; lines (one for each shape) that are looked at, those
#: whose order is known (MongoDB merges up to 200 ranges of an index, and two stand for "no shape"),
#: and those that are counted one by one; tasks that are looked through for one user's, or counted
#: by user; users that are shown.
QUEUE_SHOWN = 500
QUEUE_LINES = 1000
QUEUE_LINES_MERGED = 128
QUEUE_LINES_SHOWN = 50
QUEUE_WALK = 5000
QUEUE_USERS = 100
#: Of the graph of a job: edges, and jobs outside it, whose tasks are counted. Of the archive of its
#: logs: bytes of them, and tasks that left any; the archive says what it lacks.
GRAPH_EDGES = 1000
GRAPH_JOBS = 50
JOB_LOGS_BYTES = 1024 * MIB
JOB_LOGS_TASKS = 10_000
#: Of statistics: steps that one answer has; tasks that ended and are added up by one statement, and
#: by one question of those that nobody has added up yet. A minute is added up when it has been over
#: for so long: an end is recorded by then under the date it came with.
STATISTICS_STEPS = 500
STATISTICS_PORTION = 2000
STATISTICS_RECENT = 20_000
STATISTICS_SETTLE_S = 120.0
LONG_POLL_MAX_S = 60.0
#: Event streams of one gateway; the next one is answered with 503.
EVENT_STREAMS = 1024
#: The last events of a gateway; a reader that is further behind is told to read anew.
EVENTS_KEPT = 4096
#: Events waiting for one slow gateway; above it the connection ends and the gateway reconnects.
EVENT_QUEUE_ITEMS = 4096
#: Of events, about, that are sent to a reader at a time.
EVENT_BATCH_BYTES = 64 * KIB
#: A reader of events that takes nothing for so long is disconnected.
EVENT_STALL_S = 60.0
EVENT_HEARTBEAT_S = 15.0
#: An event carries the whole of an ended task if what varies in size is no more than this; every
#: gateway gets it, and mostly one of them has a use for it. A larger one is asked for.
EVENT_TASK_BYTES = 4 * KIB
#: KV2 cuts long texts to this many characters and appends "...".
KV2_TEXT_CHARS = 1000
#: Text of an output shown inline by the task view; the download has all of it.
VIEW_TEXT_BYTES = 64 * KIB


def check_timers() -> None:
    """The relations the protocol's bounds rest on; broken ones would turn delays into reruns."""
    from khala.model.errors import invariant

    invariant(3 * HEARTBEAT_S <= SESSION_TTL_S, "3 heartbeats must fit into a session's life")
    invariant(LINK_TIMEOUT_S < SESSION_TTL_S, "an executor must look elsewhere before it expires")
    invariant(
        SESSION_TTL_S + RECONNECT_GRACE_S > 12.0,
        "a MongoDB election (12 s) must not cost every executor its session",
    )
