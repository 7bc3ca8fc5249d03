"""The twin of `khala.store.patches`; see `khala.store.memory`."""

from __future__ import annotations

from datetime import timedelta

from msgspec.structs import replace

from khala.model.holds import RELEASE, Hold, held_by
from khala.model.statements import PatchItem
from khala.model.task import Dispatch, Task
from khala.store.memory_returns import MemoryReturns


class MemoryPatches(MemoryReturns):
    """A part of `MemoryTasks`."""

    async def patch_if_next(self, item: PatchItem) -> Task | None:
        row = self._state.tasks.get(item.id)
        if row is None:
            return None
        task = row.task
        if task.patch == item.claim:
            return task
        if task.patch != item.after or (item.waits and not task.waits):
            return None
        if item.updated_at is not None and item.updated_at != task.updated_at:
            return None
        row.task = replace(
            _held_or_not(task, held=item.held),
            spec=replace(
                task.spec,
                name=item.name,
                labels=item.labels,
                priority=item.priority,
                retention_s=item.retention_s,
            ),
            patch=item.claim,
            updated_at=max(self._state.now(), task.updated_at + timedelta(milliseconds=1)),
        )
        return row.task


def _held_or_not(task: Task, *, held: bool | None) -> Task:
    if held is None:
        return task
    hold = held_by(task.hold, RELEASE) if held else (task.hold or Hold()).without(RELEASE)
    return replace(
        task,
        dispatch=Dispatch.HELD if hold.open else Dispatch.QUEUED,
        hold=hold if hold.open else None,
    )
