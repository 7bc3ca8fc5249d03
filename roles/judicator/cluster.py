"""The cluster as this Judicator sees it: for people, status pages and gateways."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from khala.core.dispatch import Dispatcher
from khala.core.session import Session
from khala.model.errors import KhalaError
from khala.model.executor import ExecutorRecord, JudicatorRecord
from khala.model.ids import ExecutorName, JudicatorName
from khala.model.retention import Retention
from khala.protocol.rpc import ClusterView, ExecutorView
from khala.store.protocols import SessionStore, TaskStore
from khala.version import VERSION
from roles.judicator.chores import Leadership
from roles.judicator.events import Events
from roles.judicator.margin import margin_notes

#: How often executors are compared with what was last published.
WATCH_INTERVAL_S = 1.0


class Alarms(Protocol):
    """What is wrong with this node's etcd member."""

    @property
    def corrupt(self) -> bool: ...

    def sentences(self) -> list[str]: ...


class Cluster:
    def __init__(
        self,
        dispatcher: Dispatcher,
        tasks: TaskStore,
        sessions: SessionStore,
        leadership: Leadership,
        etcd: Alarms,
    ) -> None:
        self.etcd = etcd
        #: The judicators that there should be, as far as this one knows.
        self.members: list[JudicatorName] = []
        #: What is kept of ended tasks.
        self.keep: Callable[[], Retention] = Retention
        self._dispatcher = dispatcher
        self._tasks = tasks
        self._sessions = sessions
        self._leadership = leadership

    @property
    def warnings(self) -> list[str]:
        """What an operator should know of this judicator and its like, though it serves."""
        return self.etcd.sentences() + self._margin()

    def _margin(self) -> list[str]:
        present = [record.name for record in self._leadership.judicators()]
        return margin_notes(self.members or present, present)

    async def view(self) -> ClusterView:
        counts = await self._tasks.counts()
        return ClusterView(
            version=VERSION,
            serving=self._dispatcher.serving,
            queued=counts.queued + counts.held,
            held=counts.held,
            leased=counts.leased,
            executors=await self._executors(),
            judicators=self._leadership.judicators(),
            members=self.members,
            notes=self.etcd.sentences()
            + notes_of(
                list(self._dispatcher.sessions.values()),
                self._leadership.judicators(),
                # A corrupt member has said already why nothing is accepted.
                serving=self._dispatcher.serving or self.etcd.corrupt,
            )
            + self._margin(),
            keep=self.keep(),
            paces=self._dispatcher.leasing.pace.lines(self._dispatcher.comm.now()),
        )

    async def _executors(self) -> list[ExecutorView]:
        return [self._view(record) for record in await self._sessions.list_executors()]

    def _view(self, record: ExecutorRecord) -> ExecutorView:
        session = self._dispatcher.sessions.get(record.name)
        if session is None or session.number != record.session:
            return ExecutorView(record=record, free=None)
        return ExecutorView(
            record=record, free=session.free, cache=session.cache, left=session.left
        )

    async def watch(self, events: Events) -> None:
        """Publish executors whose state or free slots changed."""
        published: dict[ExecutorName, tuple[object, ...]] = {}
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            if not events.wanted:
                published.clear()
                continue
            try:
                views = await self._executors()
            except KhalaError:
                continue  # the next round is a second away
            for view in views:
                record = view.record
                seen = (record.state, record.session, record.slots, view.free)
                if published.get(record.name) != seen:
                    published[record.name] = seen
                    events.publish_executor(view)


def notes_of(
    sessions: Sequence[Session], judicators: Sequence[JudicatorRecord], *, serving: bool
) -> list[str]:
    """Sentences for people: what keeps tasks from being accepted or run."""
    notes: list[str] = []
    if not serving:
        notes.append("The store does not acknowledge writes: tasks are not accepted now.")
    # With several judicators, another one's executors may run what waits here.
    if len(judicators) <= 1 and not any(session.conn is not None for session in sessions):
        notes.append("No executor is connected: tasks are accepted and wait.")
    notes += [
        f"Executor {session.name} takes no work: it is stopping, or its disk or spool is full;"
        " see its log."
        for session in sessions
        if session.conn is not None and not session.accepts
    ]
    return notes
