"""What a reader of the event stream wants to hear of."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from khala.model.errors import Rejected
from khala.model.ids import TaskId, parse_task_id
from khala.protocol.rpc import Event, TaskChanged

#: Tasks that one stream may name.
TASKS_MAX = 100


class Topics(Struct, frozen=True):
    tasks: bool = True
    nodes: bool = True
    #: Heard of also without `tasks`.
    named: frozenset[TaskId] = frozenset()

    def include(self, event: Event) -> bool:
        if isinstance(event, TaskChanged):
            return self.tasks or event.task.id in self.named
        return self.nodes


def parse_topics(words: Sequence[str]) -> Topics:
    """All of them if none is named."""
    if not words:
        return Topics()
    named: set[TaskId] = set()
    for word in words:
        if word.startswith("task:"):
            named.add(parse_task_id(word.removeprefix("task:"), field="topics"))
        elif word not in ("tasks", "nodes"):
            raise Rejected(
                f"topics: a list of tasks, nodes and task:ID is needed, {word[:40]!r} was given",
                field="topics",
            )
    if len(named) > TASKS_MAX:
        raise Rejected(
            f"topics: {TASKS_MAX} tasks may be named, {len(named)} were; tasks has all of them",
            field="topics",
        )
    return Topics("tasks" in words, "nodes" in words, frozenset(named))
