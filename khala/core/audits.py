"""Two audits that find what no message can show: disagreements with the store.

The owner's (R4) compares its own sessions and leases with the store's: a lease may have landed
after its write was given up, or have been ended by another Judicator. The leader's finds leases
under sessions that are nobody's, and executors whose Judicator died. Both act on what may be old
by the time they act; compare-and-set makes that cost a rerun at worst.
"""

from __future__ import annotations

from collections.abc import Collection

from khala.core.dispatch import Dispatcher
from khala.core.session import Held, Session
from khala.model.errors import KhalaError
from khala.model.executor import ExecutorRecord, SessionState
from khala.model.ids import AttemptNo, ExecutorName, Incarnation, SessionNo, TaskId
from khala.model.limits import REASSIGN_S, RECONNECT_GRACE_S, SESSION_TTL_S
from khala.model.statements import AuditView
from khala.protocol.executor import Run, SessionLost

#: What a session held, confirmed by the store, when an audit was sent.
Told = dict[ExecutorName, tuple[Session, dict[Run, Held]]]


class OwnersAudit:
    """The sessions of one Judicator against the store's."""

    def __init__(self, dispatcher: Dispatcher, unsure: dict[ExecutorName, float]) -> None:
        """`unsure` is the opening's: what an audit has settled is taken out of it."""
        self._incarnation = dispatcher.incarnation
        self._leasing = dispatcher.leasing
        self._sessions = dispatcher.sessions
        self._store = dispatcher.store
        self._comm = dispatcher.comm
        self._unsure = unsure

    async def look(self) -> None:
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
                # Another judicator may have been asked for it.
                self._sessions.set_cordon(session, record.cordon)
                continue
            conn = session.conn
            self._sessions.detach(session)
            if conn is not None:
                self._comm.send(conn, SessionLost(session=session.number))
            if mine:
                self._unsure[record.name] = self._comm.now()

    def _is_mine(self, record: ExecutorRecord) -> bool:
        return record.state is SessionState.ONLINE and record.owner.incarnation == self._incarnation

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
                self._comm.spawn(self._leasing.returns.expire(record.name, record.session))
        for name in due:
            del self._unsure[name]


class LeadersAudit:
    """All sessions and leases, looked at by whoever leads."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._returns = dispatcher.leasing.returns
        self._store = dispatcher.store
        self._comm = dispatcher.comm
        #: What was wrong once; acted on when seen again.
        self._suspects: set[tuple[TaskId, AttemptNo, SessionNo]] = set()
        #: Owners missing from the registry, and since when (the leader's own clock: a new
        #: leader starts every clock anew).
        self._missing_since: dict[tuple[ExecutorName, SessionNo], float] = {}

    async def look(self, alive: Collection[Incarnation]) -> None:
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
                await self._returns.requeue_lease(lease, crash=False)
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
                await self._returns.expire(name, number)
