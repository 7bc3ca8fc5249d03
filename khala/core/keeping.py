"""One executor kept free for a task that would otherwise never find room.

A task that needs all of an executor is passed over again and again while smaller ones take each bit
that becomes free: they would be first even if they came last. So what has stood at the head of its
line for a while, and would fit somewhere, has an executor emptied for it. One at a time, and not
for ever: with several judicators each keeps one for the same task, and only one of them needs it.
"""

from __future__ import annotations

from khala.core.leasing import Leasing
from khala.core.ports import Comm
from khala.core.session import Session
from khala.model.ids import TaskId
from khala.model.limits import KEEP_AFTER_S, KEEP_S
from khala.model.spec import TaskSpec


class Keeping:
    """Decides which session is kept, and for which shape."""

    def __init__(self, leasing: Leasing, comm: Comm) -> None:
        self._leasing = leasing
        self._sessions = leasing.sessions
        self._comm = comm
        #: By shape: the task at the head of its line, and since when it has found no room.
        self._passed_over: dict[str, tuple[TaskId, float]] = {}
        self._kept_since = 0.0

    def on_tick(self) -> None:
        now = self._comm.now()
        self._watch(now)
        kept = self._sessions.kept
        if kept is None:
            self._keep_one(now)
        elif (
            kept.kept_for not in self._passed_over
            or not kept.takes_work
            or now - self._kept_since > KEEP_S
        ):
            self._passed_over.pop(kept.kept_for or "", None)  # it waits again for its turn
            self._sessions.keep_for(kept, None)
            self._leasing.dispatch()

    def _watch(self, now: float) -> None:
        stuck = self._leasing.stuck
        if not stuck and not self._passed_over:
            return
        heads = {
            task.spec.shape: task.id
            for task in self._leasing.ready.heads()
            if task.spec.wants.amounts and task.spec.shape in stuck
        }
        before = self._passed_over
        self._passed_over = {
            shape: before[shape] if shape in before and before[shape][0] == task else (task, now)
            for shape, task in heads.items()
        }

    def _keep_one(self, now: float) -> None:
        for shape, (_, since) in self._passed_over.items():
            if now - since < KEEP_AFTER_S:
                continue
            session = self._emptiest(self._leasing.stuck[shape])
            if session is not None:
                self._sessions.keep_for(session, shape)
                self._kept_since = now
                return

    def _emptiest(self, spec: TaskSpec) -> Session | None:
        """Where the task would fit soonest."""
        able = [s for s in self._sessions.values() if s.takes_work and s.suits(spec)]
        return min(able, key=lambda session: session.used, default=None)
