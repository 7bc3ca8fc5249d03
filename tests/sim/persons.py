"""Persons: they hold tasks and release them, move them in the queue, and call them otherwise."""

from __future__ import annotations

from collections.abc import Sequence

from khala.model.errors import NotFound, NotWaiting, OutcomeUnknown, Unavailable
from khala.model.holds import RELEASE
from khala.model.ids import TaskId
from khala.model.patch import Patch
from khala.model.task import Dispatch
from tests.sim.clock import Clock
from tests.sim.history import History
from tests.sim.judicator import SimJudicator

#: As long as persons hold anything.
RESTLESS_S = 85.0


class Persons:
    """They ask any judicator that is up, and tell some of the others. When the storm is over they
    release all that is held, until it is."""

    def __init__(self, clock: Clock, judicators: Sequence[SimJudicator], history: History) -> None:
        self._clock = clock
        self._judicators = judicators
        self._history = history
        self._random = clock.random
        clock.after(1.0, self._change_some)

    def _change_some(self) -> None:
        tasks = self._history.tasks()
        if self._clock.now < RESTLESS_S:
            for task in self._random.sample(tasks, min(len(tasks), 2)):
                self._change(task.id)
        else:
            for task in tasks:
                if task.hold is not None and RELEASE in task.hold.keys:
                    self._ask(task.id, Patch(held=False))
        self._clock.after(1.0, self._change_some)

    def _change(self, task: TaskId) -> None:
        luck = self._random.random()
        if luck < 0.5:
            self._ask(task, Patch(held=True))
            # Often before anybody knows what became of that.
            self._clock.after(self._random.uniform(0, 4), lambda: self._let_go(task))
        elif luck < 0.75:
            self._ask(task, Patch(priority=self._random.randint(-2, 2)))
        else:
            at = f"{self._clock.now:.3f}"
            self._ask(task, Patch(name=at, labels={"at": at, "a.b/c": None}))

    def _let_go(self, task: TaskId) -> None:
        if self._random.random() < 0.8:
            self._ask(task, Patch(held=False))

    def _ask(self, task: TaskId, patch: Patch) -> None:
        serving = [each for each in self._judicators if each.up and each.dispatcher.serving]
        now = self._history.task(task)
        if serving and (now is None or now.dispatch is not Dispatch.DONE or not patch.of_waiting):
            judicator = self._random.choice(serving)
            judicator.spawn(self._patch(judicator, task, patch))

    async def _patch(self, judicator: SimJudicator, task: TaskId, patch: Patch) -> None:
        try:
            patched = await judicator.dispatcher.patching.patch(task, patch)
        except (Unavailable, OutcomeUnknown, NotFound, NotWaiting):
            return
        self._history.patches.answered(patched)
        for other in self._judicators:
            if other is not judicator and other.up and self._random.random() < 0.7:
                other.dispatcher.patching.told({task: patched.patch or ""})
