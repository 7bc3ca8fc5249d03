"""Sessions that begin, end, or are believed to stand when they do not.

Everything in here repairs: a Hello brings an executor's inventory in line with the store, expiry
gives the leases of a silent executor back, and two audits find what no message can show: the
owner's (R4: its own sessions and leases as the store has them) and the leader's (leases under
sessions that are nobody's, executors whose Judicator died). All of it is compare-and-set on
(attempt, executor, session), so several Judicators may do it at once, and a wrong suspicion costs
a rerun, never a result.
"""

from __future__ import annotations

from collections.abc import Collection

from khala.core.dispatch import Dispatcher
from khala.core.ports import Conn
from khala.core.session import Held, Session
from khala.model.errors import KhalaError, OutcomeUnknown, Unavailable
from khala.model.executor import ExecutorRecord, Owner, SessionState
from khala.model.ids import AttemptNo, BootId, ExecutorName, Incarnation, SessionNo, TaskId
from khala.model.limits import (
    AUDIT_INTERVAL_S,
    HEARTBEAT_S,
    REASSIGN_S,
    RECONNECT_GRACE_S,
    SESSION_TTL_S,
)
from khala.model.statements import AuditView, OpenedSession, OpenSession
from khala.protocol.executor import Hello, NameInUse, Run, SessionLost, Welcome

#: Pause between tries of a statement that must not be given up (S6's followers, S9).
RETRY_S = 0.5

#: What a session held, confirmed by the store, when an audit was sent.
Told = dict[ExecutorName, tuple[Session, dict[Run, Held]]]


class Recovery:
    """The session life cycle of one Judicator's `Dispatcher`, and its audits."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._leasing = dispatcher.leasing
        self._sessions = dispatcher.sessions
        self._store = dispatcher.store
        self._comm = dispatcher.comm
        self._ticked_at = dispatcher.comm.now()
        self._next_audit_at = 0.0
        #: Names whose session may have been opened without our knowing, and since when.
        self._unsure: dict[ExecutorName, float] = {}
        #: What the leader saw wrong once; acted on when seen again.
        self._suspects: set[tuple[TaskId, AttemptNo, SessionNo]] = set()
        #: Owners missing from the registry, and since when (the leader's own clock: a new
        #: leader starts every clock anew).
        self._missing_since: dict[tuple[ExecutorName, SessionNo], float] = {}

    # ---- Hello ------------------------------------------------------------------------------

    def on_hello(self, conn: Conn, hello: Hello) -> None:
        """Open a session, unless a live process of another boot holds the name here."""
        if conn in self._sessions.greeting or self._sessions.at(conn) is not None:
            return
        current = self._sessions.get(hello.name)
        if current is not None and current.boot != hello.boot and current.conn is not None:
            self._comm.send(conn, NameInUse(name=hello.name))
            self._comm.close(conn, "name in use")
            return
        self._sessions.greeting[conn] = hello.name
        self._comm.spawn(self._open(conn, hello))

    async def _open(self, conn: Conn, hello: Hello) -> None:
        try:
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
        except KhalaError:
            # The executor says Hello again; a session number may be skipped, never reused.
            self._sessions.greeting.pop(conn, None)
            self._unsure[hello.name] = self._comm.now()
            self._comm.close(conn, "the session could not be opened")
            return
        await self._reconcile(conn, hello, opened)
        self._sessions.greeting.pop(conn, None)

    async def _reconcile(self, conn: Conn, hello: Hello, opened: OpenedSession) -> None:
        """S7 for everything the executor runs, S8 for everything it has not, then Welcome.

        Spooled results come after it: there may be a thousand, their leases can wait for the
        Finished that follows, and an executor does not wait for ever."""
        earlier = self._sessions.get(hello.name)
        if earlier is not None and earlier.number < opened.session:
            # From here on its leases in flight find it gone and give themselves back.
            self._sessions.detach(earlier)
        session = Session(
            name=hello.name,
            number=opened.session,
            boot=hello.boot,
            slots=hello.slots,
            last_seen_at=self._comm.now(),
            conn=None,
        )
        kill = [run for run in hello.running if not await self._adopt(conn, session, run)]
        await self._requeue_older(session, opened.previous_boot, set(hello.spooled))
        if self._install(conn, session, kill):
            for run in hello.spooled:
                await self._adopt_spooled(session, run)

    async def _adopt(self, conn: Conn, session: Session, run: Run) -> bool:
        """S7, repeated while the executor waits for it."""
        lease = self._leasing.new_lease(session)
        while True:
            try:
                adopted = await self._store.adopt_if_attempt(run[0], run[1], lease)
                break
            except (OutcomeUnknown, Unavailable):
                if conn not in self._sessions.greeting:
                    return False  # nobody will hear it; the audits see to the lease
                await self._comm.sleep(RETRY_S)
        if adopted:
            self._sessions.hold(session, run, Held(task=None, seen_at=self._comm.now()))
        return adopted

    async def _adopt_spooled(self, session: Session, run: Run) -> None:
        """Keep the lease of a result that is on its way from being taken for nobody's."""
        try:
            lease = self._leasing.new_lease(session)
            adopted = await self._store.adopt_if_attempt(run[0], run[1], lease)
        except KhalaError:
            return  # a rerun, if the leader's audit comes before the result
        if adopted and run not in session.held:
            held = Held(task=None, seen_at=self._comm.now(), finished=True)
            self._sessions.hold(session, run, held)

    async def _requeue_older(
        self, session: Session, previous_boot: BootId | None, spooled: Collection[Run]
    ) -> None:
        """Leases of earlier sessions that the executor did not show: requeue at once. They count
        as crashes only if its process died; the same boot simply never received them."""
        crash = previous_boot is not None and previous_boot != session.boot
        try:
            older = await self._store.leases_of(session.name, SessionNo(session.number - 1))
        except KhalaError:
            return  # the leader's audit finds them
        for lease in older:
            if (lease.id, lease.attempt) not in spooled:
                await self._leasing.requeue_lease(lease, crash=crash)

    def _install(self, conn: Conn, session: Session, kill: list[Run]) -> bool:
        """Make it the current session; False if a later Hello overtook it."""
        current = self._sessions.get(session.name)
        if current is not None and current.number >= session.number:
            return False
        session.last_seen_at = self._comm.now()
        if conn in self._sessions.greeting:
            session.conn = conn
        else:
            session.closed_at = session.last_seen_at  # so that somebody expires it
        self._sessions.attach(session)
        self._unsure.pop(session.name, None)
        if session.conn is not None:
            self._comm.send(
                session.conn,
                Welcome(
                    session=session.number,
                    boot=session.boot,
                    judicator=self._dispatcher.name,
                    peers=self._comm.peers(),
                    kill=kill,
                ),
            )
        self._leasing.dispatch()
        return True

    # ---- expiry -----------------------------------------------------------------------------

    def on_tick(self) -> None:
        """Call about once a second."""
        now = self._comm.now()
        if now - self._ticked_at > HEARTBEAT_S:
            # This process stood still; what the executors said meanwhile is still to be read.
            self._sessions.forgive(now - self._ticked_at)
        self._ticked_at = now
        for session in list(self._sessions.values()):
            if now > session.expires_at():
                self._sessions.detach(session)
                self._comm.spawn(self.expire(session.name, session.number))
        if now >= self._next_audit_at:
            self._next_audit_at = now + AUDIT_INTERVAL_S
            if self._sessions or self._unsure:
                self._comm.spawn(self._audit_own())

    async def expire(self, name: ExecutorName, number: SessionNo) -> None:
        """S9, retried until the answer is known (given up, the Judicator and the store could
        disagree about the session for ever), then S8 for all its leases. They count as crashes
        unless a later session shows that the executor is alive."""
        while True:
            try:
                lost = await self._store.expire_session(name, number)
                leases = await self._store.leases_of(name, number)
                break
            except KhalaError:
                await self._comm.sleep(RETRY_S)
        for lease in leases:
            await self._leasing.requeue_lease(lease, crash=lost)

    # ---- the owner's audit ------------------------------------------------------------------

    async def _audit_own(self) -> None:
        """R4. What the store says of my sessions wins over what I remember."""
        told: Told = {
            session.name: (session, {r: h for r, h in session.held.items() if not h.pending})
            for session in self._sessions.values()
        }
        try:
            view = await self._store.audit_own([*told, *self._unsure])
        except KhalaError:
            return
        self._drop_superseded(view, told)
        self._hold_found(view)
        self._drop_ended(view, told)
        self._expire_unknown(view)

    def _drop_superseded(self, view: AuditView, told: Told) -> None:
        """Sessions that are lost, or another Judicator's, or have a successor."""
        for record in view.records:
            session = told[record.name][0] if record.name in told else None
            if session is None or not self._sessions.is_current(session):
                continue
            mine = self._is_mine(record)
            if mine and record.session == session.number:
                continue
            conn = session.conn
            self._sessions.detach(session)
            if conn is not None:
                self._comm.send(conn, SessionLost(session=session.number))
            if mine:
                self._unsure[record.name] = self._comm.now()

    def _is_mine(self, record: ExecutorRecord) -> bool:
        return (
            record.state is SessionState.ONLINE
            and record.owner.incarnation == self._dispatcher.incarnation
        )

    def _hold_found(self, view: AuditView) -> None:
        """Leases that landed after their write was given up."""
        for lease in view.leases:
            session = self._sessions.get(lease.executor)
            run = (lease.id, lease.attempt)
            if session is not None and session.number == lease.session and run not in session.held:
                # Assigned a second from now, unless an inventory shows it before.
                seen_at = self._comm.now() - REASSIGN_S + 1.0
                self._sessions.hold(session, run, Held(task=None, seen_at=seen_at))

    def _drop_ended(self, view: AuditView, told: Told) -> None:
        """Leases that ended without us: a cancel or a requeue by another Judicator."""
        standing = {(lease.id, lease.attempt, lease.session) for lease in view.leases}
        for session, held_then in told.values():
            if not self._sessions.is_current(session):
                continue
            for run, held in held_then.items():
                if (*run, session.number) in standing or session.held.get(run) is not held:
                    continue
                self._sessions.drop(session, run)
                if not held.finished:
                    self._comm.spawn(self._leasing.explain(session, run))

    def _expire_unknown(self, view: AuditView) -> None:
        """Sessions that were opened unseen, and whose executor did not come back."""
        now = self._comm.now()
        due = {name for name, at in self._unsure.items() if now - at > RECONNECT_GRACE_S}
        for record in view.records:
            if (
                record.name in due
                and self._is_mine(record)
                and self._sessions.get(record.name) is None
                and record.name not in self._sessions.greeting.values()
            ):
                self._comm.spawn(self.expire(record.name, record.session))
        self._unsure = {name: at for name, at in self._unsure.items() if name not in due}

    # ---- the leader's audit -----------------------------------------------------------------

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
                # Whoever lost an executor has counted the crash; this one landed late.
                await self._leasing.requeue_lease(lease, crash=False)
        self._suspects = seen

    async def _expire_orphaned(self, alive: Collection[Incarnation]) -> None:
        try:
            records = await self._store.list_executors()
        except KhalaError:
            return
        now = self._comm.now()
        self._missing_since = {
            (record.name, record.session): self._missing_since.get(
                (record.name, record.session), now
            )
            for record in records
            if record.state is SessionState.ONLINE and record.owner.incarnation not in alive
        }
        for (name, number), since in list(self._missing_since.items()):
            if now - since > SESSION_TTL_S + RECONNECT_GRACE_S:
                await self.expire(name, number)
