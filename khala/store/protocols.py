"""What a store offers, as Protocols with two implementations: MongoDB and a dictionary.

The unit tests and the simulator run on the dictionary, the cluster on MongoDB, and one test suite
runs on both; were they to differ, everything proven on the dictionary would be worth nothing.

The names of the changing statements are their preconditions. Each is one compare-and-set on one
document, and each can be repeated until it answers (see `khala.model.statements`). Statements on
several tasks are several independent compare-and-sets in one round trip: answers keep the order
of the items, and one item's failure is answered in its place as an exception.

Failures of every method: `Unavailable`, and for changes also `OutcomeUnknown`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from khala.model.executor import ExecutorRecord
from khala.model.ids import (
    AttemptNo,
    ExecutorName,
    Incarnation,
    JudicatorName,
    SessionNo,
    TaskId,
    Term,
)
from khala.model.statements import (
    AcceptResult,
    AuditView,
    CancelResult,
    Candidate,
    ChunkItem,
    Counts,
    FinishItem,
    FinishResult,
    HeldLease,
    Lease,
    LeaseItem,
    NewTask,
    OpenedSession,
    OpenSession,
    ProgressItem,
    RequeueItem,
    RequeueResult,
)
from khala.model.task import Chunked, Part, Task, TaskBrief
from khala.protocol.rpc import SearchTasks, TaskPage


class TaskStore(Protocol):
    """Tasks: statements S1 to S5, S7, S8, and reads."""

    async def insert_if_new(self, items: Sequence[NewTask]) -> list[AcceptResult | Exception]: ...
    async def lease_if_queued(self, items: Sequence[LeaseItem]) -> list[bool]: ...
    async def progress_if_leased(self, items: Sequence[ProgressItem]) -> None: ...
    async def finish_if_attempt(
        self, items: Sequence[FinishItem]
    ) -> list[FinishResult | Exception]: ...
    async def cancel_if_open(self, task: TaskId) -> CancelResult: ...
    async def adopt_if_attempt(self, task: TaskId, attempt: AttemptNo, lease: Lease) -> bool: ...
    async def requeue_if_leased_by(self, item: RequeueItem) -> RequeueResult: ...

    async def get(self, task: TaskId) -> Task: ...
    async def search(self, query: SearchTasks) -> TaskPage: ...
    async def counts(self) -> Counts: ...
    async def load_briefs(self, tasks: Sequence[TaskId]) -> list[TaskBrief]: ...
    async def find_queued(self, image: str, limit: int, older_than_s: float) -> list[Candidate]: ...


class SessionStore(Protocol):
    """Executors' sessions (S6, S9, R4, S10), the leader's term (S11) and the pulse."""

    async def open_session(self, item: OpenSession) -> OpenedSession: ...
    async def expire_session(self, name: ExecutorName, session: SessionNo) -> bool: ...
    async def touch_sessions(self, names: Sequence[ExecutorName]) -> None: ...
    async def forget_lost(self, older_than: timedelta) -> int: ...
    async def list_executors(self) -> list[ExecutorRecord]: ...
    async def leases_of(self, name: ExecutorName, up_to_session: SessionNo) -> list[HeldLease]: ...
    async def audit_own(self, names: Sequence[ExecutorName]) -> AuditView: ...
    async def audit_all(self) -> list[HeldLease]: ...
    async def take_leadership(self, judicator: JudicatorName, incarnation: Incarnation) -> Term: ...
    async def check_term(self, term: Term) -> bool: ...
    async def pulse(self, judicator: JudicatorName) -> None: ...


class PayloadStore(Protocol):
    """Payload parts too large for the task document, in chunks."""

    async def put_parts(self, task: TaskId, parts: Mapping[Part, bytes]) -> None: ...
    def read_part(self, task: TaskId, part: Part) -> AsyncIterator[bytes]: ...
    async def collect_orphans(self, older_than: timedelta) -> int: ...


class OutputStore(Protocol):
    """Outputs too large for the task document, or wanted while the task runs, in chunks."""

    async def put_chunks(self, items: Sequence[ChunkItem]) -> None: ...
    def read_stream(
        self, task: TaskId, attempt: AttemptNo, stream: Chunked, first: int = 0
    ) -> AsyncIterator[bytes]: ...
    async def collect_orphans(self, older_than: timedelta) -> int: ...


class Lanes(Protocol):
    """One item at a time; whether it travels alone or in a batch is the implementation's."""

    async def accept(self, item: NewTask) -> AcceptResult: ...
    async def lease(self, item: LeaseItem) -> bool: ...
    async def progress(self, item: ProgressItem) -> None: ...
    async def finish(self, item: FinishItem) -> FinishResult: ...
    async def output(self, item: ChunkItem) -> None: ...
