"""Two short memories that make dispatch cheap: what to lease next, and what not to lease again.

Both are hints. The store's index finds every queued task anyway, but dispatching from memory needs
no query, and a Judicator that serves its own submissions first rarely races with another one for
the same document. And a task that an executor has just refused or lost would meet the same fate
again at once: a loop as fast as the store, were it not left alone for a while.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from khala.model.ids import ExecutorName, TaskId
from khala.model.limits import IMAGE_READY_ITEMS, READY_ITEMS, REFUSAL_PAUSE_S
from khala.model.statements import Candidate


class Ready:
    """Bounded queues without duplicates, one for each image; beyond the bounds tasks wait for the
    index scan. Apart, because what waits for a busy or missing image must not hold up the rest."""

    def __init__(self, bound: int = READY_ITEMS, image_bound: int = IMAGE_READY_ITEMS) -> None:
        self._bound = bound
        self._image_bound = image_bound
        #: None of them is empty.
        self._queues: dict[str, dict[TaskId, Candidate]] = {}

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    def __contains__(self, task: TaskId) -> bool:
        return any(task in queue for queue in self._queues.values())

    def waits(self, image: str) -> bool:
        """Some task of that image does."""
        return image in self._queues

    def heads(self) -> list[Candidate]:
        """The next task of each image, the one submitted first before the others."""
        heads = [next(iter(queue.values())) for queue in self._queues.values()]
        if len(heads) > 1:
            heads.sort(key=_age)
        return heads

    def add(self, task: Candidate) -> None:
        image = task.spec.image
        queue = self._queues.get(image, {})
        if len(queue) < self._bound_of(image):
            queue[task.id] = task
            self._queues[image] = queue

    def put_back(self, image: str, tasks: Sequence[Candidate]) -> None:
        """Before all others of their image, in their order: they have waited longest. Makes room
        for them at the other end, which the index still has."""
        queue = self._queues.get(image, {})
        new = {task.id: task for task in tasks if task.id not in queue} | queue
        while len(new) > self._bound_of(image):
            new.popitem()
        if new:
            self._queues[image] = new

    def discard(self, task: TaskId) -> None:
        for image, queue in self._queues.items():
            if queue.pop(task, None) is not None:
                if not queue:
                    del self._queues[image]
                return

    def keep(self, images: Collection[str]) -> None:
        """Drop what is for other images."""
        for image in [image for image in self._queues if image not in images]:
            del self._queues[image]

    def _bound_of(self, image: str) -> int:
        return self._image_bound if image else self._bound


def _age(task: Candidate) -> tuple[datetime, TaskId]:
    """Ids of one process grow, also within a millisecond."""
    return task.submitted_at, task.id


class Refusals:
    """Which executors refused or lost which tasks less than `REFUSAL_PAUSE_S` ago."""

    def __init__(self) -> None:
        #: In the order of their ends, because the pause is always the same.
        self._until: dict[tuple[TaskId, ExecutorName], float] = {}
        self._by_task: dict[TaskId, set[ExecutorName]] = {}

    def __len__(self) -> int:
        return len(self._by_task)

    def add(self, task: TaskId, executor: ExecutorName, now: float) -> None:
        self._until.pop((task, executor), None)
        self._until[task, executor] = now + REFUSAL_PAUSE_S
        self._by_task.setdefault(task, set()).add(executor)

    def of(self, task: TaskId) -> Collection[ExecutorName]:
        return self._by_task.get(task, ())

    def expire(self, now: float) -> bool:
        """Forget what is over; whether anything was."""
        expired = False
        while self._until:
            key = next(iter(self._until))
            if self._until[key] > now:
                break
            expired = True
            del self._until[key]
            task, executor = key
            self._by_task[task].discard(executor)
            if not self._by_task[task]:
                del self._by_task[task]
        return expired
