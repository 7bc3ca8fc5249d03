"""Tasks that wait for others: released when those have ended, or ended with them.

The store is asked again and again what is held and how its predecessors stand, and that alone
makes it certain: an end that nobody heard of, a judicator that died between an end and a release,
one that accepted a task while its predecessor ended elsewhere, all look the same to the next round.
What is heard of an end only makes the next round come at once. No leader is needed, because a lift
and an end are compare-and-sets. While nothing is held, a round is one look at an empty index.
"""

from __future__ import annotations

from collections.abc import Sequence

from khala.core.dispatch import Dispatcher
from khala.core.ports import Comm, PredecessorPort
from khala.model.depends import On, Predecessor, keys_of, predecessor_of
from khala.model.errors import KhalaError, NoSuchTask
from khala.model.holds import Hold
from khala.model.ids import TaskId
from khala.model.limits import AWAITED_TASKS, DEPENDENCY_INTERVAL_S, DEPENDENTS_PAGE
from khala.model.statements import HeldTask, Lift, dependency_failed
from khala.model.task import TERMINAL, TaskBrief, TaskState


class Dependencies:
    """One judicator's part in it; one round at a time."""

    def __init__(self, dispatcher: Dispatcher, predecessors: PredecessorPort, comm: Comm) -> None:
        self._dispatcher = dispatcher
        self._store = dispatcher.store
        self._predecessors = predecessors
        self._comm = comm
        self._looking = False
        self._next_round_at = 0.0
        #: Tasks and jobs that something waits for, as far as the last round saw.
        self._awaited: set[TaskId] = set()

    def on_tick(self) -> None:
        now = self._comm.now()
        if self._dispatcher.serving and not self._looking and now >= self._next_round_at:
            self._looking = True
            self._next_round_at = now + DEPENDENCY_INTERVAL_S
            self._comm.spawn(self._round())

    def on_changed(self, brief: TaskBrief) -> None:
        """What waits for a task that has ended waits no longer than it must."""
        if brief.done and brief.id in self._awaited:
            self.hurry()

    def hurry(self) -> None:
        """Something may be to be released."""
        self._next_round_at = 0.0

    async def _round(self) -> None:
        began_at, awaited, after = self._comm.now(), set[TaskId](), None
        try:
            while True:
                page = await self._store.page_dependents(after, DEPENDENTS_PAGE)
                awaited |= await self._settle(page)
                if len(page) < DEPENDENTS_PAGE:
                    break
                after = page[-1].id
            self._awaited = awaited if len(awaited) <= AWAITED_TASKS else set()
        except KhalaError:
            pass  # the next round is DEPENDENCY_INTERVAL_S away
        finally:
            self._looking = False
            took_s = self._comm.now() - began_at
            if self._next_round_at:
                # Many that wait must not keep the store busy with being looked at.
                self._next_round_at = max(self._next_round_at, self._comm.now() + 4 * took_s)

    async def check(self, predecessors: Sequence[Predecessor]) -> None:
        """Raise `NoSuchTask` naming one that does not exist."""
        if not predecessors:
            return
        states = await self._predecessors.load_states([each.id for each in predecessors])
        for index, each in enumerate(predecessors):
            if each.id not in states:
                raise NoSuchTask(
                    f"/depends_on/{index}: there is no task and no job {each.id}; it was never"
                    " here, or has been removed",
                    field=f"/depends_on/{index}",
                )

    async def settle_all(self, tasks: Sequence[TaskId]) -> None:
        """Release what waits for these, which are about to be forgotten: afterwards nobody could
        say how they ended."""
        for task in tasks:
            for key in keys_of(task):
                while held := await self._store.find_held(key, DEPENDENTS_PAGE):
                    waiting = [HeldTask(id=each, hold=Hold(keys=(key,))) for each in held]
                    if await self._settle(waiting):
                        break  # it has not ended, and is not forgotten

    async def _settle(self, page: Sequence[HeldTask]) -> set[TaskId]:
        """Release or end what can be; the predecessors of the rest."""
        waits: dict[TaskId, list[Predecessor]] = {}
        for task in page:
            found = [each for each in map(predecessor_of, task.hold.keys) if each is not None]
            if found:
                waits[task.id] = found
        if not waits:
            return set()
        wanted = dict.fromkeys(each.id for found in waits.values() for each in found)
        states = await self._predecessors.load_states(list(wanted))
        lifts: list[Lift] = []
        awaited: set[TaskId] = set()
        for task_id, found in waits.items():
            failed = next((each for each in found if _failed(each, states)), None)
            if failed is not None:
                outcome = dependency_failed(failed.id, states.get(failed.id))
                await self._dispatcher.holding.end(task_id, outcome)
                self.hurry()  # others may wait for this one
                continue
            for each in found:
                if _ended(states.get(each.id)):
                    lifts.append(Lift(id=task_id, key=each.key))
                else:
                    awaited.add(each.id)
        if lifts:
            await self._dispatcher.holding.lift(lifts)
        return awaited


def _ended(state: TaskState | None) -> bool:
    """None: there is no such task any more."""
    return state is None or state in TERMINAL


def _failed(predecessor: Predecessor, states: dict[TaskId, TaskState]) -> bool:
    state = states.get(predecessor.id)
    return predecessor.on is On.OK and _ended(state) and state is not TaskState.SUCCEEDED
