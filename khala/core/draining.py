"""Executors that are to be empty: at the deadline what still runs there runs elsewhere.

The store is told before the executor. In the other order a task whose requeue fails would run
nowhere and be nobody's until an audit finds it, and count as a crash that it is not. A result that
comes between the two is the task's: its number has not moved yet.
"""

from __future__ import annotations

from khala.core.dispatch import Dispatcher
from khala.core.session import Held, Session
from khala.protocol.executor import Kill, Run


class Draining:
    """Looks at the sessions that are cordoned with a deadline."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._sessions = dispatcher.sessions
        self._leasing = dispatcher.leasing
        self._comm = dispatcher.comm
        #: Under way to the store.
        self._moving: set[Run] = set()

    def on_tick(self) -> None:
        for session in self._sessions.values():
            cordon = session.cordon
            if cordon is None or cordon.deadline is None or session.conn is None:
                continue  # one that is away has its leases taken back when it expires
            if self._comm.wall_time() >= cordon.deadline:
                for run, held in session.held.items():
                    if not (held.pending or held.finished or run in self._moving):
                        self._moving.add(run)
                        self._comm.spawn(self._move(session, run, held))

    async def _move(self, session: Session, run: Run, held: Held) -> None:
        try:
            if not await self._leasing.returns.drain(session, run):
                return  # the next tick tries again
        finally:
            self._moving.discard(run)
        if session.held.get(run) is held:
            self._sessions.drop(session, run)
            self._leasing.tell(session, Kill(session=session.number, run=run))
            self._leasing.dispatch()
