"""What the parts of one memory store share: the rows, and nothing that decides; see
`khala.store.memory`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from msgspec.structs import replace

from khala.model.blob import BlobName, UploadId
from khala.model.executor import ExecutorRecord
from khala.model.ids import AttemptNo, ExecutorName, JobId, TaskId
from khala.model.job import Job
from khala.model.live import LiveChunk, Source
from khala.model.outcome import Chunked, Outcome
from khala.model.statements import HeldLease, Lease
from khala.model.task import Dispatch, Task
from khala.store.dates import to_ms

Wall = Callable[[], datetime]


@dataclass(slots=True)
class MemoryRow:
    """A task document: the task and what only the store needs of it."""

    task: Task
    key: str | None
    fingerprint: bytes
    lease: Lease | None

    def end(self, outcome: Outcome, result_attempt: AttemptNo | None, at: datetime) -> None:
        """Done for good; `result_attempt` is None where no attempt brought the outcome."""
        self.lease = None
        self.task = replace(
            self.task,
            dispatch=Dispatch.DONE,
            executor=None,
            progress=None,
            outcome=outcome,
            hold=None,
            result_attempt=result_attempt,
            updated_at=at,
            done_at=at,
        )


@dataclass(slots=True)
class MemoryBlob:
    upload: UploadId
    size_bytes: int
    touched_at: datetime


@dataclass(slots=True)
class MemoryState:
    """What the parts of one store share."""

    wall: Wall
    tasks: dict[TaskId, MemoryRow] = field(default_factory=dict)
    keys: dict[tuple[int, str], TaskId] = field(default_factory=dict)
    jobs: dict[JobId, Job] = field(default_factory=dict)
    job_keys: dict[tuple[int, str], tuple[JobId, bytes]] = field(default_factory=dict)
    #: That members name.
    job_blobs: dict[JobId, tuple[BlobName, ...]] = field(default_factory=dict)
    executors: dict[ExecutorName, ExecutorRecord] = field(default_factory=dict)
    forgotten: set[ExecutorName] = field(default_factory=set)
    term: int = 0
    blobs: dict[BlobName, MemoryBlob] = field(default_factory=dict)
    #: Chunks by their number, of each sending of a blob.
    uploads: dict[UploadId, dict[int, bytes]] = field(default_factory=dict)
    chunks: dict[tuple[TaskId, AttemptNo, Chunked], dict[int, bytes]] = field(default_factory=dict)
    live: dict[Source, dict[int, LiveChunk]] = field(default_factory=dict)

    def now(self) -> datetime:
        return to_ms(self.wall())

    def leases(self) -> Iterator[HeldLease]:
        for row in self.tasks.values():
            if row.lease is not None:
                yield HeldLease(
                    id=row.task.id,
                    attempt=row.task.attempt,
                    executor=row.lease.executor,
                    session=row.lease.session,
                )
