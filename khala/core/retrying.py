"""Results that are not the last: whether a task is tried again, and when.

The policy is the task's own. Whether a result falls under it is decided by what the store says of
the task at that moment, and done in one compare-and-set (S21); a task without a policy, or whose
result is a success, costs nothing here.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec.structs import replace

from khala.core.leasing import Leasing
from khala.core.ports import Store
from khala.core.session import Held
from khala.model.errors import NotFound
from khala.model.outcome import Ending, Outcome
from khala.model.statements import RetryItem
from khala.model.task import Task
from khala.protocol.executor import Run


class Retrying:
    """What results go through before they are recorded."""

    def __init__(self, leasing: Leasing, store: Store) -> None:
        self._returns = leasing.returns
        self._store = store

    async def retried(self, run: Run, held: Held | None, outcome: Outcome, at: datetime) -> bool:
        """The task is tried again, by this or by an earlier report of the same result. If not, the
        result may be recorded."""
        if outcome.ending is not Ending.FAILED or not _may_be(held, outcome):
            return False
        try:
            task = await self._store.get(run[0])
        except NotFound:
            return False
        if task.retried == run[1]:
            return True
        if not _is_due(task, run, outcome):
            return False
        policy, results = task.spec.retry, task.retries + 1
        pause_s = policy.pause_s(task.id, results) if policy is not None else 0.0
        item = RetryItem(
            id=run[0],
            attempt=run[1],
            outcome=replace(outcome, executor=outcome.executor or task.executor),
            at=at,
            until=at + timedelta(seconds=pause_s) if pause_s else None,
        )
        retried = await self._store.retry_if_attempt(item)
        self._returns.unscanned |= retried and not pause_s
        return retried


def _may_be(held: Held | None, outcome: Outcome) -> bool:
    """False if it is known here that the store need not be asked."""
    if held is None or held.task is None:
        return True
    policy = held.task.spec.retry
    return policy is not None and policy.covers(outcome.reason)


def _is_due(task: Task, run: Run, outcome: Outcome) -> bool:
    policy = task.spec.retry
    return (
        policy is not None
        and task.attempt == run[1]
        and policy.covers(outcome.reason)
        and task.retries + 1 < policy.max_attempts
    )
