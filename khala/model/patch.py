"""What a person may change of a task that exists: what it is called, when it is its turn, and how
long it is kept.

None of it decides what a run does, so nothing that was computed of a task becomes wrong by it. What
does decide (commands, limits, inputs) is changed by submitting another task.
"""

from __future__ import annotations

from msgspec import Struct

from khala.model.errors import Rejected
from khala.model.limits import LABELS
from khala.model.order import rank_of
from khala.model.statements import PatchItem
from khala.model.task import Task


class Patch(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is to be another; the rest stays."""

    name: str | None = None
    #: Added to those that it has, or in their place; None takes one away.
    labels: dict[str, str | None] = {}
    #: All that it has are taken away before.
    drops_labels: bool = False
    priority: int | None = None
    #: Whether a person holds it.
    held: bool | None = None
    #: How long it is kept after its end.
    retention_s: int | None = None
    #: As long as the cluster keeps any.
    drops_retention: bool = False

    @property
    def of_waiting(self) -> bool:
        """It means something for a task only that is not given to an executor yet."""
        return self.priority is not None or self.held is not None

    def item(self, task: Task, claim: str) -> PatchItem:
        """The statement that does it to the task as it was read. Raise `Rejected`."""
        priority = task.spec.priority if self.priority is None else self.priority
        return PatchItem(
            id=task.id,
            after=task.patch,
            claim=claim,
            name=task.spec.name if self.name is None else self.name,
            labels=self._labels_of(task),
            priority=priority,
            rank=rank_of(task.submitted_at, priority),
            retention_s=self._retention_of(task),
            held=self.held,
            waits=self.of_waiting,
        )

    def _retention_of(self, task: Task) -> int | None:
        if self.retention_s is None and not self.drops_retention:
            return task.spec.retention_s
        if task.spec.member is not None:
            raise Rejected(
                f"retention: task {task.id} is one of job {task.spec.member.job} and is removed"
                " with it; the retention of a job is what its document said",
                field="/retention",
            )
        return self.retention_s

    def _labels_of(self, task: Task) -> dict[str, str]:
        merged = {**({} if self.drops_labels else task.spec.labels), **self.labels}
        labels = {key: value for key, value in merged.items() if value is not None}
        if len(labels) > max(LABELS, len(task.spec.labels)):
            raise Rejected(
                f"with these it would have {len(labels)} labels, more than {LABELS}; take some away"
                " with null",
                field="/labels",
            )
        return labels
