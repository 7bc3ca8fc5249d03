"""The Judicator's reactor: submissions and executor messages in, leases and answers out.

Every Judicator dispatches to the executors attached to it; nobody else has to agree. What makes
that safe is the store, not this module: a lease is a compare-and-set that increments the attempt,
a result counts only for the attempt it belongs to. This module may therefore forget everything
at any moment (a restart does) and may act on stale knowledge; it costs a rerun at worst.

Handlers are plain functions on plain state. What has to wait for the store is a *flow*, a
coroutine that awaits nothing but the ports, so the simulator can run it in virtual time and let
any single statement fail, succeed unseen, or land late.

Rules that the simulator shows to be load-bearing (numbers as in docs/protocol.md):
R3 held leases are tracked until they end; R4 the owner's audit finds leases that landed late;
R5 results are fenced by attempt; R6 a late result counts while its number stands.
"""

from __future__ import annotations

from khala.core.ports import Comm, Conn, Store
from khala.core.ready import Ready
from khala.core.session import Held, Session
from khala.model.errors import KhalaError
from khala.model.ids import AttemptNo, ExecutorName, Incarnation, JudicatorName, TaskId, mint_nonce
from khala.model.limits import SCAN_INTERVAL_S, STRANGER_AGE_S
from khala.model.statements import (
    AcceptResult,
    CancelResult,
    Candidate,
    FinishItem,
    FinishResult,
    HeldLease,
    Lease,
    LeaseItem,
    NewTask,
    ProgressItem,
    RequeueItem,
    RequeueResult,
)
from khala.model.task import Outcome, Progress, TaskBrief, TaskState
from khala.protocol.executor import (
    Abandon,
    Assign,
    Dead,
    Finished,
    Goodbye,
    Heartbeat,
    HeartbeatAck,
    Kill,
    ProgressReport,
    Recorded,
    Refused,
    Run,
    SessionLost,
)

SessionMessage = Heartbeat | Finished | ProgressReport | Dead | Refused | Goodbye


class Dispatcher:
    """Sessions, held leases and the ready queue of one Judicator."""

    def __init__(
        self, name: JudicatorName, incarnation: Incarnation, store: Store, comm: Comm
    ) -> None:
        self.name = name
        self.incarnation = incarnation
        self.store = store
        self.comm = comm
        #: Majority-acknowledged writes succeed; set by the shell's pulse.
        self.serving = True
        self.sessions: dict[ExecutorName, Session] = {}
        self.ready = Ready()
        self._finishing: set[Run] = set()
        self._next_scan_at = 0.0
        self._scanning = False

    # ---- submissions ------------------------------------------------------------------------

    async def submit(self, task: NewTask) -> AcceptResult:
        """Make a task durable. With a free slot at hand it is inserted already leased, which
        saves a write; an answer that got lost leaves a lease that the audit (R4) finds."""
        session = self._roomiest() if self.serving and not self.ready else None
        if session is None:
            result = await self.store.accept(task)
            if not result.replay:
                self.ready.add(_candidate(task, AttemptNo(0)))
                self.dispatch()
            return result
        run = (task.id, AttemptNo(1))
        held = self._hold(session, run, _candidate(task, AttemptNo(1)))
        try:
            result = await self.store.accept(
                NewTask(
                    id=task.id,
                    spec=task.spec,
                    submitted_at=task.submitted_at,
                    key=task.key,
                    fingerprint=task.fingerprint,
                    lease=self._lease(session),
                )
            )
        except BaseException:
            self._drop(session, run)
            raise
        if result.replay:
            self._drop(session, run)
        else:
            self._leased(session, run, held)
        return result

    async def cancel(self, task: TaskId) -> CancelResult:
        """End the task as cancelled for good; raise `NotFound` or `AlreadyDone`."""
        result = await self.store.cancel_if_open(task)
        self.ready.discard(task)
        if result.before is not None:
            session = self.sessions.get(result.before.executor)
            run = (task, result.brief.attempt)
            if session is not None and session.number == result.before.session:
                self._drop(session, run)
                self._send(session, Kill(session=session.number, run=run))
        self.comm.changed(result.brief)
        self.dispatch()
        return result

    # ---- executor messages ------------------------------------------------------------------

    def on_message(self, conn: Conn, message: SessionMessage) -> None:
        """Anything but Hello (see `khala.core.recovery`)."""
        session = self.session_of(conn, message.session)
        if session is None:
            if isinstance(message, Finished):
                # Results are fenced by attempt alone; refusing one here would only cost a rerun.
                self._on_finished(conn, None, message)
            else:
                self.comm.send(conn, SessionLost(session=message.session))
            return
        session.last_seen_at = self.comm.now()
        match message:
            case Heartbeat():
                self._on_heartbeat(session, message)
            case Finished():
                self._on_finished(conn, session, message)
            case ProgressReport():
                self._on_progress(session, message)
            case Dead():
                self._give_back(session, message.run, crash=True)
            case Refused():
                self._give_back(session, message.run, crash=False)
            case Goodbye():
                session.draining = True

    def on_closed(self, conn: Conn) -> None:
        """The socket is gone; the session lives on for a grace period."""
        for session in self.sessions.values():
            if session.conn == conn:
                session.conn = None
                session.closed_at = self.comm.now()

    def session_of(self, conn: Conn, number: int) -> Session | None:
        for session in self.sessions.values():
            if session.conn == conn and session.number == number:
                return session
        return None

    def _on_heartbeat(self, session: Session, message: Heartbeat) -> None:
        now = self.comm.now()
        strays: set[Run] = set()
        for run in message.running:
            held = session.held.get(run)
            if held is not None:
                held.seen_at = now
            else:
                strays.add(run)
        for run in message.spooled:
            if run in session.held:
                session.held[run].seen_at = now
        for run in strays & session.strays:
            self.comm.spawn(self._explain(session, run))
        session.strays = strays
        session.accepts_work = message.free > 0 or bool(message.running)
        self._send(
            session,
            HeartbeatAck(
                session=session.number,
                seq=message.seq,
                serving=self.serving,
                peers=self.comm.peers(),
            ),
        )
        self._assign_overdue(session, now)
        self.dispatch()

    def _on_finished(self, conn: Conn, session: Session | None, message: Finished) -> None:
        if message.run in self._finishing:
            return
        if session is not None and (held := session.held.get(message.run)) is not None:
            held.finished = True
            held.seen_at = self.comm.now()
        self._finishing.add(message.run)
        self.comm.spawn(self._finish(conn, session, message))
        self.dispatch()

    def _on_progress(self, session: Session, message: ProgressReport) -> None:
        held = session.held.get(message.run)
        if held is None or held.finished:
            return
        held.seen_at = self.comm.now()
        if held.task is not None:
            self._announce(message.run, held.task, message.progress, session.name)
        self.comm.spawn(self._record_progress(message.run, message.progress))

    # ---- dispatch ---------------------------------------------------------------------------

    def dispatch(self) -> None:
        """Give ready tasks to free slots."""
        if not self.serving:
            return
        while self.ready and (session := self._roomiest()) is not None:
            task = self.ready.pop()
            if task is None:
                return
            self._spawn_lease(session, task)

    def on_tick(self) -> None:
        """Call a few times a second: scans for tasks of other Judicators, repeats assignments."""
        now = self.comm.now()
        for session in self.sessions.values():
            self._assign_overdue(session, now)
        self.dispatch()
        if now >= self._next_scan_at and not self._scanning and self.serving and self.free > 0:
            self._scanning = True
            self._next_scan_at = now + SCAN_INTERVAL_S
            self.comm.spawn(self._scan())

    @property
    def free(self) -> int:
        return sum(session.free for session in self.sessions.values())

    def _roomiest(self) -> Session | None:
        """The session with the most free slots, so that load spreads over hosts."""
        best: Session | None = None
        room = 0
        for session in self.sessions.values():
            if (free := session.free) > room:
                best, room = session, free
        return best

    async def _scan(self) -> None:
        try:
            wanted = self.free
            found = await self.store.find_queued(2 * wanted, STRANGER_AGE_S)
            # Two Judicators read the same head of the queue: a random pick makes them collide
            # on few documents instead of all.
            self.comm.shuffle(found)
            for task in found[:wanted]:
                session = self._roomiest()
                if session is not None and task.id not in self.ready:
                    self._spawn_lease(session, task)
        except KhalaError:
            pass  # the next scan is SCAN_INTERVAL_S away
        finally:
            self._scanning = False

    def _spawn_lease(self, session: Session, task: Candidate) -> None:
        attempt = AttemptNo(task.attempt + 1)
        run = (task.id, attempt)
        if run in session.held:
            return
        held = self._hold(session, run, task)
        self.comm.spawn(self._take_lease(session, run, held, task))

    async def _take_lease(self, session: Session, run: Run, held: Held, task: Candidate) -> None:
        item = LeaseItem(id=task.id, attempt=task.attempt, lease=self._lease(session))
        try:
            taken = await self.store.lease_if_queued(item)
        except KhalaError:
            # It may have landed: then the audit (R4) finds the lease and assigns it.
            taken = False
        if taken:
            self._leased(session, run, held)
        else:
            self._drop(session, run)
            self.dispatch()

    def _leased(self, session: Session, run: Run, held: Held) -> None:
        """The store says that this session holds the lease: tell the executor."""
        held.pending = False
        held.seen_at = self.comm.now()
        if self.sessions.get(session.name) is not session:
            # The session ended meanwhile; whoever ended it may have looked before we wrote.
            self.comm.spawn(self.requeue(session, run, crash=False))
            return
        if held.task is not None:
            self._assign(session, run, held.task)
            self._announce(run, held.task, Progress.STARTING, session.name)

    def _assign_overdue(self, session: Session, now: float) -> None:
        if session.conn is None:
            return
        unknown: list[Run] = []
        for run in session.overdue(now):
            held = session.held[run]
            held.seen_at = now
            if held.task is None:
                unknown.append(run)
            else:
                self._assign(session, run, held.task)
        if unknown:
            self.comm.spawn(self._assign_unknown(session, unknown))

    async def _assign_unknown(self, session: Session, runs: list[Run]) -> None:
        try:
            for run in runs:
                task = await self.store.get(run[0])
                held = session.held.get(run)
                if held is not None and task.attempt == run[1]:
                    held.task = Candidate(
                        id=task.id,
                        attempt=task.attempt,
                        crashes=task.crashes,
                        spec=task.spec,
                        submitted_at=task.submitted_at,
                    )
                    self._assign(session, run, held.task)
        except KhalaError:
            return  # still overdue at a later tick

    def _assign(self, session: Session, run: Run, task: Candidate) -> None:
        self._send(session, Assign(session=session.number, run=run, spec=task.spec))

    # ---- ends -------------------------------------------------------------------------------

    async def _finish(self, conn: Conn, session: Session | None, message: Finished) -> None:
        run = message.run
        try:
            item = FinishItem(id=run[0], attempt=run[1], outcome=message.outcome)
            result = await self.store.finish_if_attempt(item)
        except KhalaError:
            return  # the executor repeats Finished with every heartbeat
        finally:
            self._finishing.discard(run)
        held = session.held.pop(run, None) if session is not None else None
        if result is FinishResult.STALE:
            self.comm.send(conn, Abandon(runs=[run]))
        else:
            self.comm.send(conn, Recorded(runs=[run]))
            if held is not None and held.task is not None:
                self._announce(run, held.task, message.outcome)
            else:
                self.comm.touched(run[0])
        self.dispatch()

    async def _record_progress(self, run: Run, progress: Progress) -> None:
        try:
            await self.store.progress_if_leased(
                ProgressItem(id=run[0], attempt=run[1], progress=progress)
            )
        except KhalaError:
            pass  # advisory: the next report or the result replaces it

    async def _explain(self, session: Session, run: Run) -> None:
        """A run that no lease of ours explains: take it over if its number still stands
        (a lease that landed late), else have it killed (a cancel whose Kill was lost)."""
        try:
            adopted = await self.store.adopt_if_attempt(run[0], run[1], self._lease(session))
        except KhalaError:
            return
        if self.sessions.get(session.name) is not session:
            return
        if adopted:
            session.held.setdefault(run, Held(task=None, seen_at=self.comm.now()))
        elif run not in session.held:
            self._send(session, Kill(session=session.number, run=run))

    def _give_back(self, session: Session, run: Run, *, crash: bool) -> None:
        self._drop(session, run)
        self.comm.spawn(self.requeue(session, run, crash=crash))

    async def requeue(self, session: Session, run: Run, *, crash: bool) -> None:
        """Put a lease of `session` back; what fails here is found by the audits."""
        lease = HeldLease(id=run[0], attempt=run[1], executor=session.name, session=session.number)
        await self.requeue_lease(lease, crash=crash)

    async def requeue_lease(self, lease: HeldLease, *, crash: bool) -> None:
        try:
            result = await self.store.requeue_if_leased_by(
                RequeueItem(
                    id=lease.id,
                    attempt=lease.attempt,
                    executor=lease.executor,
                    session=lease.session,
                    crash=crash,
                )
            )
        except KhalaError:
            return
        if result is not RequeueResult.STALE:
            self.comm.touched(lease.id)
            self._next_scan_at = 0.0

    # ---- small parts ------------------------------------------------------------------------

    def _lease(self, session: Session) -> Lease:
        return Lease(
            executor=session.name, session=session.number, claim=mint_nonce(), by=self.name
        )

    def _hold(self, session: Session, run: Run, task: Candidate) -> Held:
        held = Held(task=task, seen_at=self.comm.now(), pending=True)
        session.held[run] = held
        return held

    def _drop(self, session: Session, run: Run) -> None:
        session.held.pop(run, None)

    def _send(self, session: Session, message: HeartbeatAck | Assign | Kill) -> None:
        if session.conn is not None:
            self.comm.send(session.conn, message)

    def _announce(
        self,
        run: Run,
        task: Candidate,
        now_is: Progress | Outcome,
        executor: ExecutorName | None = None,
    ) -> None:
        outcome = now_is if isinstance(now_is, Outcome) else None
        self.comm.changed(
            TaskBrief(
                id=task.id,
                user=task.spec.user,
                state=TaskState(now_is.ending if isinstance(now_is, Outcome) else now_is),
                attempt=run[1],
                submitted_at=task.submitted_at,
                updated_at=self.comm.wall_time(),
                executor=executor,
                stage=outcome.stage if outcome else None,
                reason=outcome.reason if outcome else None,
            )
        )


def _candidate(task: NewTask, attempt: AttemptNo) -> Candidate:
    return Candidate(
        id=task.id, attempt=attempt, crashes=0, spec=task.spec, submitted_at=task.submitted_at
    )
