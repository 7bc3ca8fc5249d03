"""What the state machines need from the world, as Protocols.

The serving process implements them with MongoDB, WebSockets and the monotonic clock; the
simulator implements them with a dictionary, a lossy network and virtual time. A method that is
`async` may fail with `Unavailable` (nothing happened) or `OutcomeUnknown` (it may land later).
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from datetime import datetime
from typing import NewType, Protocol, TypeVar

from khala.core.facts import Fact
from khala.model.executor import ExecutorRecord
from khala.model.ids import AttemptNo, ExecutorName, SessionNo, TaskId
from khala.model.outcome import Outcome
from khala.model.statements import (
    AcceptResult,
    AuditView,
    CancelResult,
    Candidate,
    FinishItem,
    FinishResult,
    HeldLease,
    Lease,
    LeaseItem,
    Lift,
    NewTask,
    OpenedSession,
    OpenSession,
    ProgressItem,
    RequeueItem,
    RequeueResult,
)
from khala.model.task import Task, TaskBrief
from khala.protocol.executor import ToExecutorMessage

#: One connection of an executor, numbered by the shell; never reused.
Conn = NewType("Conn", int)
Item = TypeVar("Item")


class Store(Protocol):
    """The statements of dispatch; each is one atomic document operation (see `khala.store`)."""

    async def accept(self, task: NewTask) -> AcceptResult: ...
    async def lease_if_queued(self, item: LeaseItem) -> bool: ...
    async def finish_if_attempt(self, item: FinishItem) -> FinishResult: ...
    async def progress_if_leased(self, item: ProgressItem) -> None: ...
    async def cancel_if_open(self, task: TaskId) -> CancelResult: ...
    async def adopt_if_attempt(self, task: TaskId, attempt: AttemptNo, lease: Lease) -> bool: ...
    async def requeue_if_leased_by(self, item: RequeueItem) -> RequeueResult: ...
    async def lift_if_held(self, items: Sequence[Lift]) -> None: ...
    async def end_if_waiting(self, task: TaskId, outcome: Outcome) -> bool: ...
    async def find_due(self, limit: int) -> list[TaskId]: ...
    async def find_queued(self, shape: str, limit: int, older_than_s: float) -> list[Candidate]: ...
    async def get(self, task: TaskId) -> Task: ...
    async def open_session(self, item: OpenSession) -> OpenedSession: ...
    async def expire_session(self, name: ExecutorName, session: SessionNo) -> bool: ...
    async def leases_of(self, name: ExecutorName, up_to_session: SessionNo) -> list[HeldLease]: ...
    async def audit_own(self, names: Sequence[ExecutorName]) -> AuditView: ...
    async def audit_all(self) -> list[HeldLease]: ...
    async def list_executors(self) -> list[ExecutorRecord]: ...


class Comm(Protocol):
    """Everything else: messages out, background flows, time."""

    def send(self, conn: Conn, message: ToExecutorMessage) -> None: ...
    def close(self, conn: Conn, why: str) -> None: ...
    def spawn(self, flow: Coroutine[object, object, None]) -> None: ...
    def changed(self, brief: TaskBrief) -> None:
        """Tell whoever watches; a hint."""
        ...

    def touched(self, task: TaskId) -> None:
        """As `changed`, where the new state is not at hand and must be read."""
        ...

    def happened(self, fact: Fact) -> None:
        """Tell whoever counts; it neither waits nor fails."""
        ...

    async def sleep(self, seconds: float) -> None: ...
    def now(self) -> float:
        """Monotonic seconds; every decision uses this."""
        ...

    def wall_time(self) -> datetime:
        """UTC, for people only."""
        ...

    def peers(self) -> list[str]:
        """RPC addresses of the serving judicators."""
        ...

    def shuffle(self, items: list[Item]) -> None: ...
