"""Rules of what is next, and where: holds, images, amounts; see `tests.sim.mutations`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection

from msgspec.structs import replace

from khala.core.holding import Holding
from khala.core.load import Load
from khala.core.scanning import Scanning, Shapes
from khala.core.session import Session
from khala.core.sessions import Sessions
from khala.model.holds import Hold
from khala.model.ids import ExecutorName
from khala.model.spec import TaskSpec
from khala.model.statements import Lift
from khala.model.task import Dispatch
from khala.model.wants import Wants
from khala.protocol.executor import Run
from khala.store.memory_holds import MemoryHolds
from tests.sim.mutation import Mutation, Patch, without


def _misplaced(**forgotten: object) -> Callable[[Patch], None]:
    """As if a part of what a task needs did not matter."""
    roomiest = Sessions.roomiest

    def roomiest_of_others(
        self: Sessions, spec: TaskSpec, but_not: Collection[ExecutorName] = ()
    ) -> Session | None:
        return roomiest(self, replace(spec, **forgotten), but_not)

    return lambda patch: patch.setattr(Sessions, "roomiest", roomiest_of_others)


def _no_release(patch: Patch) -> None:
    """As if a lift did not look what is left: two conditions need two of them to queue it."""
    lift = MemoryHolds._lift

    def lift_only(self: MemoryHolds, item: Lift) -> None:
        lift(self, item)
        row = self._state.tasks.get(item.id)
        if row is not None and row.task.dispatch is Dispatch.QUEUED and row.task.attempt == 0:
            row.task = replace(row.task, dispatch=Dispatch.HELD, hold=Hold())

    patch.setattr(MemoryHolds, "_lift", lift_only)


def _no_amounts(patch: Patch) -> None:
    """Neither who gives nor who is given counts; one of them alone holds the promise."""

    def fits(self: Session, wants: Wants) -> bool:
        return True

    def taken(self: Load, running: Collection[Run]) -> Counter[str]:
        return Counter()

    patch.setattr(Session, "fits", fits)
    patch.setattr(Load, "taken", taken)


def _no_shapes(patch: Patch) -> None:
    async def look(self: Shapes) -> None: ...

    patch.setattr(Shapes, "look", look)


def _no_image_scan(patch: Patch) -> None:
    scan_for = Scanning._scan_for

    async def scan_for_none(self: Scanning, shape: str, least: int) -> None:
        if not shape:
            await scan_for(self, shape, least)

    patch.setattr(Scanning, "_scan_for", scan_for_none)


ORDER_MUTATIONS: dict[str, Mutation] = {
    "noplace": Mutation(
        apply=_misplaced(image=""),
        within=20,
        rule="a task is given to executors with its image alone",
    ),
    "noneeds": Mutation(
        apply=_misplaced(needs=0),
        within=20,
        rule="a task is given to executors alone that know all it makes use of",
    ),
    "nolabels": Mutation(
        apply=_misplaced(wants=Wants()),
        within=20,
        rule="a task is given to executors alone whose labels it wants",
    ),
    "noamounts": Mutation(
        apply=_no_amounts,
        within=20,
        rule="an executor is given, and takes, no more than it has left",
    ),
    "noshapes": Mutation(
        apply=_no_shapes,
        within=20,
        rule="shapes that wait are looked for in the index",
    ),
    "noimages": Mutation(
        apply=_no_image_scan,
        within=20,
        rule="what waits for an image is looked for when an executor has it",
    ),
    "nodue": Mutation(
        apply=without(Holding, "on_tick"),
        within=20,
        rule="S12: held tasks whose date has come are queued by any judicator",
    ),
    "norelease": Mutation(
        apply=_no_release,
        within=20,
        rule="S12: the last condition that is lifted queues the task",
    ),
}
