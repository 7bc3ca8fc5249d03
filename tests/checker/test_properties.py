"""Histories of an ideal system, drawn at random, break nothing; the same with one fact changed do.

The ideal system is a dictionary with a lock around it. Everything that may go wrong around such a
system does: answers are lost, tries are repeated, executors are lost and their attempts repeated,
readers come at any moment.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checker.claims import Bounds, judge
from tests.checker.history import (
    Asked,
    Cancel,
    End,
    Event,
    Final,
    History,
    Read,
    Result,
    Seen,
    Start,
    Submit,
)

BOUNDS = Bounds()
EXAMPLES = settings(max_examples=60)


@dataclass
class Ideal:
    """What is true at an instant, and what was said about it."""

    chance: random.Random
    now: float = 0.0
    events: list[Event] = field(default_factory=list)
    tasks: dict[str, Seen] = field(default_factory=dict)
    keys: dict[str, tuple[str, str]] = field(default_factory=dict)
    requests: int = 0

    def step(self) -> None:
        self.now += self.chance.uniform(0.1, 2)
        acts = (self.submit, self.repeat, self.run, self.run, self.lose, self.cancel, self.read)
        self.chance.choice(acts)()

    def _told(self) -> tuple[float, float | None, Result]:
        """When it was asked, when answered, and whether it was."""
        at = self.now - self.chance.uniform(0, 5)
        if self.chance.random() < 0.2:
            return at, self.chance.choice((None, self.now + 1)), "info"
        return at, self.now + self.chance.uniform(0, 5), "ok"

    # ---- clients ----------------------------------------------------------------------------

    def submit(self) -> None:
        self.requests += 1
        nonce = f"n{self.requests}"
        self._submit(nonce, f"k{self.requests}" if self.chance.random() < 0.7 else None)

    def repeat(self) -> None:
        """The same again, or another request under the same key, or a try that never arrived."""
        if not self.keys:
            return
        key = self.chance.choice(list(self.keys))
        task, request = self.keys[key]
        nonce = self.tasks[task].nonce
        at, until, result = self._told()
        same = Submit(client="c", at=at, until=until, result="fail", nonce=nonce, request=request)
        same = replace(same, key=key)
        luck = self.chance.random()
        if luck < 0.3:
            call = replace(same, at=self.now, until=self.now, request="another", conflict=True)
        elif luck < 0.5:
            call = same
        else:
            call = replace(same, result=result, task=task if result == "ok" else None)
        self.events.append(call)

    def _submit(self, nonce: str, key: str | None) -> None:
        task = f"t{len(self.tasks)}"
        at, until, result = self._told()
        self.tasks[task] = Seen(state="queued", attempt=0, nonce=nonce)
        if key is not None:
            self.keys[key] = (task, nonce)
        self.events.append(
            Submit(client="c", at=at, until=until, result=result, nonce=nonce, request=nonce,
                   key=key, task=task if result == "ok" else None)
        )  # fmt: skip

    def cancel(self) -> None:
        task = self._open()
        if task is not None:
            self.tasks[task] = replace(self.tasks[task], state="cancelled", reason="cancelled")
            at, until, result = self._told()
            self.events.append(Cancel(client="c", at=at, until=until, result=result, task=task))

    def read(self) -> None:
        if self.tasks:
            task = self.chance.choice(list(self.tasks))
            at, until, result = self._told()
            seen = self.tasks[task] if result == "ok" else None
            self.events.append(
                Read(client="r", at=at, until=until, result=result, task=task, via="g", seen=seen)
            )

    # ---- executors --------------------------------------------------------------------------

    def _open(self) -> str | None:
        found = [task for task, seen in self.tasks.items() if not seen.ended]
        return self.chance.choice(found) if found else None

    def run(self) -> None:
        task = self._open()
        if task is not None:
            self.tasks[task] = seen = self._start(task)
            output = f"{seen.nonce} {task} {seen.attempt}\n"
            end = End(executor="e", task=task, attempt=seen.attempt, at=self.now)
            self.events.append(end)
            self.tasks[task] = replace(seen, state="succeeded", reason="ok", output=output)

    def lose(self) -> None:
        task = self._open()
        if task is not None:
            self.tasks[task] = self._start(task)

    def _start(self, task: str) -> Seen:
        seen = replace(self.tasks[task], state="running", attempt=self.tasks[task].attempt + 1)
        start = Start(executor="e", task=task, attempt=seen.attempt, at=self.now)
        self.events.append(start)
        return seen

    def finish(self) -> History:
        while self._open() is not None:
            self.now += 1
            self.run()
        self.now += 100
        self.events += [Asked(via=via, at=self.now) for via in ("g", "h")]
        for task, seen in self.tasks.items():
            for via in ("g", "h"):
                self.events.append(Final(via=via, task=task, seen=seen, at=self.now))
        self.chance.shuffle(self.events)
        return History(self.events)


def drawn(seed: int, steps: int) -> History:
    ideal = Ideal(random.Random(seed))
    ideal.submit()
    for _ in range(steps):
        ideal.step()
    return ideal.finish()


@EXAMPLES
@given(seed=st.integers(0, 2**32), steps=st.integers(0, 80))
def test_an_ideal_system_breaks_nothing(seed: int, steps: int) -> None:
    assert judge(drawn(seed, steps), BOUNDS) == []


@EXAMPLES
@given(seed=st.integers(0, 2**32), steps=st.integers(0, 80), data=st.data())
def test_any_forgotten_task_is_missed(seed: int, steps: int, data: st.DataObject) -> None:
    history = drawn(seed, steps)
    accepted = [call.task for call in history.of(Submit) if call.result == "ok"]
    if accepted:
        lost = data.draw(st.sampled_from(accepted))
        history.events = [
            e for e in history.events if not (isinstance(e, Final) and e.task == lost)
        ]
        assert any(breach.claim == "C1" for breach in judge(history, BOUNDS))


@EXAMPLES
@given(seed=st.integers(0, 2**32), steps=st.integers(0, 80), data=st.data())
def test_any_second_start_is_seen(seed: int, steps: int, data: st.DataObject) -> None:
    history = drawn(seed, steps)
    starts = history.of(Start)
    if starts:
        again = replace(data.draw(st.sampled_from(starts)), executor="other")
        history.add(again)
        assert any(breach.claim == "C4" for breach in judge(history, BOUNDS))


@EXAMPLES
@given(seed=st.integers(0, 2**32), steps=st.integers(0, 80), data=st.data())
def test_any_changed_end_is_seen(seed: int, steps: int, data: st.DataObject) -> None:
    """At one reader of two: the other one tells."""
    history = drawn(seed, steps)
    finals = history.of(Final)
    chosen = data.draw(st.sampled_from(finals))
    other = {"succeeded": "failed", "cancelled": "succeeded"}[chosen.seen.state]
    changed = replace(chosen, seen=replace(chosen.seen, state=other))
    history.events = [changed if event is chosen else event for event in history.events]
    assert any(breach.claim == "C2" for breach in judge(history, BOUNDS))
