"""Leases that go back into the queue, one at a time or all those of a session that is lost.

Every statement here is a compare-and-set on (attempt, executor, session), so several Judicators
may give the same lease back at once, and a wrong suspicion costs a rerun, never a result.
"""

from __future__ import annotations

from khala.core.facts import AttemptReturned
from khala.core.ports import Comm, Store
from khala.core.session import Session
from khala.model.errors import KhalaError
from khala.model.ids import ExecutorName, SessionNo
from khala.model.statements import HeldLease, RequeueItem, RequeueResult
from khala.protocol.executor import Run

#: Pause between tries of a statement that must not be given up (S6's followers, S9).
RETRY_S = 0.5


class Returns:
    """Gives leases back, and remembers that there is something to look for."""

    def __init__(self, store: Store, comm: Comm) -> None:
        self._store = store
        self._comm = comm
        #: Something was queued that is in nobody's `ready`; reset by the scan that looks for it.
        self.unscanned = False

    async def drain(self, session: Session, run: Run) -> bool:
        """Put it back because its executor is to be empty; False if nobody knows that it is."""
        return await self.requeue_lease(_lease_of(session, run), crash=False, drained=True)

    async def requeue(self, session: Session, run: Run, *, crash: bool) -> None:
        await self.requeue_lease(_lease_of(session, run), crash=crash)

    async def requeue_lease(self, lease: HeldLease, *, crash: bool, drained: bool = False) -> bool:
        """Put a lease back into the queue. What fails here (False) is found by the audits."""
        try:
            result = await self._store.requeue_if_leased_by(
                RequeueItem(
                    id=lease.id,
                    attempt=lease.attempt,
                    executor=lease.executor,
                    session=lease.session,
                    crash=crash,
                    drained=drained,
                )
            )
        except KhalaError:
            return False
        if result is not RequeueResult.STALE:
            self._comm.happened(AttemptReturned(crash=crash, drained=drained))
            self._comm.touched(lease.id)
            self.unscanned = True
        return True

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
            await self.requeue_lease(lease, crash=lost)


def _lease_of(session: Session, run: Run) -> HeldLease:
    return HeldLease(id=run[0], attempt=run[1], executor=session.name, session=session.number)
