"""What a person changes is changed once, in order, and what a person holds stays; see
`tests.sim.mutations`."""

from __future__ import annotations

from msgspec.structs import replace

from khala.model.holds import RELEASE
from khala.model.statements import LeaseItem, Lift, PatchItem
from khala.model.task import Dispatch, Task
from khala.store.memory_holds import MemoryHolds
from khala.store.memory_tasks import MemoryTasks
from tests.sim.mutation import Mutation, Patch


def _no_order(patch: Patch) -> None:
    """As if a change followed whichever was there before."""
    patch_if_next = MemoryTasks.patch_if_next

    async def patch_any(self: MemoryTasks, item: PatchItem) -> Task | None:
        row = self._state.tasks.get(item.id)
        after = row.task.patch if row is not None else None
        return await patch_if_next(self, replace(item, after=after))

    patch.setattr(MemoryTasks, "patch_if_next", patch_any)


def _no_state(patch: Patch) -> None:
    """As if a lease did not look whether the task is still queued."""
    lease = MemoryTasks._lease

    def lease_held(self: MemoryTasks, item: LeaseItem) -> bool:
        row = self._state.tasks.get(item.id)
        if row is not None and row.task.dispatch is Dispatch.HELD:
            row.task = replace(row.task, dispatch=Dispatch.QUEUED, hold=None)
        return lease(self, item)

    patch.setattr(MemoryTasks, "_lease", lease_held)


def _lift_all(patch: Patch) -> None:
    """As if the last condition of all but the person's were the last of all."""
    lift = MemoryHolds._lift

    def lift_person(self: MemoryHolds, item: Lift) -> None:
        lift(self, item)
        row = self._state.tasks.get(item.id)
        hold = row.task.hold if row is not None else None
        if row is not None and hold is not None and hold.keys == (RELEASE,):
            lift(self, Lift(id=item.id, key=RELEASE))

    patch.setattr(MemoryHolds, "_lift", lift_person)


PATCH_MUTATIONS: dict[str, Mutation] = {
    "noorder": Mutation(
        apply=_no_order,
        within=20,
        rule="S23: a change lands on the one that it follows, or not at all",
    ),
    "nostate": Mutation(
        apply=_no_state,
        within=20,
        rule="S2: what is held meanwhile is not leased",
    ),
    "liftall": Mutation(
        apply=_lift_all,
        within=20,
        rule="S12: what a person holds is not released by anything else",
    ),
}
