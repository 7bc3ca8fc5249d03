"""What is tried again is tried so often and no more, and its result is never the task's; what waits
too long, or for what failed, ends."""

from __future__ import annotations

from msgspec.structs import replace

import khala.core.dependencies
import khala.core.retrying
from khala.core.dependencies import Dependencies
from khala.core.holding import Holding
from khala.core.retrying import Retrying
from khala.model.ids import TaskId
from khala.model.outcome import Outcome
from khala.model.statements import RetryItem
from khala.model.task import Task
from khala.protocol.executor import Run
from khala.store.memory_tasks import MemoryTasks
from tests.sim.mutation import Mutation, Patch, without_flow


def _unfenced(patch: Patch) -> None:
    """What was retried is known by nothing but its attempt."""
    retry = MemoryTasks.retry_if_attempt

    async def retry_any(self: MemoryTasks, item: RetryItem) -> bool:
        retried = await retry(self, item)
        row = self._state.tasks[item.id]
        row.task = replace(row.task, retried=None)
        return retried

    patch.setattr(MemoryTasks, "retry_if_attempt", retry_any)


def _uncounted(patch: Patch) -> None:
    def is_due(task: Task, run: Run, outcome: Outcome) -> bool:
        policy = task.spec.retry
        return policy is not None and task.attempt == run[1] and policy.covers(outcome.reason)

    patch.setattr(khala.core.retrying, "_is_due", is_due)


def _never(patch: Patch) -> None:
    async def retried(self: Retrying, *_: object) -> bool:
        return False

    patch.setattr(Retrying, "retried", retried)


def _released_early(patch: Patch) -> None:
    patch.setattr(khala.core.dependencies, "_ended", lambda _: True)


def _any_end_will_do(patch: Patch) -> None:
    patch.setattr(khala.core.dependencies, "_failed", lambda *_: False)


def _never_looked_for(patch: Patch) -> None:
    async def settle(self: Dependencies, *_: object) -> set[TaskId]:
        return set()

    patch.setattr(Dependencies, "_settle", settle)


RETRY_MUTATIONS: dict[str, Mutation] = {
    "early": Mutation(
        apply=_released_early,
        within=20,
        rule="S12: what depends on others begins when these have ended",
    ),
    "anyend": Mutation(
        apply=_any_end_will_do,
        within=20,
        rule="S13: what depends on the success of others ends without it",
    ),
    "norounds": Mutation(
        apply=_never_looked_for,
        within=20,
        rule="what depends on others is looked for again and again",
    ),
    "noexpiry": Mutation(
        apply=without_flow(Holding, "_end_expired"),
        within=20,
        rule="S13: what waits longer than its queue_ttl_s ends and never begins",
    ),
    "unfenced": Mutation(
        apply=_unfenced,
        within=20,
        rule="S21: a result that was tried again is not the task's, although its attempt stands",
    ),
    "uncounted": Mutation(
        apply=_uncounted, within=20, rule="S21: there are no more results than the task allows"
    ),
    "noretry": Mutation(
        apply=_never, within=20, rule="S21: a result that may be followed by another is"
    ),
}
