"""The twin of `khala.store.holds`; see `khala.store.memory`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from khala.model.depends import predecessor_of
from khala.model.holds import HoldKey, held_by
from khala.model.ids import TaskId
from khala.model.outcome import Outcome
from khala.model.statements import ExpiredTask, HeldTask, Lift
from khala.model.task import Dispatch, Task
from khala.store.dates import to_ms
from khala.store.memory_state import MemoryState


class MemoryHolds:
    """`HoldStore`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def lift_if_held(self, items: Sequence[Lift]) -> None:
        for item in items:
            self._lift(item)

    def _lift(self, item: Lift) -> None:
        row = self._state.tasks.get(item.id)
        hold = row.task.hold if row is not None else None
        if row is None or hold is None:
            return
        now = self._state.now()
        if item.key is None:
            if hold.until is None or hold.until > now:
                return
            hold = replace(hold, until=None)
        elif item.key in hold.keys:
            hold = replace(hold, keys=tuple(key for key in hold.keys if key != item.key))
        else:
            return
        row.task = replace(
            row.task,
            dispatch=Dispatch.HELD if hold.open else Dispatch.QUEUED,
            hold=hold if hold.open else None,
            updated_at=now,
        )

    async def hold_if_waiting(self, items: Sequence[Lift]) -> None:
        for item in items:
            row = self._state.tasks.get(item.id)
            if row is None or not row.task.waits or item.key is None:
                continue
            if row.task.hold is None or item.key not in row.task.hold.keys:
                row.task = replace(
                    row.task,
                    dispatch=Dispatch.HELD,
                    hold=held_by(row.task.hold, item.key),
                    updated_at=self._state.now(),
                )

    async def end_if_waiting(self, task: TaskId, outcome: Outcome) -> bool:
        row = self._state.tasks.get(task)
        if row is None or not _waits(row.task):
            return False
        row.end(outcome, None, self._state.now())
        return True

    async def find_expired(self, limit: int) -> list[ExpiredTask]:
        now = self._state.now()
        found: list[tuple[datetime, TaskId, float]] = []
        for row in self._state.tasks.values():
            limit_s = row.task.spec.queue_ttl_s
            if limit_s is not None and _waits(row.task):
                at = to_ms(row.task.submitted_at + timedelta(seconds=limit_s))
                found.append((at, row.task.id, limit_s))
        due = [(task, limit_s) for at, task, limit_s in sorted(found) if at <= now]
        return [ExpiredTask(id=task, queue_ttl_s=limit_s) for task, limit_s in due[:limit]]

    async def find_due(self, limit: int) -> list[TaskId]:
        now = self._state.now()
        due: list[tuple[datetime, TaskId]] = [
            (each.hold.until, each.id)
            for each in self._held()
            if each.hold.until is not None and each.hold.until <= now
        ]
        return [task for _, task in sorted(due)[:limit]]

    async def find_held(self, key: HoldKey, limit: int) -> list[TaskId]:
        return [each.id for each in self._held() if key in each.hold.keys][:limit]

    async def page_dependents(self, after: TaskId | None, limit: int) -> list[HeldTask]:
        waiting = [each for each in self._held() if any(map(predecessor_of, each.hold.keys))]
        return [each for each in waiting if after is None or each.id > after][:limit]

    def _held(self) -> list[HeldTask]:
        held = [
            HeldTask(id=row.task.id, hold=row.task.hold)
            for row in self._state.tasks.values()
            if row.task.hold is not None
        ]
        return sorted(held, key=lambda each: each.id)


def _waits(task: Task) -> bool:
    """No attempt of it has begun, and it has not ended."""
    return task.dispatch in {Dispatch.HELD, Dispatch.QUEUED} and task.attempt == 0
