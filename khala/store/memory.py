"""The store as a dictionary: same statements, same answers, no database.

No method suspends, so each is atomic on any loop and can be driven without one (`run_now`): the
simulator decides itself when a statement lands and whether its answer is lost. Dates come from
`wall`, because a simulation has its own.

Whoever changes a statement here changes it in `tasks.py` or `sessions.py` too; `tests/store`
runs every case on both.
"""

from __future__ import annotations

from collections.abc import (
    AsyncIterator,
    Coroutine,
    Sequence,
)
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from khala.model.errors import InvariantBroken, NameTaken, NotFound
from khala.model.executor import Cordon, ExecutorRecord, SessionState
from khala.model.ids import (
    AttemptNo,
    ExecutorName,
    Incarnation,
    JudicatorName,
    SessionNo,
    TaskId,
    Term,
    id_date,
    mint_task_id,
)
from khala.model.limits import NAME_HELD_S
from khala.model.outcome import Chunked
from khala.model.statements import (
    AuditView,
    ChunkItem,
    HeldLease,
    OpenedSession,
    OpenSession,
)
from khala.model.task import Dispatch
from khala.store.api import Direct, DispatchStore
from khala.store.dates import utc_now
from khala.store.expansion import ExpansionStore
from khala.store.members import Members
from khala.store.memory_blobs import MemoryBlobs
from khala.store.memory_holds import MemoryHolds
from khala.store.memory_jobs import MemoryJobs
from khala.store.memory_live import MemoryLive
from khala.store.memory_state import MemoryState, Wall
from khala.store.memory_tasks import MemoryTasks
from khala.store.memory_uploads import MemoryUploads
from khala.store.predecessors import Predecessors

Result = TypeVar("Result")


def run_now(statement: Coroutine[object, object, Result]) -> Result:
    """Run a coroutine that never suspends, without an event loop."""
    try:
        statement.send(None)
    except StopIteration as stop:
        result: Result = stop.value
        return result
    statement.close()
    raise InvariantBroken("a statement of the memory store suspended")


class MemorySessions:
    """`SessionStore`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def open_session(self, item: OpenSession) -> OpenedSession:
        previous = self._state.executors.get(item.name)
        if previous is not None and self._is_held(previous, item):
            raise NameTaken(item.name)
        session = SessionNo(previous.session + 1 if previous else 1)
        self._state.forgotten.discard(item.name)
        self._state.executors[item.name] = ExecutorRecord(
            name=item.name,
            id=previous.id if previous else mint_task_id(),
            session=session,
            boot=item.boot,
            state=SessionState.ONLINE,
            owner=item.owner,
            slots=item.slots,
            version=item.version,
            enforcement=item.enforcement,
            enforces=item.enforces,
            seen_at=self._state.now(),
            images=item.images,
            networks=item.networks,
            speaks=item.speaks,
            capacity=item.capacity,
            labels=item.labels,
            cordon=previous.cordon if previous else None,
        )
        return OpenedSession(session=session, previous=previous)

    async def set_cordon(self, name: ExecutorName, cordon: Cordon | None) -> None:
        record = self._state.executors.get(name)
        if record is None:
            raise NotFound(f"there is no executor {name[:80]!r}; khala.pex nodes shows them")
        self._state.executors[name] = msgspec.structs.replace(record, cordon=cordon)

    def _is_held(self, record: ExecutorRecord, item: OpenSession) -> bool:
        if record.boot == item.boot or record.state is SessionState.LOST or not record.heard_at:
            return False
        return abs(self._state.now() - record.heard_at) <= timedelta(seconds=NAME_HELD_S)

    async def expire_session(self, name: ExecutorName, session: SessionNo) -> bool:
        record = self._state.executors.get(name)
        if record is None or record.session != session:
            return False
        self._state.executors[name] = replace(record, state=SessionState.LOST)
        return True

    async def touch_sessions(self, names: Sequence[ExecutorName]) -> None:
        for name in names:
            record = self._state.executors.get(name)
            if record is not None:
                now = self._state.now()
                self._state.executors[name] = replace(record, seen_at=now, heard_at=now)

    async def part_sessions(self, names: Sequence[ExecutorName]) -> None:
        for name in names:
            record = self._state.executors.get(name)
            if record is not None:
                self._state.executors[name] = replace(record, heard_at=None)

    async def forget_lost(self, older_than: timedelta) -> int:
        before = self._state.now() - older_than
        names = {
            record.name
            for record in self._state.executors.values()
            if record.state is SessionState.LOST and record.seen_at < before
        } - self._state.forgotten
        self._state.forgotten |= names
        return len(names)

    async def forget_if_lost(self, name: ExecutorName) -> bool:
        record = self._state.executors.get(name)
        if record is None or name in self._state.forgotten:
            raise NotFound(f"there is no executor {name[:80]!r}; khala.pex nodes shows them")
        if record.state is not SessionState.LOST:
            return False
        self._state.forgotten.add(name)
        return True

    async def list_executors(self) -> list[ExecutorRecord]:
        names = sorted(self._state.executors.keys() - self._state.forgotten)
        return [self._state.executors[name] for name in names]

    async def leases_of(self, name: ExecutorName, up_to_session: SessionNo) -> list[HeldLease]:
        return [
            lease
            for lease in self._state.leases()
            if lease.executor == name and lease.session <= up_to_session
        ]

    async def audit_own(self, names: Sequence[ExecutorName]) -> AuditView:
        executors = self._state.executors
        return AuditView(
            records=[executors[name] for name in names if name in executors],
            leases=[lease for lease in self._state.leases() if lease.executor in names],
        )

    async def audit_all(self) -> list[HeldLease]:
        current = {
            (record.name, record.session)
            for record in self._state.executors.values()
            if record.state is not SessionState.LOST
        }
        return [
            lease
            for lease in self._state.leases()
            if (lease.executor, lease.session) not in current
        ]

    async def take_leadership(self, judicator: JudicatorName, incarnation: Incarnation) -> Term:
        self._state.term += 1
        return Term(self._state.term)

    async def check_term(self, term: Term) -> bool:
        return self._state.term == term

    async def pulse(self, judicator: JudicatorName) -> None:
        """A dictionary is always writable."""


class MemoryOutputs:
    """`OutputStore`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def put_chunks(self, items: Sequence[ChunkItem]) -> None:
        for item in items:
            chunks = self._state.chunks.setdefault((item.id, item.attempt, item.stream), {})
            chunks.setdefault(item.n, item.data)

    async def read_stream(
        self, task: TaskId, attempt: AttemptNo, stream: Chunked, first: int = 0
    ) -> AsyncIterator[bytes]:
        chunks = self._state.chunks.get((task, attempt, stream), {})
        while first in chunks:
            yield chunks[first]
            first += 1

    async def collect_orphans(self, older_than: timedelta) -> int:
        before = self._state.now() - older_than
        orphans = [key for key in self._state.chunks if self._orphan(key[0], key[1], before)]
        return sum(len(self._state.chunks.pop(key)) for key in orphans)

    def _orphan(self, task: TaskId, attempt: AttemptNo, before: datetime) -> bool:
        row = self._state.tasks.get(task)
        if row is None:
            return id_date(task) < before
        done_at = row.task.done_at
        retried = {each.attempt for each in row.task.past if each.outcome is not None}
        kept = attempt in {row.task.attempt, *retried}
        return done_at is not None and done_at < before and not kept


class MemoryForgetting:
    """`ForgettingStore`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def forget_if_done(
        self, tasks: Sequence[TaskId], keep_s: int | None = None
    ) -> list[TaskId]:
        kept: list[TaskId] = []
        for task in tasks:
            row = self._state.tasks.get(task)
            if row is not None and (
                row.task.dispatch is not Dispatch.DONE
                or row.task.spec.member is not None
                or keep_s not in (None, row.task.spec.retention_s)
            ):
                kept.append(task)
                continue
            self._state.tasks.pop(task, None)
            if row is not None and row.key is not None:
                del self._state.keys[row.task.spec.user, row.key]
            for key in [each for each in self._state.chunks if each[0] == task]:
                del self._state.chunks[key]
            for source in [each for each in self._state.live if each.id == task]:
                del self._state.live[source]
        return kept


class MemoryStore:
    """One store; several judicators of a simulation share it."""

    def __init__(self, wall: Wall = utc_now) -> None:
        state = MemoryState(wall=wall)
        self.tasks = MemoryTasks(state)
        self.sessions = MemorySessions(state)
        self.holds = MemoryHolds(state)
        self.blobs = MemoryBlobs(state)
        self.uploads = MemoryUploads(state)
        self.jobs = MemoryJobs(state)
        self.members = Members(self.blobs)
        self.expansion = ExpansionStore(self.jobs, self.members, self.tasks)
        self.predecessors = Predecessors(self.jobs, self.tasks)
        self.outputs = MemoryOutputs(state)
        self.forgetting = MemoryForgetting(state)
        self.live = MemoryLive(state)
        lanes = Direct(self.tasks, self.outputs, self.live)
        self.dispatch = DispatchStore(self.tasks, self.sessions, self.holds, lanes)
