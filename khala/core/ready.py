"""Two short memories that make dispatch cheap: what to lease next, and what not to lease again.

Both are hints. The store's index finds every queued task anyway, but dispatching from memory needs
no query, and a Judicator that serves its own submissions first rarely races with another one for
the same document. And a task that an executor has just refused or lost would meet the same fate
again at once: a loop as fast as the store, were it not left alone for a while.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Collection, Container

from khala.model.ids import ExecutorName, TaskId
from khala.model.limits import READY_ITEMS, REFUSAL_PAUSE_S, SHAPE_READY_ITEMS, SHAPES
from khala.model.order import Place
from khala.model.spec import TaskSpec
from khala.model.statements import Candidate


class Line:
    """Tasks of one shape in the order of their places, without duplicates. Almost all come in that
    order and leave from the front, which costs the same however long it is."""

    def __init__(self) -> None:
        #: Sorted from `_first` on; may hold tasks that have left, hardly more than are here.
        self._order: list[tuple[Place, Candidate]] = []
        self._first = 0
        self._tasks: dict[TaskId, Candidate] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, task: TaskId) -> bool:
        return task in self._tasks

    def head(self) -> tuple[Place, Candidate]:
        """The next one; there must be one."""
        while not self._is_here(self._order[self._first]):
            self._first += 1
        return self._order[self._first]

    def add(self, task: Candidate) -> None:
        """Also one that is here in another place: somebody has changed its priority."""
        known = self._tasks.get(task.id)
        entry = (task.place, task)
        if known is not None and known.place == entry[0]:
            return
        self._tasks[task.id] = task
        if self._order and self._order[-1][0] > entry[0]:
            insort(self._order, entry, lo=self._first, key=_place)
        else:
            self._order.append(entry)

    def discard(self, task: TaskId) -> bool:
        """Whether it was here."""
        if self._tasks.pop(task, None) is None:
            return False
        if len(self._order) > 2 * len(self._tasks) + _SLACK:
            self._order = [entry for entry in self._order if self._is_here(entry)]
            self._first = 0
        return True

    def drop_last(self) -> None:
        """Forget the one that would wait longest."""
        entry = self._order.pop()
        while not self._is_here(entry):
            entry = self._order.pop()
        del self._tasks[entry[1].id]

    def _is_here(self, entry: tuple[Place, Candidate]) -> bool:
        return self._tasks.get(entry[1].id) is entry[1]


#: Of short lines, which would be tidied up all the time.
_SLACK = 100


def _place(entry: tuple[Place, Candidate]) -> Place:
    return entry[0]


class Ready:
    """Bounded lines, one for each shape; beyond the bounds those tasks that come last wait for the
    index scan. Apart, because what waits for a busy or missing image must not hold up the rest."""

    def __init__(self, bound: int = READY_ITEMS, shape_bound: int = SHAPE_READY_ITEMS) -> None:
        self._bound = bound
        self._shape_bound = shape_bound
        #: None of them is empty.
        self._lines: dict[str, Line] = {}

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def __contains__(self, task: TaskId) -> bool:
        return any(task in line for line in self._lines.values())

    def waits(self, shape: str) -> bool:
        """Some task of that shape does."""
        return shape in self._lines

    @property
    def shapes(self) -> list[str]:
        """Of which something waits."""
        return list(self._lines)

    def heads(self, but_not: Container[str] = ()) -> list[Candidate]:
        """The next task of each shape, in their order."""
        heads = [line.head() for shape, line in self._lines.items() if shape not in but_not]
        if len(heads) > 1:
            heads.sort(key=_place)
        return [task for _, task in heads]

    def add(self, task: Candidate) -> None:
        """In its place. At the bound, what comes last gives way: the index still has it."""
        shape = task.spec.shape
        line = self._lines.get(shape)
        if line is None:
            if len(self._lines) >= SHAPES and shape:
                return
            line = self._lines[shape] = Line()
        line.add(task)
        if len(line) > (self._shape_bound if shape else self._bound):
            line.drop_last()

    def discard(self, task: TaskId) -> None:
        for shape, line in self._lines.items():
            if line.discard(task):
                if not line:
                    del self._lines[shape]
                return

    def keep(self, wanted: Callable[[TaskSpec], bool]) -> None:
        """Drop shapes that are not wanted."""
        for task in self.heads():
            if not wanted(task.spec):
                del self._lines[task.spec.shape]


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
