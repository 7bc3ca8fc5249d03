"""Sessions that begin, end, or are believed to stand when they do not.

Everything in here repairs: a Hello opens a session (`khala.core.opening`), expiry gives the leases
of a silent executor back, and two audits (`khala.core.audits`) find what no message can show. All
of it is compare-and-set on (attempt, executor, session), so several Judicators may do it at once,
and a wrong suspicion costs a rerun, never a result.
"""

from __future__ import annotations

from collections.abc import Collection

from khala.core.audits import LeadersAudit, OwnersAudit
from khala.core.dispatch import Dispatcher
from khala.core.draining import Draining
from khala.core.opening import Opening
from khala.core.ports import Conn
from khala.model.ids import ExecutorName, Incarnation, SessionNo
from khala.model.limits import AUDIT_INTERVAL_S, HEARTBEAT_S
from khala.protocol.executor import Hello


class Recovery:
    """The session life cycle of one Judicator's `Dispatcher`, and its audits."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._sessions = dispatcher.sessions
        self._comm = dispatcher.comm
        self._returns = dispatcher.leasing.returns
        self._opening = Opening(dispatcher)
        self._own_audit = OwnersAudit(dispatcher, self._opening.unsure)
        self._leaders_audit = LeadersAudit(dispatcher)
        self._draining = Draining(dispatcher)
        self._ticked_at = dispatcher.comm.now()
        self._next_audit_at = 0.0

    def on_hello(self, conn: Conn, hello: Hello) -> None:
        """Open a session, unless a live process of another boot holds the name here."""
        self._opening.on_hello(conn, hello)

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
        self._draining.on_tick()
        if now >= self._next_audit_at:
            self._next_audit_at = now + AUDIT_INTERVAL_S
            if self._sessions or self._opening.unsure:
                self._comm.spawn(self._own_audit.look())

    async def expire(self, name: ExecutorName, number: SessionNo) -> None:
        """End a session for good, however long it takes, and give its leases back."""
        await self._returns.expire(name, number)

    async def lead_once(self, alive: Collection[Incarnation]) -> None:
        """One round of the leader's chores: expire sessions whose Judicator is gone, requeue
        leases under sessions that are nobody's. `alive` = incarnations in the registry."""
        await self._leaders_audit.look(alive)
