"""Clients: they submit, retry what they do not know, cancel, and remember what they were told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum

from msgspec import UNSET

from khala.model.depends import On, Predecessor, hold_of
from khala.model.errors import AlreadyDone, Conflict, NotFound, OutcomeUnknown, Unavailable
from khala.model.holds import Hold, HoldKey
from khala.model.ids import TaskId
from khala.model.limits import CRASH_LIMIT
from khala.model.outcome import Cancellation
from khala.model.retry import Retry, RetryReason
from khala.model.spec import TaskSpec
from khala.model.statements import Lift, NewTask
from khala.model.wants import Wants
from tests.sim.clock import Clock
from tests.sim.history import History, Try, require
from tests.sim.judicator import ANY, SimJudicator, wall_of
from tests.sim.persons import Persons

#: Longer than an executor waits for a judicator before it gives its runs up.
LONG_S = 60.0
#: What some of the cancelled have to end.
GRACE_S = 5.0
LIMITS = ANY.execute_limits


#: What some submissions wait for.
KEYS = (HoldKey("a"), HoldKey("b"))


class Kind(IntEnum):
    """What a task does; travels as its time-out."""

    PLAIN = 0
    LONG = 1
    #: Kills its executor every time.
    POISON = 2
    #: Fails more often than not, and may be tried three times.
    FLAKY = 3


#: Images of tasks, and of the executors that have them from the beginning. `LATE` comes last.
LATE = "late"
IMAGES: tuple[tuple[str, ...], ...] = (("a",), ("a", "b"), (), ())


def image_of(number: int) -> str:
    """Of every six submissions, half need an image: two of them one that executors have."""
    return {1: "a", 3: "b", 5: LATE if number < 12 else "a"}.get(number % 6, "")


#: Which of those executors are older than some tasks.
OLD = (True, False, False, True)


def needs_of(number: int) -> int:
    """Of every five submissions, one makes use of what old executors do not know."""
    return 1 if number % 5 == 0 else 0


#: What every executor has to give, and its labels.
CAPACITY = {"cpus": 4000, "gpu": 1}
ZONES = ("north", "south", "north", "south")
#: Of every eight submissions one needs a lot, and three a part of what there is.
WANTS = {
    1: Wants(amounts={"cpus": 4000}),
    3: Wants(amounts={"gpu": 1}, prefer={"zone": "north"}),
    5: Wants(amounts={"cpus": 1500}, require={"zone": "south"}),
    7: Wants(amounts={"cpus": 1500}, avoid={"zone": "south"}),
}


def wants_of(number: int) -> Wants:
    wants = WANTS.get(number % 8, Wants())
    # The executors with an image may all be in one zone.
    return Wants(amounts=wants.amounts) if image_of(number) else wants


def priority_of(number: int) -> int:
    return number % 5 - 2


def kind_at(number: int) -> Kind:
    """Of every fifteen submissions one is long and three are flaky."""
    if number % 5 == 3:
        return Kind.FLAKY
    return Kind.LONG if number % 15 == 0 else Kind.PLAIN


#: Of every eleventh submission, also of one whose image comes long after.
QUEUE_TTL_S = 20.0


def retry_of(kind: Kind, number: int) -> Retry | None:
    """Of every other one at once."""
    if kind is not Kind.FLAKY:
        return None
    return Retry(
        max_attempts=3, on=(RetryReason.EXIT_NONZERO,), backoff_s=3.0 if number % 2 else 0.0
    )


def kind_of(spec: TaskSpec) -> Kind:
    return Kind(spec.execute_timeout_s)


@dataclass(slots=True)
class Submission:
    number: int
    kind: Kind
    keyed: bool
    tries: int = 0
    #: It waits for more than an executor: a date, or the client itself.
    hold: Hold | None = None
    #: Earlier tasks that have to end before it begins.
    depends_on: tuple[Predecessor, ...] = ()


class Client:
    """Talks to any judicator that is up; never hears of a crash, only of silence."""

    def __init__(self, clock: Clock, judicators: Sequence[SimJudicator], history: History) -> None:
        self._clock = clock
        self._judicators = judicators
        self._history = history
        self._minted = 0
        self.submissions: list[Submission] = []
        clock.after(1.0, self._lift_some)
        self._persons = Persons(clock, judicators, history)

    def _pick(self) -> SimJudicator | None:
        serving = [j for j in self._judicators if j.up and j.dispatcher.serving]
        return self._clock.random.choice(serving) if serving else None

    # ---- holds ------------------------------------------------------------------------------

    def _hold(self, number: int) -> Hold | None:
        """Of every seven submissions two are held: one by a date, one by conditions of ours, of
        every other with a date as well."""
        wait = timedelta(seconds=self._clock.random.uniform(0, 30))
        until = wall_of(self._clock)() + wait
        if number % 7 == 2:
            return Hold(until=until)
        if number % 7 == 4:
            return Hold(until=until if number % 2 else None, keys=KEYS)
        return None

    def _predecessors(self, number: int) -> tuple[Predecessor, ...]:
        """Of every seven submissions two depend on others that were answered, of which one may be
        such a one itself."""
        if number % 7 not in {3, 6}:
            return ()
        known = [task for each, task in self._history.accepted.items() if image_of(each) != LATE]
        chosen = self._clock.random.sample(known, min(len(known), 1 + number % 2))
        return tuple(Predecessor(id=each, on=On.ANY if number % 4 else On.OK) for each in chosen)

    def _lift_some(self) -> None:
        """Conditions come true in any order; told to any judicator, until it is seen."""
        held = [task for task in self._history.tasks() if task.hold is not None and task.hold.keys]
        for task in held:
            judicator = self._pick()
            keys = [key for key in KEYS if task.hold and key in task.hold.keys]
            if judicator is not None and keys and self._clock.random.random() < 0.3:
                key = self._clock.random.choice(keys)
                self._history.lifted.add((task.id, key))
                judicator.spawn(self._tell(judicator, Lift(id=task.id, key=key)))
        self._clock.after(2.0, self._lift_some)

    async def _tell(self, judicator: SimJudicator, lift: Lift) -> None:
        with suppress(Unavailable, OutcomeUnknown):
            await judicator.dispatcher.holding.lift([lift])

    # ---- submit -----------------------------------------------------------------------------

    def submission(self, kind: Kind, *, keyed: bool) -> Callable[[], None]:
        """What submits a new task when it is called."""

        def submit() -> None:
            number = len(self.submissions)
            depends_on = self._predecessors(number)
            submission = Submission(
                number=number,
                kind=kind,
                keyed=keyed,
                hold=hold_of(depends_on) or self._hold(number),
                depends_on=depends_on,
            )
            self.submissions.append(submission)
            self._try(submission)

        return submit

    def _try(self, submission: Submission) -> None:
        if submission.number in self._history.accepted:
            return
        judicator = self._pick()
        if judicator is None:
            self._clock.after(1.0, lambda: self._try(submission))
            return
        submission.tries += 1
        judicator.spawn(self._request(judicator, submission))
        if submission.keyed:
            # No answer yet: another judicator is asked, whatever became of the first.
            self._clock.after(self._clock.random.uniform(1, 4), lambda: self._try(submission))

    async def _request(self, judicator: SimJudicator, submission: Submission) -> None:
        task = self._new_task(submission)
        told = self._begin_try(submission)
        try:
            result = await judicator.dispatcher.submit(task)
        except Unavailable:
            told.until, told.result = self._clock.now, "fail"
            if not submission.keyed:
                self._clock.after(1.0, lambda: self._try(submission))
        except OutcomeUnknown:
            told.until = self._clock.now
        else:
            told.until, told.result, told.task = self._clock.now, "ok", result.id
            self._history.submitted(submission.number, result.id)
            judicator.dependencies.hurry()

    def _begin_try(self, submission: Submission, *, other: bool = False) -> Try:
        told = Try(submission.number, submission.keyed, other, self._clock.now)
        self._history.tries.append(told)
        return told

    def _new_task(self, submission: Submission, *, other: bool = False) -> NewTask:
        self._minted += 1
        return NewTask(
            id=TaskId(f"{self._minted:024x}"),
            spec=TaskSpec(
                user=submission.number,
                compile_timeout_s=0,
                execute_timeout_s=submission.kind,
                compile_limits=LIMITS,
                execute_limits=LIMITS,
                parts={},
                image=image_of(submission.number),
                needs=needs_of(submission.number),
                wants=wants_of(submission.number),
                priority=priority_of(submission.number),
                depends_on=submission.depends_on,
                retry=retry_of(submission.kind, submission.number),
                max_crashes=2 if submission.number % 7 == 0 else CRASH_LIMIT,
                queue_ttl_s=QUEUE_TTL_S if submission.number % 11 == 0 else None,
            ),
            submitted_at=wall_of(self._clock)(),
            key="again" if submission.keyed else None,
            fingerprint=b"other" if other else b"same",
            hold=submission.hold,
        )

    def reuse_key(self, submission: Submission) -> None:
        """Another request under a key that was answered must be refused."""
        judicator = self._pick()
        if judicator is not None and submission.number in self._history.accepted:
            judicator.spawn(self._expect_conflict(judicator, submission))

    async def _expect_conflict(self, judicator: SimJudicator, submission: Submission) -> None:
        told = self._begin_try(submission, other=True)
        try:
            result = await judicator.dispatcher.submit(self._new_task(submission, other=True))
        except (Conflict, Unavailable, OutcomeUnknown) as error:
            told.until, told.conflict = self._clock.now, isinstance(error, Conflict)
            told.result = "info" if isinstance(error, OutcomeUnknown) else "fail"
            self._history.counts["key conflicts"] += 1
        else:
            told.until, told.result, told.task = self._clock.now, "ok", result.id
            require(False, "C6 a key was taken twice", submission)

    # ---- cancel -----------------------------------------------------------------------------

    def cancel(self, task: TaskId) -> None:
        judicator = self._pick()
        if judicator is not None:
            judicator.spawn(self._cancel(judicator, task))

    async def _cancel(self, judicator: SimJudicator, task: TaskId) -> None:
        # Every third one is given time to end, without a throw of the dice.
        grace_s = GRACE_S if int(task, 16) % 3 == 0 else UNSET
        said = Cancellation(by=judicator.name, reason=f"at {self._clock.now}", grace_s=grace_s)
        self._history.said[task].add(said)
        try:
            await judicator.dispatcher.cancel(task, said)
        except (Unavailable, OutcomeUnknown, AlreadyDone, NotFound):
            return
        self._history.was_cancelled(task, self._clock.now)
