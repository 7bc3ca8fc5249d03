"""What really happened, kept outside the system, and what must be true of it.

I2 `done` never changes, but for what a person may call it; I3 a recorded result is a run of the
attempt that was current when it was recorded; I4 no (task, attempt) is started twice; I5 attempts
and sessions only grow; I6 one task per idempotency key; I7 everything accepted ends; I8 a person's
change lands once, on the one it follows, and never behind a later one that was answered, and what a
person holds no executor gets. Beside them: a cancel that was answered stands, an answered
submission exists, a cancelled run dies, and after the storm nothing is left over.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from msgspec.structs import replace

from khala.model.attempts import AttemptEnd
from khala.model.depends import On, Predecessor, predecessor_of
from khala.model.errors import NotFound
from khala.model.holds import RELEASE, Hold, HoldKey
from khala.model.ids import AttemptNo, ExecutorName, JobId, SessionNo, TaskId
from khala.model.job import job_held_by
from khala.model.limits import PAST_ATTEMPTS
from khala.model.outcome import Cancellation, Ending, Outcome, Reason
from khala.model.statements import PatchItem
from khala.model.task import Dispatch, Task, TaskState
from khala.protocol.executor import Run
from khala.store.memory import MemoryStore, run_now

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
#: All judicators can be down for half a minute, and a lease that was in time be assigned later.
EXPIRY_SLACK_S = 90.0


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
class Patches:
    """What persons asked to be changed, and what became of it."""

    #: By their claims, and when they were asked for.
    asked: dict[str, tuple[PatchItem, float]] = field(default_factory=dict)
    #: By task: the latest that was answered was asked for then.
    settled: dict[TaskId, float] = field(default_factory=dict)

    def answered(self, task: Task) -> None:
        _, at = self.asked[task.patch or ""]
        self.settled[task.id] = max(at, self.settled.get(task.id, 0.0))

    def check(self, before: Task, now: Task) -> bool:
        """Whether a person changed it; it is as was asked for then, and else as it was."""
        if before.dispatch is Dispatch.DONE:
            patched = {"spec": now.spec, "patch": now.patch, "updated_at": now.updated_at}
            require(now == replace(before, **patched), "I2 a done task changed", before, now)
        if before.dispatch is Dispatch.HELD:
            require(now.dispatch is not Dispatch.LEASED, "I8 leased as held", before, now)
        if now.patch == before.patch:
            require(now.spec == before.spec, "the spec changed", before, now)
            ended = now.dispatch is Dispatch.DONE
            require(ended or _by_person(now) == _by_person(before), "held by nobody", before, now)
            return False
        item, at = self.asked[now.patch or ""]
        require(item.after == before.patch, "I8 a change landed on another", before, now)
        require(at >= self.settled.get(now.id, 0.0), "I8 a change landed too late", before, now)
        require(not item.waits or before.waits, "I8 changed, and did not wait", before, now)
        asked = {"name": item.name, "labels": item.labels, "priority": item.priority}
        require(now.spec == replace(before.spec, **asked), "I8 not what was asked", before, now)
        held = _by_person(before) if item.held is None else item.held
        require(_by_person(now) == held, "I8 held, or not, against its person", before, now)
        require(now.waits == before.waits, "I8 a change gave it away", before, now)
        require(now.updated_at > before.updated_at, "I8 a change that nobody sees", before, now)
        return True


def _by_person(task: Task) -> bool:
    return task.hold is not None and RELEASE in task.hold.keys


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
    #: What was said of cancels that were asked for, answered or not.
    said: defaultdict[TaskId, set[Cancellation]] = field(default_factory=lambda: defaultdict(set))
    #: Conditions of holds that the clients have told of.
    lifted: set[tuple[TaskId, HoldKey]] = field(default_factory=set)
    patches: Patches = field(default_factory=Patches)
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
            self.counts["patched"] += self.patches.check(before, now)
            if before.dispatch is Dispatch.DONE:
                return
            self._released(before, now)
            self._tried_again(before, now)
        self._check_past(now)
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
        for key in _come_true(before.hold, left):
            predecessor = predecessor_of(key)
            if predecessor is None:
                require((now.id, key) in self.lifted, "lifted by nobody", before, now)
            else:
                require(self._has_ended(predecessor), "released too early", before, now)
        if before.hold.until is not None and left.until is None:
            require(now.updated_at >= before.hold.until, "lifted before its date", before, now)
        require(left.open == (now.dispatch is Dispatch.HELD), "held for nothing", before, now)
        self.counts["released"] += now.dispatch is not Dispatch.HELD

    def _has_ended(self, predecessor: Predecessor) -> bool:
        """As it has to."""
        task = self._last.get(predecessor.id)
        if task is None or task.dispatch is not Dispatch.DONE:
            return False
        return predecessor.on is On.ANY or task.state is TaskState.SUCCEEDED

    def _must_fail(self, task: Task) -> bool:
        """What it depends on has ended, and not as it had to."""
        found = [each for each in task.spec.depends_on if not self._has_ended(each)]
        return task.attempt == 0 and any(
            self._last[each.id].dispatch is Dispatch.DONE for each in found
        )

    def _tried_again(self, before: Task, now: Task) -> None:
        """A result that is not the last is a real one that its task wants to be tried again."""
        if now.retries == before.retries:
            return
        policy, brought = now.spec.retry, self.produced.get((now.id, before.attempt))
        known = (before.attempt, AttemptEnd.RETRIED) in ((p.attempt, p.end) for p in before.past)
        require(not known and now.retries == before.retries + 1, "a result counted twice", now)
        require(now.attempt == before.attempt, "retried out of turn", before, now)
        require(policy is not None and brought is not None, "retried for nothing", before, now)
        if policy is not None and brought is not None:
            require(policy.covers(brought.reason), "retried without being asked", before, now)
            require(now.retries < policy.max_attempts, "retried too often", before, now)
        self.counts["retried"] += 1

    def _check_past(self, now: Task) -> None:
        """Each attempt is remembered once, but for the one that is leased or was the last."""
        past = [each.attempt for each in now.past]
        open_attempt = now.dispatch in {Dispatch.LEASED, Dispatch.DONE}
        least = now.attempt - 1 if open_attempt else now.attempt
        require(len(set(past)) == len(past), "an attempt is remembered twice", now)
        known = set(past) | {AttemptNo(now.attempt)} if open_attempt else set(past)
        wanted = set(range(max(0, least - PAST_ATTEMPTS) + 1, least + 1))
        require(wanted <= known, "an attempt is forgotten", now)

    def _ended(self, before: Task | None, now: Task) -> None:
        outcome = now.outcome
        require(outcome is not None, "done without an outcome", now)
        if outcome is None:
            return
        self.counts[f"ended {outcome.ending}"] += 1
        if now.result_attempt is None:
            lost = outcome.reason is Reason.EXECUTOR_LOST_REPEATEDLY
            late = outcome.reason is Reason.QUEUE_TTL
            follows = outcome.reason is Reason.DEPENDENCY_FAILED
            cancelled = outcome.ending is Ending.CANCELLED
            require(lost or late or follows or cancelled, "ended by nothing", now)
            require(not follows or self._must_fail(now), "ended with nothing", now)
            self.counts["ended with another"] += follows
            require(not lost or now.crashes == now.spec.max_crashes, "lost too early", now)
            require(not late or _waited_too_long(now), "it was not too late", now)
            self.counts["waited too long"] += late
            return
        run = (now.id, now.result_attempt)
        policy = now.spec.retry
        if policy is not None and outcome.ending is Ending.FAILED:
            require(now.retries + 1 >= policy.max_attempts, "given up too early", before, now)
        require(now.result_attempt != now.retried, "recorded and tried again", before, now)
        require(now.result_attempt == now.attempt, "I3 stale attempt recorded", before, now)
        require(self.produced.get(run) == outcome, "I3 nobody produced this result", now)
        if before is not None and before.dispatch is Dispatch.QUEUED:
            self.counts["late results taken"] += 1

    def saw_session(self, name: ExecutorName, session: SessionNo) -> None:
        require(session > self._sessions.get(name, 0), "I5 session did not grow", name, session)
        self._sessions[name] = session

    def began(self, run: Run, started: Started) -> None:
        require(run not in self.started, "I4 the same attempt was started twice", run, started)
        task = self._last.get(run[0])
        for each in task.spec.depends_on if task is not None else ():
            require(self._has_ended(each), "begun before what it depends on ended", task, each)
        if task is not None and task.spec.queue_ttl_s is not None and run[1] == 1:
            waited_s = started.at - (task.submitted_at - EPOCH).total_seconds()
            limit_s = task.spec.queue_ttl_s + EXPIRY_SLACK_S
            require(waited_s <= limit_s, "begun although it had waited too long", task, waited_s)
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
            if task.spec.member is None:
                check_said(task, self.said[task.id])
        for task_id in self.cancelled:
            require(_is_cancelled(self._last[task_id]), "C5 cancel undone", task_id)
        self.counts["tasks"] = len(self._last)
        self.counts["reruns"] = self.counts["runs"] - len({task for task, _ in self.started})

    def check_killed(self, task: TaskId, since: float, now: float) -> None:
        """P5: a reachable executor stops a cancelled run soon."""
        for run, started in self.alive.items():
            require(
                run[0] != task, "P5 a cancelled run lives on", run, started, f"{now - since:.1f} s"
            )


def _come_true(before: Hold, left: Hold) -> set[HoldKey]:
    """What a person said is checked with the change; a job may be held again before its release is
    seen."""
    gone = set(before.keys) - {*left.keys, RELEASE}
    return {key for key in gone if job_held_by(key) is None}


def check_said(task: Task, said: set[Cancellation]) -> None:
    """One that is cancelled has what somebody said of it."""
    cancellation = task.outcome.cancellation if task.outcome is not None else None
    require(not _is_cancelled(task) or cancellation in said, "nobody said this", task)


def _is_cancelled(task: Task) -> bool:
    return task.outcome is not None and task.outcome.ending is Ending.CANCELLED


def _waited_too_long(ended: Task) -> bool:
    limit_s = ended.spec.queue_ttl_s
    if limit_s is None or ended.attempt > 0:
        return False
    return ended.updated_at - ended.submitted_at >= timedelta(seconds=limit_s)
