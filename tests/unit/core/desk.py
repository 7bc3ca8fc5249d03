"""A judicator's reactor on a table: plain events in, messages out, one store call at a time.

The store is the memory twin; by default it answers at once, and a test can have the next statement
fail, or hold its answer back. Every message that is sent must be taken by the test: `nothing_left`
fails on anything unexpected.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from khala.core.dispatch import Dispatcher, SessionMessage
from khala.core.facts import Fact
from khala.core.ports import Conn
from khala.core.recovery import Recovery
from khala.model.capabilities import CAPABILITY
from khala.model.errors import KhalaError, Unavailable
from khala.model.executor import ImageInfo
from khala.model.holds import Hold
from khala.model.ids import (
    AttemptNo,
    BootId,
    ExecutorName,
    Incarnation,
    JudicatorName,
    SessionNo,
    TaskId,
)
from khala.model.outcome import Cancellation, Ending, Outcome, Reason
from khala.model.spec import Network, TaskSpec
from khala.model.statements import AcceptResult, Candidate, ExpiredTask, NewTask
from khala.model.task import Task, TaskBrief
from khala.model.wants import Amounts, Labels
from khala.protocol.executor import (
    Assign,
    Finished,
    Heartbeat,
    HeartbeatAck,
    Hello,
    Run,
    ToExecutorMessage,
    Welcome,
)
from khala.store.memory import MemoryStore, run_now
from tests.sim.clock import Clock, Node, Resume, Suspension
from tests.sim.history import History
from tests.sim.judicator import wall_of
from tests.sim.store import DoubtfulStore, Statement, Weather
from tests.sim.workload import LIMITS

Answer = TypeVar("Answer")
Item = TypeVar("Item")
SPEC = TaskSpec(
    user=1,
    compile_timeout_s=0,
    execute_timeout_s=1,
    compile_limits=LIMITS,
    execute_limits=LIMITS,
    parts={},
)
DONE = Outcome(ending=Ending.SUCCEEDED, reason=Reason.OK)
ME = Incarnation("J/1")


class Gate:
    """A statement that has been executed and whose answer waits for `release`."""

    def __init__(self) -> None:
        self.release: Callable[[], None] = self._too_early

    def _too_early(self) -> None:
        raise AssertionError("the held statement was never made")


class ScriptedStore(DoubtfulStore):
    """Answers at once, unless the test has said otherwise for the next statement."""

    def __init__(self, node: Node, memory: MemoryStore) -> None:
        self.memory = memory
        super().__init__(node, memory.dispatch, History(memory), Weather(stormy=False))
        self._script: deque[tuple[KhalaError, bool] | Gate | None] = deque()
        self.hides_due = False

    def pass_next(self, statements: int) -> None:
        self._script.extend([None] * statements)

    def fail_next(self, error: KhalaError, *, lands: bool = False) -> None:
        self._script.append((error, lands))

    def hold_next(self) -> Gate:
        gate = Gate()
        self._script.append(gate)
        return gate

    async def find_due(self, limit: int) -> list[TaskId]:
        """Asked at every tick, beside whatever a test has in mind for the next statement."""
        if self.hides_due:
            raise Unavailable("no primary")
        return run_now(self.memory.dispatch.find_due(limit))

    async def find_expired(self, limit: int) -> list[ExpiredTask]:
        return run_now(self.memory.dispatch.find_expired(limit))

    async def find_shapes(self, after: str, limit: int) -> list[Candidate]:
        return run_now(self.memory.dispatch.find_shapes(after, limit))

    def _land(self, statement: Statement[Answer], task: TaskId | None) -> Answer | KhalaError:
        try:
            return run_now(statement())
        except KhalaError as error:
            return error

    def do(self, statement: Statement[Answer], task: TaskId | None = None) -> Suspension[Answer]:
        def arrange(resume: Resume[Answer]) -> None:
            step = self._script.popleft() if self._script else None
            if isinstance(step, tuple):
                error, lands = step
                if lands:
                    self._land(statement, task)
                resume.fail(error)
                return
            answer = self._land(statement, task)

            def release() -> None:
                if isinstance(answer, KhalaError):
                    resume.fail(answer)
                else:
                    resume.answer(answer)

            if isinstance(step, Gate):
                step.release = release
            else:
                release()

        return Suspension(arrange)


class Desk(Node):
    """`khala.core.ports.Comm`, and a hand for everything a test does to a judicator."""

    def __init__(self) -> None:
        super().__init__(Clock(seed=0), "J")
        self.begin()
        self.memory = MemoryStore(wall_of(self.clock))
        self.store = ScriptedStore(self, self.memory)
        self.dispatcher = Dispatcher(JudicatorName("J"), ME, self.store, self)
        self.recovery = Recovery(self.dispatcher)
        self.sent: list[tuple[Conn, ToExecutorMessage]] = []
        self.closed: list[Conn] = []
        self.answers: list[AcceptResult | KhalaError] = []
        self.announced: list[TaskBrief] = []
        self.facts: list[Fact] = []
        self._minted = 0

    # ---- khala.core.ports.Comm --------------------------------------------------------------

    def send(self, conn: Conn, message: ToExecutorMessage) -> None:
        self.sent.append((conn, message))

    def close(self, conn: Conn, why: str) -> None:
        self.closed.append(conn)

    def changed(self, brief: TaskBrief) -> None:
        self.announced.append(brief)

    def touched(self, task: TaskId) -> None: ...

    def happened(self, fact: Fact) -> None:
        self.facts.append(fact)

    def now(self) -> float:
        return self.clock.now

    def wall_time(self) -> datetime:
        return wall_of(self.clock)()

    def peers(self) -> list[str]:
        return ["J:4000"]

    def shuffle(self, items: list[Item]) -> None: ...

    # ---- events -----------------------------------------------------------------------------

    def settle(self) -> None:
        """Let every flow go on until it waits for time or for a gate."""
        self.clock.run(self.clock.now)

    def advance(self, seconds: float, *, ticks: bool = True) -> None:
        """Time passes, with a tick every half second unless the process stands still."""
        until = self.clock.now + seconds
        while ticks and self.clock.now + 0.5 < until:
            self.clock.run(self.clock.now + 0.5)
            self.tick()
        self.clock.run(until)
        self.tick()

    def tick(self) -> None:
        self.dispatcher.on_tick()
        self.recovery.on_tick()
        self.settle()

    def beat_for(self, seconds: float, conn: Conn, message: Heartbeat) -> None:
        """The executor goes on showing the same inventory."""
        until = self.clock.now + seconds
        while self.clock.now < until:
            self.advance(1.0)
            self.hear(conn, message)

    def hello(
        self,
        conn: int,
        *,
        boot: str = "b1",
        name: str = "E",
        slots: int = 2,
        running: list[Run] | None = None,
        spooled: list[Run] | None = None,
        images: Sequence[str] = (),
        networks: Sequence[Network] = (),
        speaks: int = CAPABILITY,
        capacity: Amounts | None = None,
        labels: Labels | None = None,
    ) -> Conn:
        number = Conn(conn)
        self.recovery.on_hello(
            number,
            Hello(
                name=ExecutorName(name),
                boot=BootId(boot),
                version="1",
                enforcement="none",
                slots=slots,
                running=running or [],
                spooled=spooled or [],
                images=tuple(ImageInfo(name=each, identity="", size_bytes=0) for each in images),
                networks=tuple(networks),
                speaks=speaks,
                capacity=capacity or {},
                labels=labels or {},
            ),
        )
        self.settle()
        return number

    def attach(self, conn: int, **hello: object) -> Conn:
        """An executor comes online; its Welcome is taken."""
        number = self.hello(conn, **hello)  # type: ignore[arg-type]
        welcome = self.take(number)
        assert isinstance(welcome[0], Welcome)
        self.sent = [(number, message) for message in welcome[1:]] + self.sent
        return number

    def hear(self, conn: Conn, message: SessionMessage) -> None:
        self.dispatcher.on_message(conn, message)
        self.settle()

    def hang_up(self, conn: Conn) -> None:
        self.dispatcher.on_closed(conn)
        self.settle()

    def submit(
        self, *, key: str | None = None, hold: Hold | None = None, **choices: object
    ) -> TaskId:
        """Minted by the request; the answer goes to `answers`. `choices` are fields of the spec."""
        new = self._new(choices, key=key, hold=hold)
        self.spawn(self._submit(new))
        self.settle()
        return new.id

    def submit_elsewhere(self, *, hold: Hold | None = None, **choices: object) -> TaskId:
        """Another judicator accepts it."""
        return run_now(self.memory.dispatch.accept(self._new(choices, hold=hold))).id

    def _new(
        self, choices: dict[str, object], *, key: str | None = None, hold: Hold | None = None
    ) -> NewTask:
        self._minted += 1
        return NewTask(
            id=TaskId(f"{self._minted:024x}"),
            spec=replace(SPEC, **choices),
            submitted_at=self.wall_time(),
            key=key,
            hold=hold,
        )

    async def _submit(self, task: NewTask) -> None:
        try:
            self.answers.append(await self.dispatcher.submit(task))
        except KhalaError as error:
            self.answers.append(error)

    def cancel(self, task: TaskId, grace_s: float | UnsetType = UNSET) -> None:
        async def cancel() -> None:
            await self.dispatcher.cancel(task, Cancellation(grace_s=grace_s))

        self.spawn(cancel())
        self.settle()

    # ---- what came of it --------------------------------------------------------------------

    def take(self, conn: Conn) -> list[ToExecutorMessage]:
        """The messages for one connection since the last call; acks of heartbeats are skipped."""
        taken: list[ToExecutorMessage] = [
            m for c, m in self.sent if c == conn and not isinstance(m, HeartbeatAck)
        ]
        self.sent = [(c, m) for c, m in self.sent if c != conn]
        return taken

    def take_first(self, conn: Conn) -> ToExecutorMessage:
        """The oldest message for the connection; the others stay."""
        found = next(pair for pair in self.sent if pair[0] == conn)
        self.sent.remove(found)
        return found[1]

    def take_runs(self, conn: Conn) -> list[Run]:
        """As `take`, where all of it must be assignments."""
        messages = self.take(conn)
        assert all(isinstance(message, Assign) for message in messages), messages
        return [message.run for message in messages if isinstance(message, Assign)]

    def task(self, task: TaskId) -> Task:
        return run_now(self.memory.dispatch.get(task))

    def nothing_left(self) -> None:
        assert [m for _, m in self.sent if not isinstance(m, HeartbeatAck)] == []


def run_of(task: TaskId, attempt: int = 1) -> Run:
    return (task, AttemptNo(attempt))


def heartbeat(
    *,
    session: int = 1,
    running: list[Run] | None = None,
    accepts: bool = True,
    ending: int = 0,
    ending_amounts: Amounts | None = None,
) -> Heartbeat:
    return Heartbeat(
        session=SessionNo(session),
        seq=1,
        running=running or [],
        spooled=[],
        accepts=accepts,
        ending=ending,
        ending_amounts=ending_amounts or {},
    )


def finished(run: Run, *, session: int = 1) -> Finished:
    return Finished(session=SessionNo(session), run=run, outcome=DONE)
