"""Results on their way into the store, and what the executor is told of each.

A result is fenced by its attempt alone (R5) and counts while its number stands (R6), whoever holds
the lease by now; refusing one for any other reason would only cost a rerun. An executor repeats
what was not answered, so a result that could not be written is simply dropped here.
"""

from __future__ import annotations

from datetime import datetime

from khala.core.facts import AttemptRecorded, AttemptRetried
from khala.core.leasing import Leasing
from khala.core.news import announce
from khala.core.ports import Comm, Conn, Store
from khala.core.recent import Recent
from khala.core.retrying import Retrying
from khala.core.session import Held, Session
from khala.model.errors import KhalaError
from khala.model.outcome import Outcome
from khala.model.statements import FinishItem, FinishResult
from khala.protocol.executor import Abandon, Finished, Recorded, Run


class Results:
    """Records what executors finished, each at most once at a time."""

    def __init__(self, leasing: Leasing, store: Store, comm: Comm) -> None:
        self._leasing = leasing
        self._sessions = leasing.sessions
        self._store = store
        self._comm = comm
        self.recent = Recent()
        self._retrying = Retrying(leasing, store)
        #: Under way to the store; an executor that repeats itself adds nothing.
        self._finishing: set[Run] = set()

    def on_finished(self, conn: Conn, session: Session | None, message: Finished) -> None:
        """Its slot is free at once; `session` is None if it came from no current session."""
        if message.run in self._finishing:
            return
        first = False
        if session is not None:
            session.losses = 0
            held = session.held.get(message.run)
            first = held is not None and not held.finished
            self._sessions.finish(session, message.run, self._comm.now())
        self._finishing.add(message.run)
        self._comm.spawn(self._finish(conn, session, message, first=first))
        self._leasing.dispatch()

    async def _finish(
        self, conn: Conn, session: Session | None, message: Finished, *, first: bool
    ) -> None:
        run = message.run
        done_at = self._comm.wall_time()
        held = session.held.get(run) if session is not None else None
        try:
            if await self._retrying.retried(run, held, message.outcome, done_at):
                result = FinishResult.RETRIED
            else:
                item = FinishItem(id=run[0], attempt=run[1], outcome=message.outcome, at=done_at)
                result = await self._store.finish_if_attempt(item)
        except KhalaError:
            return  # the executor repeats Finished with every heartbeat
        finally:
            self._finishing.discard(run)
        held = self._sessions.drop(session, run) if session is not None else None
        answer = Abandon if result is FinishResult.STALE else Recorded
        self._comm.send(conn, answer(runs=[run]))
        if result is FinishResult.RECORDED:
            if first and held is not None:
                self.recent.add(run, held, message.outcome, done_at)
            self._tell_recorded(run, held, message.outcome, done_at)
        elif result is FinishResult.RETRIED:
            if first:
                self._comm.happened(AttemptRetried(outcome=message.outcome))
            self._comm.touched(run[0])
        self._leasing.dispatch()

    def _tell_recorded(
        self, run: Run, held: Held | None, outcome: Outcome, done_at: datetime
    ) -> None:
        if held is None or held.task is None:
            self._comm.touched(run[0])
            return
        self._comm.happened(
            AttemptRecorded(
                task=held.task, outcome=outcome, started_at=held.started_at, recorded_at=done_at
            )
        )
        announce(self._comm, run, held.task, outcome)
