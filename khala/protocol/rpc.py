"""HTTP between Gateways (and Executors' bulk data) and Judicators.

Bodies are msgpack of these structs, and of those of `khala.protocol.jobs`. Every request carries
the cluster secret as a bearer token. Errors are an `ErrorBody` with the HTTP status of its family:
4xx `Rejected`, 503 `Unavailable`, 504 `OutcomeUnknown`; the client turns them back into the same
exceptions.

    POST   /rpc/v1/tasks                          SubmitTask -> Submitted
    GET    /rpc/v1/tasks/<id>                     -> Task
    DELETE /rpc/v1/tasks/<id>                     Cancel, or nothing -> Cancelled
    POST   /rpc/v1/tasks/<id>/forget              nothing; of a task that has ended
    POST   /rpc/v1/tasks/<id>/patch               PatchTask -> Task
    POST   /rpc/v1/tasks/patched                  Patched: forget what is remembered of these
    POST   /rpc/v1/tasks/search                   SearchTasks -> TaskPage
    POST   /rpc/v1/tasks/list                     ListTasks -> TaskRows
    POST   /rpc/v1/tasks/list/newer               the same, with `words` or by priority
    GET    /rpc/v1/tasks/<id>/parts/<part>        -> the bytes of a payload part;
                                                  `?first=N&size=N`: some of them
    GET    /rpc/v1/tasks/<id>/streams/<stream>    -> the bytes of a recorded output;
                                                  `?case=N`: of that case, from 1
    GET    /rpc/v1/tasks/<id>/artifacts           -> bytes `first` to `first + size` of them
    PUT    /rpc/v1/outputs/<id>/<attempt>/<stream>/<n>   chunk n of an output or of a
                                                  bundle (idempotent)
    POST   /rpc/v1/tasks/batch                    SubmitBatch -> SubmittedBatch
    POST   /rpc/v1/jobs                           SubmitJob -> Submitted
    POST   /rpc/v1/jobs/list                      ListJobs -> JobPage
    GET    /rpc/v1/jobs/<id>                      -> JobView
    DELETE /rpc/v1/jobs/<id>                      Cancel, or nothing -> JobView: cancelled
    POST   /rpc/v1/jobs/<id>/tasks                ListMembers -> MemberRows
    POST   /rpc/v1/jobs/<id>/retry                RetryJob -> Retried
    POST   /rpc/v1/jobs/<id>/hold                 HoldJob -> JobView
    PUT    /rpc/v1/uploads/<upload>/<n>           chunk n of the bytes of a blob (idempotent)
    POST   /rpc/v1/uploads                        NewUpload -> Upload: bit by bit (idempotent)
    GET    /rpc/v1/uploaders/<user>               -> OpenUploads
    GET    /rpc/v1/uploads/<upload>               -> Upload
    PATCH  /rpc/v1/uploads/<upload>/from/<offset> the bytes behind it -> Upload
    GET    /rpc/v1/uploads/<upload>/bytes         -> all of them, once they are there
    POST   /rpc/v1/uploads/<upload>/blob          CloseUpload: it is this blob now (idempotent)
    DELETE /rpc/v1/uploads/<upload>               nothing; it is given up
    POST   /rpc/v1/blobs                          NewBlob: these chunks are one now
    POST   /rpc/v1/blobs/touch                    TouchBlobs -> BlobSizes
    GET    /rpc/v1/blobs/<name>                   -> the bytes of a blob
    POST   /rpc/v1/live                           PutLive: chunks of running attempts (idempotent)
    POST   /rpc/v1/logs/<id>                      ReadLog -> LogView
    GET    /rpc/v1/cluster                        -> ClusterView
    GET    /rpc/v1/metrics                        -> MetricsView
    GET    /rpc/v1/events                         WebSocket: frames of `Event` to the gateway, of
                                                  `FollowLogs` from it
    GET    /rpc/v1/executor                       WebSocket: see `khala.protocol.executor`
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct, field

from khala.model.blob import BlobName
from khala.model.cases import Verdict
from khala.model.executor import CacheCounts, ExecutorRecord, JudicatorRecord
from khala.model.ids import AttemptNo, ExecutorName, JudicatorName, TaskId
from khala.model.live import Channel, LiveChunk, Section
from khala.model.metrics import MetricFamily
from khala.model.outcome import Cancellation, Reason
from khala.model.pace import LinePace
from khala.model.patch import Patch
from khala.model.retention import Retention
from khala.model.spec import Part, TaskOptions
from khala.model.task import Task, TaskBrief, TaskState
from khala.model.upload import Upload
from khala.model.wants import Amounts


class SubmitTask(TaskOptions, frozen=True, kw_only=True):
    """A whole task. The judicator mints the id and decides what is stored inline."""

    parts: dict[Part, bytes]
    #: Further parts, by the blobs that are their bytes.
    blobs: dict[Part, BlobName] = field(default_factory=dict)
    #: Stands for the request that it came in with others: a key is for one such request.
    context: bytes = b""
    #: Retrying with the same key (per user) yields the same task.
    key: str | None = None
    #: It is accepted as held by a person.
    held: bool = False


class TouchBlobs(Struct, frozen=True, kw_only=True):
    """Keep those that are there for whoever is about to name them."""

    names: tuple[BlobName, ...]


class OpenUploads(Struct, frozen=True, kw_only=True):
    """Of one user."""

    uploads: list[Upload]


class CloseUpload(Struct, frozen=True, kw_only=True):
    """All bytes of an upload are there, and this is their name."""

    blob: BlobName


class Submitted(Struct, frozen=True, kw_only=True):
    id: TaskId
    #: True when the key had been used before: nothing new was created.
    replay: bool


class Cancel(Struct, frozen=True, kw_only=True):
    """The body of a DELETE that has something to say. A judicator that is older than it does not
    read it."""

    cancellation: Cancellation | None = None


class Cancelled(Struct, frozen=True, kw_only=True):
    task: TaskBrief


class PatchTask(Struct, frozen=True, kw_only=True):
    """What a person wants to be another of a task."""

    patch: Patch
    #: Only if it was last changed at that time.
    updated_at: datetime | None = None


class Patched(Struct, frozen=True, kw_only=True):
    """Told to judicators that may remember these tasks as they were; and the claims of the changes,
    by which one knows those that it made itself."""

    tasks: dict[TaskId, str]


class SearchTasks(Struct, frozen=True, kw_only=True):
    """KV2's filters. Times are inclusive bounds on submission."""

    id: TaskId | None = None
    user: int | None = None
    start: datetime | None = None
    end: datetime | None = None
    oldest_first: bool = False
    offset: int = 0
    #: 0 = all, up to LIST_LIMIT_MAX.
    limit: int = 0


class SortKey(StrEnum):
    """What a list is ordered by."""

    CREATED_AT = "created_at"
    #: Open tasks are in no list of this order.
    FINISHED_AT = "finished_at"
    #: Those of one priority by their submission. Asked at an address of its own: see `words`.
    PRIORITY = "priority"


class Place(Struct, frozen=True, kw_only=True):
    """Where a task stands in a list: the date that orders it, and its id."""

    at: datetime
    id: TaskId
    #: Goes before both in a list by priority; in others it is of no meaning.
    priority: int = 0


class TaskFilter(Struct, frozen=True, kw_only=True):
    """Which tasks; what is not given, any. Dates are inclusive bounds; either may be None."""

    user: int | None = None
    #: Any of these; empty: all.
    states: tuple[TaskState, ...] = ()
    reasons: tuple[Reason, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    #: Each as `key=value`; a task has all of them.
    labels: tuple[str, ...] = ()
    #: A person holds it, or does not.
    held: bool | None = None
    #: The executor that runs it, or ran it to its end.
    node: ExecutorName | None = None
    #: A part of its name, in capitals or not.
    name: str | None = None
    #: The first digits of its id.
    id_prefix: str | None = None
    #: Each of them is a part of its name, begins its id, or is one of its labels
    #: (`khala.model.search`). Asked at an address of its own: a judicator that does not know the
    #: field would leave it out, and find what nobody searched for.
    words: tuple[str, ...] = ()
    created: tuple[datetime | None, datetime | None] = (None, None)
    finished: tuple[datetime | None, datetime | None] = (None, None)


class ListTasks(TaskFilter, frozen=True, kw_only=True):
    """One page, newest first unless asked otherwise."""

    sort: SortKey = SortKey.CREATED_AT
    oldest_first: bool = False
    #: By priority: from the lowest one up. `oldest_first` is said of those of one priority then.
    lowest_first: bool = False
    #: The `next` of the page before.
    after: Place | None = None
    #: Say how many there are, if that can be counted from an index.
    count: bool = False
    limit: int


class TaskRows(Struct, frozen=True, kw_only=True):
    #: May be fewer than asked for, and none, although there is another page.
    tasks: list[TaskBrief]
    #: There is another page.
    more: bool
    #: Where it begins.
    next: Place | None = None
    total: int | None = None
    total_is_exact: bool = False


def place_of(brief: TaskBrief, sort: SortKey) -> Place:
    """Where a row stands in a list of this order."""
    at = brief.done_at if sort is SortKey.FINISHED_AT else None
    priority = brief.priority if sort is SortKey.PRIORITY else 0
    return Place(at=at or brief.submitted_at, id=brief.id, priority=priority)


class TaskPage(Struct, frozen=True, kw_only=True):
    total: int
    tasks: list[TaskBrief]


class PutLive(Struct, frozen=True, kw_only=True):
    chunks: list[LiveChunk]


class ReadLog(Struct, frozen=True, kw_only=True):
    """Ask for what one section has written, from given offsets on."""

    #: None: the newest.
    attempt: AttemptNo | None = None
    section: Section
    #: Of each channel that is wanted.
    offsets: dict[Channel, int]
    #: Begin so many bytes before the end of what is there, and not at the offsets.
    back_bytes: int = 0


class LogPiece(Struct, frozen=True, kw_only=True, omit_defaults=True):
    channel: Channel
    offset: int
    data: bytes
    #: When it was stored; of a recorded output: when that was.
    at: datetime | None = None

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


class LogView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of a log. Bytes that are missing between the pieces of a channel were not kept."""

    #: Whose bytes these are; 0: none has begun yet.
    attempt: AttemptNo
    #: Of the task.
    newest: AttemptNo
    state: TaskState
    reason: Reason | None = None
    #: Of the stage that decided the task's end.
    exit_code: int | None = None
    pieces: list[LogPiece] = []
    #: The section has no byte beyond these, and never will.
    complete: bool = False
    #: The attempt has ended: what follows this section is there already, or will never be.
    ended: bool = False
    #: How far the channels reach that are complete; behind their last piece is a gap.
    ends: dict[Channel, int] = {}
    #: Of the task: so many programs run in its execute stage, each a section of its own.
    cases: int = 0


class ExecutorView(Struct, frozen=True, kw_only=True):
    """An executor's record and what the judicator that owns its session knows on top."""

    record: ExecutorRecord
    #: None when another judicator owns the session.
    free: int | None
    cache: CacheCounts | None = None
    #: What of its capacity is not taken.
    left: Amounts = {}


class ClusterView(Struct, frozen=True, kw_only=True):
    version: str
    serving: bool
    queued: int
    leased: int
    #: Of the queued ones, those that wait for more than an executor.
    held: int = 0
    executors: list[ExecutorView]
    judicators: list[JudicatorRecord]
    #: Who should be there, in a cluster that has certificates.
    members: list[JudicatorName] = []
    notes: list[str]
    #: What this one is told to keep of ended tasks.
    keep: Retention = Retention()
    #: How fast lines moved here lately.
    paces: list[LinePace] = []


class MetricsView(Struct, frozen=True, kw_only=True):
    """What one judicator counted since it started."""

    judicator: JudicatorName
    families: list[MetricFamily]


class ErrorBody(Struct, frozen=True, kw_only=True):
    #: Class name in `khala.model.errors`.
    error: str
    message: str
    field: str | None = None


class TaskChanged(Struct, frozen=True, kw_only=True, tag="task"):
    task: TaskBrief
    #: The whole of a task that has ended, if it is small and at hand: whoever waited for it need
    #: not ask.
    ended: Task | None = None


class ExecutorChanged(Struct, frozen=True, kw_only=True, tag="executor"):
    executor: ExecutorView


class LogGrew(Struct, frozen=True, kw_only=True, tag="log"):
    """More of what an attempt writes can be read. Only told to those that have asked for it."""

    task: TaskId


class FollowLogs(Struct, frozen=True, kw_only=True, tag="follow_logs"):
    """Of which tasks a gateway wants to hear `LogGrew` from now on, in the place of what it said
    before. Each one that is new is told of at once: something may have been stored meanwhile."""

    tasks: list[TaskId]


#: Events are hints: any may be missing or repeated; a reader that must be sure reads the task.
Event: TypeAlias = TaskChanged | ExecutorChanged | LogGrew
