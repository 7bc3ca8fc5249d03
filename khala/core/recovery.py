"""Sessions that begin, end, or are believed to stand when they do not.

Everything in here repairs: a Hello brings an executor's inventory in line with the store, expiry
gives the leases of a silent executor back, and two audits find what no message can show: the
owner's (R4: leases of its own sessions that landed late, sessions that another Judicator took
over) and the leader's (leases under sessions that are nobody's, executors whose Judicator died).
All of it is compare-and-set on (attempt, executor, session), so several Judicators may do it at
once, and a wrong suspicion costs a rerun, never a result.
"""

from __future__ import annotations

from collections.abc import Collection

from khala.core.dispatch import Dispatcher
from khala.core.ports import Conn
from khala.core.session import Held, Session
from khala.model.errors import KhalaError, OutcomeUnknown, Unavailable
from khala.model.executor import Owner, SessionState
from khala.model.ids import AttemptNo, ExecutorName, Incarnation, SessionNo, TaskId
from khala.model.limits import AUDIT_INTERVAL_S, REASSIGN_S, RECONNECT_GRACE_S, SESSION_TTL_S
from khala.model.statements import Lease, OpenedSession, OpenSession
from khala.protocol.executor import Abandon, Hello, NameInUse, Run, SessionLost, Welcome

#: Pause between tries of a statement that must not be given up (S6's followers, S9).
RETRY_S = 0.5


class Recovery:
    """The session life cycle of one Judicator's `Dispatcher`, and its audits."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._store = dispatcher.store
        self._comm = dispatcher.comm
        self._next_audit_at = 0.0
        self._opening: set[Conn] = set()
        #: What the leader saw wrong once; acted on when seen again.
        self._suspects: set[tuple[TaskId, AttemptNo, SessionNo]] = set()
        #: Owners missing from the registry, and since when (the leader's own clock: a new
        #: leader starts every clock anew).
        self._missing_since: dict[tuple[ExecutorName, SessionNo], float] = {}

    # ---- Hello ------------------------------------------------------------------------------

    def on_hello(self, conn: Conn, hello: Hello) -> None:
        """Open a session, unless a live process of another boot holds the name here."""
        current = self._dispatcher.sessions.get(hello.name)
        if current is not None and current.boot != hello.boot and current.conn is not None:
            if current.conn != conn:
                self._comm.send(conn, NameInUse(name=hello.name))
                self._comm.close(conn, "name in use")
                return
        if conn not in self._opening:
            self._opening.add(conn)
            self._comm.spawn(self._open(conn, hello))

    async def _open(self, conn: Conn, hello: Hello) -> None:
        try:
            await self._reconcile(conn, hello)
        except KhalaError:
            # The executor says Hello again; a session number may be skipped, never reused.
            self._comm.close(conn, "the session could not be opened")
        finally:
            self._opening.discard(conn)

    async def _reconcile(self, conn: Conn, hello: Hello) -> None:
        """S6, then S7 for everything the executor has, then S8 for everything it has not."""
        opened = await self._store.open_session(
            OpenSession(
                name=hello.name,
                boot=hello.boot,
                owner=Owner(
                    judicator=self._dispatcher.name, incarnation=self._dispatcher.incarnation
                ),
                slots=hello.slots,
                version=hello.version,
                enforcement=hello.enforcement,
            )
        )
        session = Session(
            name=hello.name,
            number=opened.session,
            boot=hello.boot,
            slots=hello.slots,
            last_seen_at=self._comm.now(),
            conn=conn,
        )
        kill: list[Run] = []
        for run in (*hello.running, *hello.spooled):
            if await self._adopt(session, run):
                session.held[run] = Held(
                    task=None, seen_at=self._comm.now(), finished=run in hello.spooled
                )
            elif run in hello.running:
                kill.append(run)
        await self._requeue_older(session, opened)
        self._install(conn, session, kill)

    async def _adopt(self, session: Session, run: Run) -> bool:
        lease = Lease(
            executor=session.name, session=session.number, claim="", by=self._dispatcher.name
        )
        while True:
            try:
                return await self._store.adopt_if_attempt(run[0], run[1], lease)
            except (OutcomeUnknown, Unavailable):
                await self._comm.sleep(RETRY_S)

    async def _requeue_older(self, session: Session, opened: OpenedSession) -> None:
        """Leases of earlier sessions that the executor did not show: requeue at once. They count
        as crashes only if its process died; the same boot simply never received them."""
        crash = opened.previous_boot is not None and opened.previous_boot != session.boot
        try:
            older = await self._store.leases_of(session.name, SessionNo(session.number - 1))
        except KhalaError:
            return  # the leader's audit finds them
        for lease in older:
            await self._dispatcher.requeue_lease(lease, crash=crash)

    def _install(self, conn: Conn, session: Session, kill: list[Run]) -> None:
        sessions = self._dispatcher.sessions
        current = sessions.get(session.name)
        if current is not None and current.number >= session.number:
            return  # a later Hello overtook this one
        sessions[session.name] = session
        self._comm.send(
            conn,
            Welcome(
                session=session.number,
                boot=session.boot,
                judicator=self._dispatcher.name,
                peers=self._comm.peers(),
                kill=kill,
            ),
        )
        if kill:
            self._comm.send(conn, Abandon(runs=kill))
        self._dispatcher.dispatch()

    # ---- expiry -----------------------------------------------------------------------------

    def on_tick(self) -> None:
        """Call about once a second."""
        now = self._comm.now()
        for session in list(self._dispatcher.sessions.values()):
            if now > session.expires_at():
                del self._dispatcher.sessions[session.name]
                self._comm.spawn(self.expire(session.name, session.number))
        if now >= self._next_audit_at:
            self._next_audit_at = now + AUDIT_INTERVAL_S
            if self._dispatcher.sessions:
                self._comm.spawn(self._audit_own())

    async def expire(self, name: ExecutorName, number: SessionNo) -> None:
        """S9, retried until the answer is known (given up, the Judicator and the store could
        disagree about the session for ever), then S8 for all its leases."""
        while True:
            try:
                await self._store.expire_session(name, number)
                leases = await self._store.leases_of(name, number)
                break
            except KhalaError:
                await self._comm.sleep(RETRY_S)
        for lease in leases:
            await self._dispatcher.requeue_lease(lease, crash=True)

    # ---- audits -----------------------------------------------------------------------------

    async def _audit_own(self) -> None:
        """R4. What the store says of my sessions wins over what I remember."""
        sessions = dict(self._dispatcher.sessions)
        try:
            view = await self._store.audit_own(list(sessions))
        except KhalaError:
            return
        for record in view.records:
            session = sessions.get(record.name)
            if session is None or self._dispatcher.sessions.get(record.name) is not session:
                continue
            stands = (
                record.session == session.number
                and record.state is SessionState.ONLINE
                and record.owner.incarnation == self._dispatcher.incarnation
            )
            if not stands:
                del self._dispatcher.sessions[record.name]
                if session.conn is not None:
                    self._comm.send(session.conn, SessionLost(session=session.number))
        now = self._comm.now()
        for lease in view.leases:
            session = self._dispatcher.sessions.get(lease.executor)
            run = (lease.id, lease.attempt)
            if session is not None and session.number == lease.session and run not in session.held:
                # Assigned at the next tick but one, unless an inventory shows it before.
                session.held[run] = Held(task=None, seen_at=now - REASSIGN_S + 1.0)

    async def lead_once(self, alive: Collection[Incarnation]) -> None:
        """One round of the leader's chores: expire sessions whose Judicator is gone, requeue
        leases under sessions that are nobody's. `alive` = incarnations in the registry."""
        await self._expire_orphaned(alive)
        try:
            bad = await self._store.audit_all()
        except KhalaError:
            return
        seen = {(lease.id, lease.attempt, lease.session) for lease in bad}
        for lease in bad:
            if (lease.id, lease.attempt, lease.session) in self._suspects:
                await self._dispatcher.requeue_lease(lease, crash=True)
        self._suspects = seen

    async def _expire_orphaned(self, alive: Collection[Incarnation]) -> None:
        try:
            records = await self._store.list_executors()
        except KhalaError:
            return
        now = self._comm.now()
        orphaned = {
            (record.name, record.session)
            for record in records
            if record.state is SessionState.ONLINE and record.owner.incarnation not in alive
        }
        self._missing_since = {key: self._missing_since.get(key, now) for key in orphaned}
        for (name, number), since in list(self._missing_since.items()):
            if now - since > SESSION_TTL_S + RECONNECT_GRACE_S:
                await self.expire(name, number)
