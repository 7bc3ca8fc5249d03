"""The Judicator's reactor: submissions and executor messages in, leases and answers out.

Every Judicator dispatches to the executors attached to it; nobody else has to agree. Handlers are
plain functions on plain state, and what has to wait for the store is a flow that awaits nothing
but the ports, so the simulator can run both in virtual time and let any single statement fail,
succeed unseen, or land late.

Rules that the simulator shows to be load-bearing (numbers in docs/protocol.md): R3 held leases
are tracked until they end; R4 the owner's audit finds what no message can show; R5 results are
fenced by attempt; R6 a late result counts while its number stands.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

from khala.core.holding import Holding
from khala.core.keeping import Keeping
from khala.core.leasing import Leasing
from khala.core.news import announce
from khala.core.patching import Patching
from khala.core.ports import Comm, Conn, Store
from khala.core.ready import Ready
from khala.core.recent import Recent
from khala.core.results import Results
from khala.core.scanning import Scanning
from khala.core.session import Session
from khala.core.sessions import Sessions
from khala.model.errors import KhalaError
from khala.model.ids import AttemptNo, Incarnation, JudicatorName, TaskId
from khala.model.limits import LOSSES_MAX, REST_S
from khala.model.outcome import Cancellation
from khala.model.statements import (
    AcceptResult,
    CancelResult,
    Candidate,
    NewTask,
    ProgressItem,
)
from khala.model.task import Progress, TaskState
from khala.protocol.executor import (
    Dead,
    Finished,
    Heartbeat,
    HeartbeatAck,
    ProgressReport,
    Refused,
    Run,
    SessionLost,
)

SessionMessage = Heartbeat | Finished | ProgressReport | Dead | Refused


class Dispatcher:
    """What clients and executors say to one Judicator, and what follows."""

    def __init__(
        self, name: JudicatorName, incarnation: Incarnation, store: Store, comm: Comm
    ) -> None:
        self.name = name
        self.incarnation = incarnation
        self.store = store
        self.comm = comm
        self.leasing = Leasing(name, store, comm)
        self._scanning = Scanning(self.leasing, store, comm)
        self.holding = Holding(self.leasing, store, comm)
        self._keeping = Keeping(self.leasing, comm)
        self._results = Results(self.leasing, store, comm)
        self.patching = Patching(self.leasing, store, comm, self._results.recent)

    @property
    def sessions(self) -> Sessions:
        return self.leasing.sessions

    @property
    def ready(self) -> Ready:
        return self.leasing.ready

    @property
    def recent(self) -> Recent:
        return self._results.recent

    @property
    def free(self) -> int:
        """Slots that could start something now."""
        return self.leasing.sessions.free

    @property
    def serving(self) -> bool:
        """Majority-acknowledged writes succeed; set by the shell's pulse."""
        return self.leasing.serving

    @serving.setter
    def serving(self, serving: bool) -> None:
        self.leasing.serving = serving

    def dispatch(self) -> None:
        """Give ready tasks to free slots."""
        self.leasing.dispatch()

    def on_tick(self) -> None:
        """Call a few times a second."""
        self.holding.on_tick()
        self._keeping.on_tick()
        self._scanning.on_tick()
        self.leasing.pace.on_tick(self.comm.now(), self.ready.shapes)

    # ---- clients ----------------------------------------------------------------------------

    async def submit(self, task: NewTask) -> AcceptResult:
        """Make a task durable. With a free slot at hand it is inserted already leased, which
        saves a write; an answer that got lost leaves a lease that the audit (R4) finds."""
        # Every slot that is free has nothing to do: what waits now, needs what is not there.
        free = self.serving and task.hold is None and not self.ready.waits(task.spec.shape)
        session = self.sessions.roomiest(task.spec) if free else None
        if session is not None:
            return await self._submit_leased(task, session)
        result = await self.store.accept(task)
        if not result.replay:
            self.welcome(task)
        return result

    def welcome(self, task: NewTask) -> None:
        """It was inserted just now: tell of it, and give it to a free slot."""
        waiting = _candidate(task, task.attempts_before)
        announce(self.comm, (task.id, waiting.attempt), waiting, TaskState.QUEUED)
        if task.hold is None:
            self.ready.add(waiting)
            self.dispatch()

    async def _submit_leased(self, task: NewTask, session: Session) -> AcceptResult:
        run = (task.id, AttemptNo(1))
        leased = _candidate(task, AttemptNo(1))
        held = self.leasing.reserve(session, run, leased, task.submitted_at)
        try:
            result = await self.store.accept(
                NewTask(
                    id=task.id,
                    spec=task.spec,
                    submitted_at=task.submitted_at,
                    key=task.key,
                    fingerprint=task.fingerprint,
                    lease=self.leasing.new_lease(session),
                )
            )
        except BaseException:
            self.leasing.unreserve(session, run, held)
            raise
        if result.replay:
            self.leasing.unreserve(session, run, held)
        else:
            self.leasing.confirm(session, run, held)
        return result

    async def cancel(self, task: TaskId, cancellation: Cancellation | None = None) -> CancelResult:
        """End the task as cancelled for good; raise `NotFound` or `AlreadyDone`."""
        result = await self.store.cancel_if_open(task, cancellation)
        self.ready.discard(task)
        if result.before is not None and result.attempt is not None:
            session = self.sessions.get(result.before.executor)
            if session is not None and session.number == result.before.session:
                self._end(session, (task, result.attempt), cancellation)
        self.comm.changed(result.brief)
        self.dispatch()
        return result

    def _end(self, session: Session, run: Run, cancellation: Cancellation | None) -> None:
        held = session.held.get(run)
        self.sessions.drop(session, run)
        if self.leasing.kill(session, run, cancellation) and held and not held.finished:
            # Until a heartbeat says the same.
            amounts = Counter(session.ending_amounts) + Counter(held.amounts or {})
            self.sessions.set_ending(session, session.ending + 1, amounts)

    # ---- executors --------------------------------------------------------------------------

    def on_message(self, conn: Conn, message: SessionMessage) -> None:
        """Anything but Hello (see `khala.core.recovery`)."""
        session = self.sessions.speaking(conn, message.session)
        if session is None:
            if isinstance(message, Finished):
                # Results are fenced by attempt alone; refusing one here would only cost a rerun.
                self._results.on_finished(conn, None, message)
            else:
                self.comm.send(conn, SessionLost(session=message.session))
            return
        session.last_seen_at = self.comm.now()
        match message:
            case Heartbeat():
                self._on_heartbeat(session, message)
            case Finished():
                self._results.on_finished(conn, session, message)
            case ProgressReport():
                self._on_progress(session, message)
            case Dead():
                self._on_dead(session, message)
            case Refused() if message.waited:
                self.leasing.return_waiting(session, message.run)
            case Refused():
                self.leasing.give_back(session, message.run, crash=False)

    def on_closed(self, conn: Conn) -> None:
        """The socket is gone; the session lives on for a grace period."""
        self.sessions.close(conn, self.comm.now())

    def _on_heartbeat(self, session: Session, message: Heartbeat) -> None:
        now = self.comm.now()
        for run in (*message.running, *message.spooled):
            if (held := session.held.get(run)) is not None:
                held.seen_at = now
        strays = {run for run in message.running if run not in session.held}
        for run in sorted(strays & session.strays):
            self.comm.spawn(self.leasing.explain(session, run))
        session.strays = strays
        session.cache = message.cache
        self.sessions.set_ending(session, message.ending, message.ending_amounts)
        self.sessions.set_accepts(session, message.accepts and now >= session.rests_until)
        self.leasing.tell(
            session,
            HeartbeatAck(
                session=session.number,
                seq=message.seq,
                serving=self.serving,
                peers=self.comm.peers(),
            ),
        )
        self.leasing.assign_overdue(session)
        if session.unknown:
            self.comm.spawn(self.leasing.learn(session))
        self.dispatch()

    def _on_dead(self, session: Session, message: Dead) -> None:
        session.losses += 1
        if session.losses >= LOSSES_MAX:
            session.rests_until = self.comm.now() + REST_S
            self.sessions.set_accepts(session, False)
        self.leasing.give_back(session, message.run, crash=True)

    def _on_progress(self, session: Session, message: ProgressReport) -> None:
        held = session.held.get(message.run)
        if held is None or held.finished:
            return
        held.seen_at = self.comm.now()
        if held.task is not None:
            announce(self.comm, message.run, held.task, message.progress, session.name)
        self.comm.spawn(self._record_progress(message.run, message.progress))

    async def _record_progress(self, run: Run, progress: Progress) -> None:
        # Advisory: where it fails, the next report or the result replaces it.
        with suppress(KhalaError):
            await self.store.progress_if_leased(
                ProgressItem(id=run[0], attempt=run[1], progress=progress)
            )


def _candidate(task: NewTask, attempt: AttemptNo) -> Candidate:
    return Candidate(
        id=task.id,
        attempt=attempt,
        crashes=0,
        spec=task.spec,
        submitted_at=task.submitted_at,
        keyed=task.key is not None,
    )
