"""What really happened, kept outside the system, and what must be true of it.

I2 `done` never changes; I3 a recorded result is a run of the attempt that was current when it was
recorded; I4 no (task, attempt) is started twice; I5 attempts and sessions only grow; I6 one task
per idempotency key; I7 everything accepted ends. Beside them: a cancel that was answered stands,
an answered submission exists, a cancelled run dies, and after the storm nothing is left over.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from khala.model.errors import NotFound
from khala.model.holds import Hold, HoldKey
from khala.model.ids import ExecutorName, JobId, SessionNo, TaskId
from khala.model.limits import CRASH_LIMIT
from khala.model.outcome import Ending, Outcome, Reason
from khala.model.task import Dispatch, Task
from khala.protocol.executor import Run
from khala.store.memory import MemoryStore, run_now


class Violation(AssertionError):
    """The system broke a promise."""


def require(condition: bool, rule: str, *details: object) -> None:
    if not condition:
        raise Violation(f"{rule}: {' '.join(map(str, details))}")


@dataclass(slots=True)
class Started:
    executor: ExecutorName
    boot: str
    at: float


@dataclass(slots=True)
class Try:
    """One request of a client to submit, and what it was told."""

    number: int
    keyed: bool
    #: Under a key that stands for another request.
    other: bool
    at: float
    #: None: the answer never came.
    until: float | None = None
    result: Literal["ok", "fail", "info"] = "info"
    task: TaskId | None = None
    conflict: bool = False


@dataclass(slots=True)
class History:
    """Fed by the nodes; `saw` after every landing of a statement."""

    store: MemoryStore
    started: dict[Run, Started] = field(default_factory=dict)
    #: Runs whose processes exist now.
    alive: dict[Run, Started] = field(default_factory=dict)
    #: Results that some run really produced.
    produced: dict[Run, Outcome] = field(default_factory=dict)
    #: Ids answered to submissions, by their numbers.
    accepted: dict[int, TaskId] = field(default_factory=dict)
    cancelled: dict[TaskId, float] = field(default_factory=dict)
    #: Conditions of holds that the clients have told of.
    lifted: set[tuple[TaskId, HoldKey]] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    tries: list[Try] = field(default_factory=list)
    _last: dict[TaskId, Task] = field(default_factory=dict)
    _sessions: dict[ExecutorName, SessionNo] = field(default_factory=dict)
    #: How many members of a job may be open at a time.
    limits: dict[JobId, int | None] = field(default_factory=dict)
    #: The task of each submission (its number travels as the spec's user) and of each index.
    _numbers: dict[tuple[int, int], TaskId] = field(default_factory=dict)

    def task(self, task: TaskId) -> Task | None:
        return self._last.get(task)

    def tasks(self) -> list[Task]:
        return list(self._last.values())

    def saw(self, task: TaskId) -> None:
        """Compare a document with what it was."""
        try:
            now = run_now(self.store.tasks.get(task))
        except NotFound:
            return
        before = self._last.get(task)
        self._last[task] = now
        if before is None:
            member = now.spec.member
            number = (now.spec.user, -1 if member is None else member.index)
            require(number not in self._numbers, "I6 one submission, two tasks", number, now)
            self._numbers[number] = task
            self._check_limit(now)
        else:
            require(now.attempt >= before.attempt, "I5 attempt shrank", before, now)
            require(now.spec == before.spec, "the spec changed", before, now)
            if before.dispatch is Dispatch.DONE:
                require(now == before, "I2 a done task changed", before, now)
                return
            self._released(before, now)
        if now.dispatch is Dispatch.DONE:
            self._ended(before, now)

    def _check_limit(self, made: Task) -> None:
        member = made.spec.member
        limit = self.limits.get(member.job) if member is not None else None
        if member is None or limit is None:
            return
        members = [task for task in self._last.values() if task.spec.member is not None]
        left = sum(
            task.spec.member.job == member.job and task.dispatch is not Dispatch.DONE
            for task in members
            if task.spec.member is not None
        )
        require(left <= limit, "more members are open than may be", member, left)

    def _released(self, before: Task, now: Task) -> None:
        """What is held runs when all of its conditions have come true, and never before."""
        if before.hold is None or now.dispatch is Dispatch.DONE:
            return
        left = now.hold or Hold()
        for key in set(before.hold.keys) - set(left.keys):
            require((now.id, key) in self.lifted, "lifted by nobody", before, now)
        if before.hold.until is not None and left.until is None:
            require(now.updated_at >= before.hold.until, "lifted before its date", before, now)
        require(left.open == (now.dispatch is Dispatch.HELD), "held for nothing", before, now)
        self.counts["released"] += now.dispatch is not Dispatch.HELD

    def _ended(self, before: Task | None, now: Task) -> None:
        outcome = now.outcome
        require(outcome is not None, "done without an outcome", now)
        if outcome is None:
            return
        self.counts[f"ended {outcome.ending}"] += 1
        if now.result_attempt is None:
            lost = outcome.reason is Reason.EXECUTOR_LOST_REPEATEDLY
            require(lost or outcome.ending is Ending.CANCELLED, "ended by nothing", now)
            require(not lost or now.crashes == CRASH_LIMIT, "lost too early", now)
            return
        run = (now.id, now.result_attempt)
        require(now.result_attempt == now.attempt, "I3 stale attempt recorded", before, now)
        require(self.produced.get(run) == outcome, "I3 nobody produced this result", now)
        if before is not None and before.dispatch is Dispatch.QUEUED:
            self.counts["late results taken"] += 1

    def saw_session(self, name: ExecutorName, session: SessionNo) -> None:
        require(session > self._sessions.get(name, 0), "I5 session did not grow", name, session)
        self._sessions[name] = session

    def began(self, run: Run, started: Started) -> None:
        require(run not in self.started, "I4 the same attempt was started twice", run, started)
        self.started[run] = self.alive[run] = started
        self.counts["runs"] += 1

    def came_to_end(self, run: Run, outcome: Outcome) -> None:
        """A run produced that, whatever becomes of it."""
        del self.alive[run]
        self.produced[run] = outcome

    def submitted(self, number: int, task: TaskId) -> None:
        known = self.accepted.setdefault(number, task)
        require(known == task, "I6 one key, two ids", number, known, task)
        require(
            self._numbers.get((number, -1)) == task, "C1 answered, but not stored", number, task
        )

    def was_cancelled(self, task: TaskId, now: float) -> None:
        self.cancelled[task] = now

    def check_results(self) -> None:
        """After everything had time to end."""
        for task in self._last.values():
            require(task.dispatch is Dispatch.DONE, "I7 not done", task)
        for task_id in self.cancelled:
            ended = self._last[task_id].outcome
            require(
                ended is not None and ended.ending is Ending.CANCELLED, "C5 cancel undone", task_id
            )
        self.counts["tasks"] = len(self._last)
        self.counts["reruns"] = self.counts["runs"] - len({task for task, _ in self.started})

    def check_killed(self, task: TaskId, since: float, now: float) -> None:
        """P5: a reachable executor stops a cancelled run soon."""
        for run, started in self.alive.items():
            require(
                run[0] != task, "P5 a cancelled run lives on", run, started, f"{now - since:.1f} s"
            )
