"""What a reader of the event stream wants to hear of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from msgspec import Struct

from khala.model.errors import Rejected
from khala.model.ids import JobId, TaskId, parse_task_id
from khala.model.task import TaskBrief
from khala.protocol import v2

#: Tasks and jobs that one stream may name.
NAMED_MAX = 100
#: What the log of events has; a task as its brief.
Happened: TypeAlias = TaskBrief | v2.ExecutorChange | v2.QueueChange | v2.Reset


class Topics(Struct, frozen=True, kw_only=True):
    tasks: bool = True
    nodes: bool = True
    queue: bool = True
    #: Heard of also without `tasks`.
    named: frozenset[TaskId] = frozenset()
    #: All of their tasks are heard of, also without `tasks`.
    jobs: frozenset[JobId] = frozenset()
    #: Of `tasks`, those of this user.
    user: int | None = None
    #: Of `tasks`, those with all of these labels.
    labels: frozenset[tuple[str, str]] = frozenset()

    def include(self, happened: Happened) -> bool:
        match happened:
            case TaskBrief():
                return (self.tasks and self._fits(happened)) or self._names(happened)
            case v2.ExecutorChange():
                return self.nodes
            case v2.QueueChange():
                return self.queue
            case v2.Reset():
                return True

    def _fits(self, task: TaskBrief) -> bool:
        return (self.user is None or task.user == self.user) and (
            not self.labels or self.labels <= task.labels.items()
        )

    def _names(self, task: TaskBrief) -> bool:
        return task.id in self.named or (task.member is not None and task.member.job in self.jobs)


def parse_topics(
    words: Sequence[str], *, user: int | None = None, labels: Sequence[str] = ()
) -> Topics:
    """All of them if none is named."""
    named: set[TaskId] = set()
    jobs: set[JobId] = set()
    plain: set[str] = set()
    for word in words:
        kind, _, given = word.partition(":")
        if word in ("tasks", "nodes", "queue"):
            plain.add(word)
        elif kind == "task" and given:
            named.add(parse_task_id(given, field="topics"))
        elif kind == "job" and given:
            jobs.add(JobId(parse_task_id(given, field="topics")))
        else:
            raise Rejected(
                "topics: a list of tasks, nodes, queue, task:ID and job:ID is needed,"
                f" {word[:40]!r} was given",
                field="topics",
            )
    if len(named) + len(jobs) > NAMED_MAX:
        raise Rejected(
            f"topics: {NAMED_MAX} tasks and jobs may be named, {len(named) + len(jobs)} were;"
            " tasks has all of them",
            field="topics",
        )
    if words and "tasks" not in plain:
        for field, given_one in (("user", user is not None), ("label", bool(labels))):
            if given_one:
                raise Rejected(
                    f"{field}: narrows the topic tasks, which is not among those given",
                    field=field,
                )
    pairs = (each.partition("=") for each in labels)
    return Topics(
        tasks=not words or "tasks" in plain,
        nodes=not words or "nodes" in plain,
        queue=not words or "queue" in plain,
        named=frozenset(named),
        jobs=frozenset(jobs),
        user=user,
        labels=frozenset((key, value) for key, _, value in pairs),
    )
