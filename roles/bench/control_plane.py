"""(c) The control plane alone: real judicator, real MongoDB, executors that finish at once.

Three phases. `accepted`: submissions while no executor is connected. `leased` and `recorded`: the
queue that phase left, drained by executors that connect then. `full`: submissions, leases and
results at the same time, which is what a cluster does all day.
"""

from __future__ import annotations

import asyncio
import time

import msgspec
from msgspec import Struct

from khala.core.agent import Agent, Identity
from khala.model.ids import BootId, ExecutorName, mint_nonce
from khala.model.outcome import Ending, Outcome, Reason, StageOutcome
from khala.model.spec import Part, StageLimits, TaskSpec
from khala.net.address_book import AddressBook
from khala.protocol.executor import FromExecutorMessage, Run
from khala.protocol.rpc import SubmitTask
from khala.version import VERSION
from roles.bench.http import connected
from roles.bench.stack import Stack, run_judicator
from roles.executor.link import Link

_EXECUTORS = 4
_SLOTS = 64
_CLIENTS = 64
_LIMITS = StageLimits(
    wall_ms=10_000,
    cpu_ms=10_000,
    memory_bytes=1 << 28,
    pids=64,
    output_bytes=1 << 20,
    file_bytes=1 << 20,
)
_OUTCOME = Outcome(
    ending=Ending.SUCCEEDED,
    reason=Reason.OK,
    execute=StageOutcome(reason=Reason.OK, exit_code=0, wall_ms=1),
)


class ControlPlane(Struct, frozen=True, kw_only=True):
    tasks: int
    executors: int
    slots: int
    accepted_per_s: float
    leased_per_s: float
    recorded_per_s: float
    #: Submitted, leased and recorded concurrently.
    full_per_s: float


class Instant:
    """An executor's shell that runs nothing: every attempt succeeds at once."""

    def __init__(self, number: int, link: Link, slots: int = _SLOTS) -> None:
        self._link = link
        self._loop = asyncio.get_running_loop()
        self.recorded = 0
        self.first_at: float | None = None
        self.last_assigned_at = 0.0
        identity = Identity(
            name=ExecutorName(f"bench-{number}"),
            boot=BootId(mint_nonce()),
            version=VERSION,
            enforcement="none: a benchmark",
            slots=slots,
        )
        self.agent = Agent(identity, self, {})

    async def serve(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._link.serve(self.agent))
            tasks.create_task(self._tick())

    async def _tick(self) -> None:
        while True:
            self.agent.on_tick()
            await asyncio.sleep(0.25)

    def now(self) -> float:
        return time.monotonic()

    def send(self, message: FromExecutorMessage) -> None:
        self._link.send(message)

    def disconnect(self, why: str) -> None:
        self._link.disconnect(why)

    def has_started(self, run: Run) -> bool:
        return False

    def start(self, run: Run, spec: TaskSpec) -> None:
        self.last_assigned_at = time.monotonic()
        self.first_at = self.first_at or self.last_assigned_at
        self._loop.call_soon(self.agent.on_spooled, run, _OUTCOME)

    def stop(self, run: Run, grace_s: float) -> None:
        pass

    def forget(self, run: Run) -> None:
        self.recorded += 1


async def measure(tasks: int) -> ControlPlane:
    """Run `tasks` tasks through each phase."""
    async with run_judicator() as stack:
        started = time.monotonic()
        await _submit(stack, tasks)
        accepted_s = time.monotonic() - started
        return await _with_executors(stack, tasks, accepted_s)


async def _with_executors(stack: Stack, tasks: int, accepted_s: float) -> ControlPlane:
    address = f"127.0.0.1:{stack.ports.rpc}"
    executors = [
        Instant(n, Link(AddressBook([address]), stack.credentials)) for n in range(_EXECUTORS)
    ]
    serving = [asyncio.ensure_future(executor.serve()) for executor in executors]
    try:
        await _until_recorded(executors, tasks)
        ended = time.monotonic()
        begun = min(executor.first_at or ended for executor in executors)
        leased = max(executor.last_assigned_at for executor in executors)
        full_started = time.monotonic()
        await _submit(stack, tasks)
        await _until_recorded(executors, 2 * tasks)
        full_s = time.monotonic() - full_started
    finally:
        for each in serving:
            each.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
    return ControlPlane(
        tasks=tasks,
        executors=_EXECUTORS,
        slots=_EXECUTORS * _SLOTS,
        accepted_per_s=round(tasks / accepted_s, 1),
        leased_per_s=round(tasks / max(leased - begun, 1e-9), 1),
        recorded_per_s=round(tasks / max(ended - begun, 1e-9), 1),
        full_per_s=round(tasks / full_s, 1),
    )


async def _submit(stack: Stack, tasks: int) -> None:
    request = SubmitTask(
        user=0,
        compile_timeout_s=10,
        execute_timeout_s=10,
        compile_limits=_LIMITS,
        execute_limits=_LIMITS,
        parts={Part.EXECUTE_COMMAND: b"true"},
    )
    body = msgspec.msgpack.encode(request)
    headers = f"Authorization: Bearer {stack.secret}\r\n"
    left = iter(range(tasks))

    async def client() -> None:
        async with connected(stack.ports.rpc) as connection:
            for _ in left:
                await connection.post("/rpc/v1/tasks", headers, body)

    async with asyncio.TaskGroup() as group:
        for _ in range(_CLIENTS):
            group.create_task(client())


async def _until_recorded(executors: list[Instant], tasks: int) -> None:
    async with asyncio.timeout(30 + tasks / 100):
        while sum(executor.recorded for executor in executors) < tasks:
            await asyncio.sleep(0.005)
