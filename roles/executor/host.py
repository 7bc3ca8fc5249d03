"""The shell around the executor's reactor: starts attempts, spools results, delivers outputs."""

from __future__ import annotations

import asyncio
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from khala.core.agent import Agent, Identity
from khala.model.errors import KhalaError
from khala.model.ids import AttemptNo, TaskId
from khala.model.limits import AHEAD_WAIT_S, MIB, OUTPUT_CHUNK_BYTES
from khala.model.outcome import Chunked, Outcome, Reason
from khala.model.spec import TaskSpec
from khala.model.task import Progress
from khala.protocol.executor import Finished, FromExecutorMessage, Run
from roles.executor.attempt import Attempt
from roles.executor.journal import Journal
from roles.executor.link import Link
from roles.executor.live import LiveChunks, LiveOutput
from roles.executor.runner import Runner
from roles.executor.spool import Spool, chunked_of
from sandbox import SandboxLost

log = structlog.get_logger()

#: Below this much free space the executor takes no work, above twice as much it does again.
DISK_RESERVE_BYTES = 256 * MIB


class Outputs(LiveChunks, Protocol):
    """Takes large outputs and artifacts, and what is written before, by HTTP to any judicator."""

    async def put_chunk(
        self, run: tuple[TaskId, AttemptNo], stream: Chunked, n: int, data: bytes
    ) -> None: ...


@dataclass(slots=True)
class Running:
    cancel: asyncio.Event = field(default_factory=asyncio.Event)
    #: When it is killed that was cancelled; in the time of `Executor.now`.
    killed_at: float = 0.0

    def grace_s(self) -> float:
        return max(0.0, self.killed_at - time.monotonic())


class Executor:
    """`khala.core.agent.Host`, implemented."""

    def __init__(
        self, identity: Identity, data_dir: Path, runner: Runner, link: Link, outputs: Outputs
    ) -> None:
        self._data_dir = data_dir
        self._journal = Journal(data_dir / "journal")
        self._spool = Spool(data_dir, identity.slots)
        self._runner = runner
        self._cache = runner.cache
        self._link = link
        self._outputs = outputs
        self._live = LiveOutput(outputs)
        self._attempts: dict[Run, Running] = {}
        #: Reported at the next tick: a stage that is over by then was not worth a write.
        self._progress: dict[Run, Progress] = {}
        self._tasks: asyncio.TaskGroup | None = None
        #: Spooled results whose large outputs the store has.
        self._uploaded: set[Run] = set()
        self._uploading: set[Run] = set()
        self._free = set(range(identity.slots))
        self._some_free = asyncio.Semaphore(identity.slots)
        self.agent = Agent(identity, self, self._spool.load())

    async def serve(self) -> None:
        """Until cancelled; an attempt's defect ends the process, its failure does not."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self._journal.serve())
            tasks.create_task(self._tick())
            tasks.create_task(self._live.serve())
            tasks.create_task(self._link.serve(self.agent))

    async def _tick(self) -> None:
        while True:
            self._watch_disk()
            self.agent.cache = self._cache.counts
            progress, self._progress = self._progress, {}
            for run, stage in progress.items():
                self.agent.on_progress(run, stage)
            self.agent.on_tick()
            await asyncio.sleep(0.25)

    def _watch_disk(self) -> None:
        free = shutil.disk_usage(self._data_dir).free
        enough = DISK_RESERVE_BYTES * (1 if self.agent.accepts_work else 2)
        if free < 2 * DISK_RESERVE_BYTES and self._runner.keeps_files and self._tasks:
            log.warning("executor.cache_cleared", free_bytes=free)
            self._tasks.create_task(self._runner.drop_files())
        if (free >= enough) != self.agent.accepts_work:
            self.agent.accepts_work = free >= enough
            log.warning(
                "executor.disk",
                free_bytes=free,
                needed_bytes=enough,
                accepts_work=self.agent.accepts_work,
            )

    async def drain(self, timeout_s: float) -> None:
        """Stop: let what runs end within `timeout_s`, give the rest back, deliver results."""
        self.agent.begin_stop()
        deadline = time.monotonic() + timeout_s
        while self.agent.running and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        self.agent.give_up_runs()
        deadline = time.monotonic() + 2.0
        while (self._attempts or self.agent.spool) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)

    # ---- khala.core.agent.Host --------------------------------------------------------------

    def now(self) -> float:
        return time.monotonic()

    def has_started(self, run: Run) -> bool:
        return run in self._journal

    def disconnect(self, why: str) -> None:
        self._link.disconnect(why)

    def send(self, message: FromExecutorMessage) -> None:
        if isinstance(message, Finished) and not self._delivered(message.run, message.outcome):
            if message.run not in self._uploading and self._tasks is not None:
                self._uploading.add(message.run)
                self._tasks.create_task(self._upload(message))
            return
        self._link.send(message)

    def start(self, run: Run, spec: TaskSpec) -> None:
        if self._tasks is not None:
            running = self._attempts[run] = Running()
            self._tasks.create_task(self._attempt(run, spec, running))

    def stop(self, run: Run, grace_s: float) -> None:
        if run in self._attempts:
            self._attempts[run].killed_at = self.now() + grace_s
            self._attempts[run].cancel.set()

    def forget(self, run: Run) -> None:
        self._spool.discard(run)
        self._journal.retire(run)
        self._uploaded.discard(run)

    # ---- attempts ---------------------------------------------------------------------------

    async def _attempt(self, run: Run, spec: TaskSpec, running: Running) -> None:
        try:
            await self._attempt_in_slot(run, spec, running)
        finally:
            self.agent.on_gone(run)

    async def _attempt_in_slot(self, run: Run, spec: TaskSpec, running: Running) -> None:
        try:
            async with asyncio.timeout(AHEAD_WAIT_S):
                await self._some_free.acquire()
        except TimeoutError:
            del self._attempts[run]
            self.agent.on_refused(run, "no slot became free in time", waited=True)
            return
        slot = self._runner.choose(self._free)
        self._free.remove(slot)
        try:
            if running.cancel.is_set():
                return
            outcome = await self._run(run, spec, slot, running)
            identity = self.agent.identity
            outcome = msgspec.structs.replace(
                outcome, executor=identity.name, enforcement=identity.enforces
            )
            outcome = self._spool.commit(run, slot, outcome)
        except SandboxLost as error:
            log.warning("attempt.lost", task=run[0], attempt=run[1], why=error.message)
            self._spool.discard(run)
            self.agent.on_lost(run)
        except (KhalaError, OSError) as error:
            log.warning("attempt.refused", task=run[0], attempt=run[1], why=str(error))
            self._spool.discard(run)
            self.agent.on_refused(run, str(error))
        else:
            self.agent.on_spooled(run, outcome)
        finally:
            self._progress.pop(run, None)
            del self._attempts[run]
            self._free.add(slot)
            self._some_free.release()

    async def _run(self, run: Run, spec: TaskSpec, slot: int, running: Running) -> Outcome:
        folder = self._spool.begin(slot)
        live = self._live.open(run, folder)
        recorded = False
        try:
            attempt = Attempt(
                run=run,
                spec=spec,
                slot=slot,
                folder=folder,
                on_progress=self._on_progress,
                journal=self._journal.append,
                live=live,
                cancel=running.cancel,
                grace_s=running.grace_s,
            )
            outcome = await self._runner.run(attempt)
            recorded = outcome.reason is not Reason.CANCELLED
            return outcome
        finally:
            if not recorded:
                await self._live.store_rest(run)
            self._live.close(run)

    def _on_progress(self, run: Run, progress: Progress) -> None:
        self._progress[run] = progress

    # ---- outputs ----------------------------------------------------------------------------

    def _delivered(self, run: Run, outcome: Outcome) -> bool:
        return not chunked_of(outcome) or run in self._uploaded

    async def _upload(self, message: Finished) -> None:
        """Outputs go first: a recorded result must never point at bytes that are not there."""
        run = message.run
        try:
            for stream in chunked_of(message.outcome):
                await self._upload_stream(run, stream)
        except (KhalaError, OSError) as error:
            log.warning("output.not_delivered", task=run[0], attempt=run[1], why=str(error))
            return  # the next heartbeat sends Finished again
        finally:
            self._uploading.discard(run)
        if run in self.agent.spool:
            self._uploaded.add(run)
            self._link.send(message)

    async def _upload_stream(self, run: Run, stream: Chunked) -> None:
        with open(self._spool.stream_path(run, stream), "rb") as file:
            n = 0
            while chunk := file.read(OUTPUT_CHUNK_BYTES):
                await self._outputs.put_chunk(run, stream, n, chunk)
                n += 1
