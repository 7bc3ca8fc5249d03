"""Leases: taken for ready tasks, assigned to executors, repeated until seen, taken back.

What makes dispatch safe is the store, not this module: a lease is a compare-and-set that increments
the attempt. This module may therefore forget everything at any moment (a restart does) and may act
on stale knowledge; it costs a rerun at worst.

What has to wait for the store is a *flow*, a coroutine that awaits nothing but the ports. While it
waits the world moves on, so what it knew must be looked at again afterwards: a lease counts as the
same one only if the very same `Held` is still there.
"""

from __future__ import annotations

from datetime import datetime

from khala.core.news import announce
from khala.core.pace import Pace
from khala.core.ports import Comm, Store
from khala.core.ready import Ready, Refusals
from khala.core.returns import Returns
from khala.core.session import Held, Session
from khala.core.sessions import Sessions
from khala.model.capabilities import CAPABILITY
from khala.model.errors import KhalaError, NotFound
from khala.model.ids import AttemptNo, JudicatorName, mint_nonce
from khala.model.limits import SHAPES
from khala.model.outcome import Cancellation
from khala.model.spec import TaskSpec
from khala.model.statements import (
    Candidate,
    Lease,
    LeaseItem,
    candidate_of,
)
from khala.model.task import Dispatch, Progress
from khala.protocol.executor import Assign, HeartbeatAck, Kill, Run


class Leasing:
    """The leases of one Judicator's sessions, and the tasks that wait for one."""

    def __init__(self, name: JudicatorName, store: Store, comm: Comm) -> None:
        self._name = name
        self._store = store
        self._comm = comm
        #: Majority-acknowledged writes succeed; nothing is leased while they do not.
        self.serving = True
        self.sessions = Sessions()
        self.ready = Ready()
        self.refusals = Refusals()
        self.returns = Returns(store, comm)
        #: Shapes that no session can take one more of, until one has more room.
        self.stuck: dict[str, TaskSpec] = {}
        self.pace = Pace()

    # ---- taking -----------------------------------------------------------------------------

    def dispatch(self) -> None:
        """Give ready tasks to free slots."""
        self._unstick()
        while self.serving and self._dispatch_one():
            pass

    def _unstick(self) -> None:
        """Shapes that what became free is enough for are looked at again, no others: with many
        of them that wait, one look at each for each result would cost more than all the rest."""
        if self.stuck:
            for session in self.sessions.freed.values():
                for shape in [s for s, spec in self.stuck.items() if session.can_take(spec)]:
                    del self.stuck[shape]
        self.sessions.freed.clear()

    def _dispatch_one(self) -> bool:
        """Lease the first in order of the tasks that there is room for."""
        for task in self.ready.heads(self.stuck):
            session = self.sessions.roomiest(task.spec)
            if session is not None:
                self.ready.discard(task.id)
                self.take(session, task)
                return True
            if len(self.stuck) >= 2 * SHAPES:
                self.stuck.clear()
            self.stuck[task.spec.shape] = task.spec
        return False

    def take(self, session: Session, task: Candidate) -> None:
        run = (task.id, AttemptNo(task.attempt + 1))
        if run not in session.held:
            held = self.reserve(session, run, task, self._comm.wall_time())
            self._comm.spawn(self._lease(session, run, held, task))

    async def _lease(self, session: Session, run: Run, held: Held, task: Candidate) -> None:
        item = LeaseItem(
            id=task.id,
            attempt=task.attempt,
            lease=self.new_lease(session),
            at=held.started_at,
        )
        try:
            taken = await self._store.lease_if_queued(item)
        except KhalaError:
            # It may have landed: then the audit (R4) finds the lease and assigns it.
            taken = False
        if taken:
            self.pace.started(task.spec.shape, self._comm.now())
            self.confirm(session, run, held)
        else:
            self.unreserve(session, run, held)
            self.dispatch()

    def new_lease(self, session: Session) -> Lease:
        return Lease(
            executor=session.name, session=session.number, claim=mint_nonce(), by=self._name
        )

    def reserve(self, session: Session, run: Run, task: Candidate, started_at: datetime) -> Held:
        """Keep a slot for a lease that the store is being asked for."""
        now = self._comm.now()
        held = Held(task=task, seen_at=now, pending=True, reserved_at=now, started_at=started_at)
        return self.sessions.hold(session, run, held)

    def unreserve(self, session: Session, run: Run, held: Held) -> None:
        if session.held.get(run) is held:
            self.sessions.drop(session, run)

    def confirm(self, session: Session, run: Run, held: Held) -> None:
        """The store says that `session` has the lease: tell the executor."""
        if not self.sessions.is_current(session):
            # The session ended meanwhile; whoever ended it may have looked before we wrote.
            self._comm.spawn(self.returns.requeue(session, run, crash=False))
        elif session.held.get(run) is held:  # else it was cancelled before the answer was here
            held.pending = False
            held.seen_at = self._comm.now()
            if held.task is not None:
                self._assign(session, run, held.task)
                announce(self._comm, run, held.task, Progress.STARTING, session.name)

    # ---- assigning --------------------------------------------------------------------------

    def assign_overdue(self, session: Session) -> None:
        """Assign again what the executor should have shown and has not: it runs it, or has it,
        or says Dead."""
        now = self._comm.now()
        for run in session.overdue(now):
            held = session.held[run]
            held.seen_at = now
            if held.task is not None:
                self._assign(session, run, held.task)
            else:
                self._comm.spawn(self._assign_found(session, run, held))

    async def _assign_found(self, session: Session, run: Run, held: Held) -> None:
        """As above, for a lease that was found without its task."""
        if await self._learn(session, run, held) and held.task is not None:
            self._assign(session, run, held.task)

    async def learn(self, session: Session) -> None:
        """What those leases take up that were found without their tasks. Nothing that needs an
        amount is given to the session before; what fails is asked again at the next heartbeat."""
        for run, held in list(session.held.items()):
            if held.task is None and not held.finished:
                await self._learn(session, run, held)
        self.dispatch()

    async def _learn(self, session: Session, run: Run, held: Held) -> bool:
        """Whether it is known now what the lease is for, and the lease stands."""
        try:
            task = await self._store.get(run[0])
        except NotFound:
            self.unreserve(session, run, held)
            return False
        except KhalaError:
            return False
        if session.held.get(run) is not held:
            return False
        if task.attempt != run[1] or task.dispatch is not Dispatch.LEASED:
            self.sessions.drop(session, run)  # it ended between the audit's read and now
            return False
        if task.spec.needs > CAPABILITY:
            # A newer Judicator gave it; here it was read without what we do not know.
            self.give_back(session, run, crash=False)
            return False
        if held.task is None:
            self.sessions.learn(session, held, candidate_of(task))
        return True

    def _assign(self, session: Session, run: Run, task: Candidate) -> None:
        self.tell(session, Assign(session=session.number, run=run, spec=task.spec))

    def tell(self, session: Session, message: Assign | Kill | HeartbeatAck) -> None:
        """Send to the session's executor, if it is connected."""
        if session.conn is not None:
            self._comm.send(session.conn, message)

    # ---- taking back ------------------------------------------------------------------------

    def give_back(self, session: Session, run: Run, *, crash: bool) -> None:
        """The executor does not have it, and should not get it again at once."""
        self.sessions.drop(session, run)
        self.refusals.add(run[0], session.name, self._comm.now())
        self._comm.spawn(self.returns.requeue(session, run, crash=crash))
        self.dispatch()

    def return_waiting(self, session: Session, run: Run) -> None:
        """It waited in vain for a slot that was expected to be free: no more ahead for now."""
        self.sessions.drop(session, run)
        self.sessions.wait_no_more(session)
        self._comm.spawn(self.returns.requeue(session, run, crash=False))

    async def explain(self, session: Session, run: Run) -> None:
        """The executor has a run that no lease of ours explains: take it over if its number still
        stands (a lease that landed late, a session that was lost by mistake), else have it
        killed (a cancel whose Kill was lost or that another Judicator took)."""
        try:
            adopted = await self._store.adopt_if_attempt(run[0], run[1], self.new_lease(session))
            cancellation = None if adopted else await _cancellation_of(self._store, run)
        except KhalaError:
            return  # the next heartbeat shows it again
        if not self.sessions.is_current(session) or run in session.held:
            return
        if adopted:
            self.sessions.hold(session, run, Held(task=None, seen_at=self._comm.now()))
        else:
            self.kill(session, run, cancellation)

    def kill(self, session: Session, run: Run, cancellation: Cancellation | None) -> float:
        """How long what runs may take to end."""
        grace_s = (cancellation and cancellation.grace_s) or 0.0
        self.tell(session, Kill(session=session.number, run=run, grace_s=grace_s))
        return grace_s


async def _cancellation_of(store: Store, run: Run) -> Cancellation | None:
    """That its executor was not told of."""
    try:
        task = await store.get(run[0])
    except NotFound:
        return None
    ended = task.outcome if task.attempt == run[1] else None
    return ended.cancellation if ended else None
