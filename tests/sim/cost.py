"""What a task costs the reactor itself: `python -m tests.sim.cost`.

The store and the network answer at once and for nothing, so what is left is the core's own work
for one submission, one result, and the share of a heartbeat.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from msgspec.structs import replace

from khala.core.dispatch import Dispatcher
from khala.core.facts import Fact
from khala.core.ports import Conn
from khala.core.recovery import Recovery
from khala.model.ids import (
    AttemptNo,
    BootId,
    ExecutorName,
    Incarnation,
    JudicatorName,
    SessionNo,
    TaskId,
)
from khala.model.outcome import Ending, Outcome, Reason
from khala.model.spec import TaskSpec
from khala.model.statements import (
    AcceptResult,
    FinishItem,
    FinishResult,
    NewTask,
    OpenedSession,
    OpenSession,
)
from khala.model.task import TaskBrief
from khala.model.wants import CPU_STEPS, CPUS, Wants
from khala.protocol.executor import Finished, Heartbeat, Hello, ToExecutorMessage
from khala.store.api import Direct, DispatchStore
from khala.store.memory import MemoryStore
from tests.sim.workload import LIMITS

Item = TypeVar("Item")
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
SLOTS = 16
SPEC = TaskSpec(
    user=1,
    compile_timeout_s=0,
    execute_timeout_s=1,
    compile_limits=LIMITS,
    execute_limits=LIMITS,
    parts={},
)
CAPACITY = {CPUS: SLOTS * CPU_STEPS}
ONE_CPU = Wants(amounts={CPUS: CPU_STEPS})
DONE = Outcome(ending=Ending.SUCCEEDED, reason=Reason.OK)


class FreeStore(DispatchStore):
    """Says yes to everything the measured path asks."""

    def __init__(self) -> None:
        store = MemoryStore()
        lanes = Direct(store.tasks, store.outputs, store.live)
        super().__init__(store.tasks, store.sessions, store.holds, lanes)

    async def accept(self, task: NewTask) -> AcceptResult:
        return AcceptResult(id=task.id, replay=False)

    async def finish_if_attempt(self, item: FinishItem) -> FinishResult:
        return FinishResult.RECORDED

    async def open_session(self, item: OpenSession) -> OpenedSession:
        return OpenedSession(session=SessionNo(1), previous=None)


class FreeComm:
    """`khala.core.ports.Comm` that remembers the last message."""

    def __init__(self) -> None:
        self.last_conn = Conn(0)

    def send(self, conn: Conn, message: ToExecutorMessage) -> None:
        self.last_conn = conn

    def close(self, conn: Conn, why: str) -> None: ...

    def spawn(self, flow: Coroutine[object, object, None]) -> None:
        run(flow)

    def changed(self, brief: TaskBrief) -> None: ...
    def touched(self, task: TaskId) -> None: ...
    def happened(self, fact: Fact) -> None: ...
    async def sleep(self, seconds: float) -> None: ...

    def now(self) -> float:
        return 0.0

    def wall_time(self) -> datetime:
        return EPOCH

    def peers(self) -> list[str]:
        return ["J:4000"]

    def shuffle(self, items: list[Item]) -> None: ...


def run(flow: Coroutine[object, object, object]) -> None:
    """Nothing here suspends."""
    try:
        flow.send(None)
    except StopIteration:
        return
    raise AssertionError("suspended")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    task_us: float
    heartbeat_us: float


def measure(sessions: int, tasks: int, wants: Wants | None = None) -> Cost:
    """Submit, assign and record `tasks` on executors that are half busy all the time."""
    spec = replace(SPEC, wants=wants or Wants())
    comm = FreeComm()
    dispatcher = Dispatcher(JudicatorName("J"), Incarnation("J/1"), FreeStore(), comm)
    recovery = Recovery(dispatcher)
    for number in range(sessions):
        hello = Hello(
            name=ExecutorName(f"E{number}"),
            boot=BootId("b"),
            version="1",
            enforcement="none",
            slots=SLOTS,
            capacity=CAPACITY,
        )
        recovery.on_hello(Conn(number), hello)
    running: deque[tuple[Conn, TaskId]] = deque()
    began = time.process_time()
    for number in range(tasks):
        task = TaskId(f"{number:024x}")
        run(dispatcher.submit(NewTask(id=task, spec=spec, submitted_at=EPOCH)))
        running.append((comm.last_conn, task))
        if len(running) > sessions * SLOTS // 2:
            conn, done = running.popleft()
            message = Finished(session=SessionNo(1), run=(done, AttemptNo(1)), outcome=DONE)
            dispatcher.on_message(conn, message)
    submitted = time.process_time()
    beats = _beats(dispatcher, sessions)
    for conn, beat in beats:
        dispatcher.on_message(conn, beat)
    ended = time.process_time()
    return Cost(
        task_us=(submitted - began) / tasks * 1e6,
        heartbeat_us=(ended - submitted) / len(beats) * 1e6,
    )


def _beats(dispatcher: Dispatcher, sessions: int) -> Sequence[tuple[Conn, Heartbeat]]:
    beats: list[tuple[Conn, Heartbeat]] = []
    for number in range(sessions):
        session = dispatcher.sessions.at(Conn(number))
        running = sorted(session.held) if session is not None else []
        beat = Heartbeat(session=SessionNo(1), seq=1, running=running, spooled=[], accepts=True)
        beats.append((Conn(number), beat))
    return beats


if __name__ == "__main__":
    for count in (10, 100, 1000):
        cost = measure(sessions=count, tasks=40_000)
        wanting = measure(sessions=count, tasks=40_000, wants=ONE_CPU)
        sys.stdout.write(
            f"{count:5d} sessions: {cost.task_us:.1f} us a task, {wanting.task_us:.1f} us if it"
            f" wants a processor, {cost.heartbeat_us:.1f} us a heartbeat\n"
        )
