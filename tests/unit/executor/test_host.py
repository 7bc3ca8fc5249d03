"""The executor's shell around its reactor, with a runner that does what the test says."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from khala.core.agent import Identity
from khala.model.errors import Unavailable
from khala.model.ids import AttemptNo, BootId, ExecutorName, SessionNo, TaskId
from khala.model.limits import INLINE_BYTES, OUTPUT_CHUNK_BYTES
from khala.model.live import LiveChunk
from khala.model.outcome import (
    ArtifactRef,
    Artifacts,
    Bundle,
    Chunked,
    Ending,
    Outcome,
    Reason,
    Stream,
)
from khala.model.spec import StageLimits, TaskSpec
from khala.protocol.executor import (
    Assign,
    Dead,
    Finished,
    FromExecutorMessage,
    Heartbeat,
    Kill,
    Recorded,
    Refused,
    Run,
    Welcome,
)
from roles.executor import host as module
from roles.executor.attempt import Attempt
from roles.executor.cache import CompileCache
from roles.executor.host import DISK_RESERVE_BYTES, Executor
from roles.executor.reserve import Reserve
from sandbox import SandboxLost

LIMITS = StageLimits(wall_ms=1, cpu_ms=1, memory_bytes=1, pids=1, output_bytes=1, file_bytes=1)
SPEC = TaskSpec(
    user=0,
    compile_timeout_s=1,
    execute_timeout_s=1,
    compile_limits=LIMITS,
    execute_limits=LIMITS,
    parts={},
)
S1 = SessionNo(1)


def run_no(number: int) -> Run:
    return TaskId(f"{number:024x}"), AttemptNo(1)


class FakeLink:
    """Records what is sent; the connection is the test's."""

    def __init__(self) -> None:
        self.sent: list[FromExecutorMessage] = []

    def send(self, message: FromExecutorMessage) -> None:
        self.sent.append(message)

    def disconnect(self, why: str) -> None:
        raise AssertionError(why)

    async def serve(self, _: object) -> None:
        await asyncio.Event().wait()


def artifacts_of(data: bytes) -> Artifacts:
    file = ArtifactRef(name=b"a", size_bytes=len(data), sha256=b"", crc32=0, modified_s=0)
    return Artifacts(chunk_bytes=OUTPUT_CHUNK_BYTES, files=(file,))


class FakeRunner:
    def __init__(self, cache: CompileCache) -> None:
        self.cache = cache
        self.output = b"hi"
        self.artifacts = b""
        self.error: Exception | None = None
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.began: list[Run] = []
        self.attempts: list[Attempt] = []
        self.keeps_files = False

    async def drop_files(self) -> None:
        self.keeps_files = False

    def beat(self) -> None:
        pass

    def choose(self, free: Collection[int]) -> int:
        return min(free)

    async def run(self, attempt: Attempt) -> Outcome:
        await attempt.journal(attempt.run)
        self.began.append(attempt.run)
        self.attempts.append(attempt)
        await self.may_end.wait()
        if self.error is not None:
            raise self.error
        (attempt.folder / Stream.EXECUTE_OUTPUT).write_bytes(self.output)
        artifacts = None
        if self.artifacts:
            (attempt.folder / Bundle.ARTIFACTS).write_bytes(self.artifacts)
            artifacts = artifacts_of(self.artifacts)
        return Outcome(ending=Ending.SUCCEEDED, reason=Reason.OK, artifacts=artifacts)


class FakeOutputs:
    def __init__(self) -> None:
        self.fails = 0
        self.chunks: list[tuple[int, int]] = []
        self.stored: dict[tuple[Run, Chunked], bytes] = {}
        self.live: list[LiveChunk] = []

    async def put_chunk(self, run: Run, stream: Chunked, n: int, data: bytes) -> None:
        if self.fails:
            self.fails -= 1
            raise Unavailable
        self.chunks.append((n, len(data)))
        self.stored[run, stream] = self.stored.get((run, stream), b"") + data

    async def put_live(self, chunks: Sequence[LiveChunk]) -> None:
        self.live += chunks


class Rig:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        cache = CompileCache(folder / "cache", 0, Reserve(folder))
        self.link, self.runner, self.outputs = FakeLink(), FakeRunner(cache), FakeOutputs()
        identity = Identity(
            name=ExecutorName("e"), boot=BootId("b"), version="1", enforcement="none", slots=1
        )
        self.executor = Executor(
            identity,
            folder,
            self.runner,  # type: ignore[arg-type]
            self.link,  # type: ignore[arg-type]
            self.outputs,
        )
        agent = self.executor.agent
        agent.on_connected()
        agent.on_message(
            Welcome(session=S1, boot=BootId("b"), judicator="j", peers=[], kill=[])  # type: ignore[arg-type]
        )
        self.link.sent.clear()

    def assign(self, number: int) -> Run:
        run = run_no(number)
        self.executor.agent.on_message(Assign(session=S1, run=run, spec=SPEC))
        return run

    async def until(self, kind: type[FromExecutorMessage]) -> FromExecutorMessage:
        async with asyncio.timeout(10):
            while True:
                for message in self.link.sent:
                    if isinstance(message, kind):
                        return message
                await asyncio.sleep(0.005)


@pytest.fixture
async def rig(tmp_path: Path) -> object:
    rig = Rig(tmp_path)
    serving = asyncio.ensure_future(rig.executor.serve())
    await asyncio.sleep(0)
    yield rig
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def test_small_result_goes_with_its_output_and_its_executor(rig: Rig) -> None:
    run = rig.assign(1)
    finished = await rig.until(Finished)
    assert isinstance(finished, Finished)
    assert finished.run == run
    assert finished.outcome.streams[Stream.EXECUTE_OUTPUT].inline == b"hi"
    assert finished.outcome.executor == "e"
    assert rig.executor.has_started(run)
    rig.executor.agent.on_message(Recorded(runs=[run]))
    assert not rig.executor.has_started(run)


async def test_large_output_is_stored_before_the_result_is_sent(rig: Rig) -> None:
    rig.runner.output = b"x" * (OUTPUT_CHUNK_BYTES + INLINE_BYTES)
    rig.outputs.fails = 1
    rig.assign(1)
    async with asyncio.timeout(10):
        while rig.outputs.fails:
            await asyncio.sleep(0.005)
    assert not any(isinstance(message, Finished) for message in rig.link.sent)
    await rig.until(Finished)  # with the next heartbeat
    assert rig.outputs.chunks == [(0, OUTPUT_CHUNK_BYTES), (1, INLINE_BYTES)]


async def test_artifacts_are_stored_before_the_result_is_sent(rig: Rig) -> None:
    rig.runner.artifacts = b"0" * OUTPUT_CHUNK_BYTES + b"end"
    rig.outputs.fails = 1
    run = rig.assign(1)
    async with asyncio.timeout(10):
        while rig.outputs.fails:
            await asyncio.sleep(0.005)
    assert not any(isinstance(message, Finished) for message in rig.link.sent)
    finished = await rig.until(Finished)
    assert isinstance(finished, Finished)
    assert finished.outcome.artifacts == artifacts_of(rig.runner.artifacts)
    assert finished.outcome.streams[Stream.EXECUTE_OUTPUT].inline == b"hi"
    assert rig.outputs.stored == {(run, Bundle.ARTIFACTS): rig.runner.artifacts}
    rig.executor.agent.on_message(Recorded(runs=[run]))
    assert not list((rig.folder / "spool").iterdir())


async def test_artifacts_survive_the_executor(rig: Rig, tmp_path: Path) -> None:
    """Killed after they were collected and before they were delivered."""
    rig.runner.artifacts = b"artifact"
    rig.outputs.fails = 10**6
    run = rig.assign(1)
    async with asyncio.timeout(10):
        while run not in rig.executor.agent.spool:
            await asyncio.sleep(0.005)
    copy = tmp_path / "copy"
    shutil.copytree(rig.folder, copy)
    later = Rig(copy)
    serving = asyncio.ensure_future(later.executor.serve())
    await later.until(Finished)
    assert later.outputs.stored == {(run, Bundle.ARTIFACTS): b"artifact"}
    later.executor.agent.on_message(Recorded(runs=[run]))
    assert not list((copy / "spool").iterdir())
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def test_attempt_that_waits_too_long_for_a_slot_goes_back_unstarted(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AHEAD_WAIT_S", 0.05)
    rig.runner.may_end.clear()
    first, second = rig.assign(1), rig.assign(2)
    refused = await rig.until(Refused)
    assert refused == Refused(
        session=S1, run=second, why="no slot became free in time", waited=True
    )
    assert rig.runner.began == [first]
    assert not rig.executor.has_started(second)


def told_of(rig: Rig) -> list[int]:
    """How many were ending, as each heartbeat said."""
    return [each.ending for each in rig.link.sent if isinstance(each, Heartbeat)]


async def test_what_has_time_to_end_is_told_of_until_it_is_gone(rig: Rig) -> None:
    rig.runner.may_end.clear()
    first, second = rig.assign(1), rig.assign(2)
    while not rig.runner.began:
        await asyncio.sleep(0.005)
    for run, grace_s in ((first, 60.0), (second, 9.0)):
        rig.executor.agent.on_message(Kill(session=S1, run=run, grace_s=grace_s))
    [attempt] = rig.runner.attempts
    assert attempt.cancel.is_set()
    assert attempt.grace_s is not None
    assert 50.0 < attempt.grace_s() <= 60.0
    assert told_of(rig)[-1] == 2
    # The second one never began, and does not wait for its slot in vain.
    rig.runner.may_end.set()
    async with asyncio.timeout(10):
        while told_of(rig)[-1]:
            await asyncio.sleep(0.005)
    assert not any(isinstance(each, Finished) for each in rig.link.sent)


@pytest.mark.parametrize(
    ("error", "answer"),
    [(SandboxLost(), Dead), (Unavailable("payload"), Refused), (OSError(28, "full"), Refused)],
    ids=["sandbox lost", "payload out of reach", "disk full"],
)
async def test_trouble_of_the_host_is_never_a_result(
    rig: Rig, error: Exception, answer: type[FromExecutorMessage]
) -> None:
    rig.runner.error = error
    rig.assign(1)
    await rig.until(answer)
    assert not any(isinstance(message, Finished) for message in rig.link.sent)
    # The slot is free again.
    rig.runner.error = None
    rig.assign(2)
    await rig.until(Finished)


async def test_full_disk_stops_new_work_until_there_is_twice_the_reserve(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for free, accepts in (
        (DISK_RESERVE_BYTES - 1, False),
        (DISK_RESERVE_BYTES + 1, False),
        (2 * DISK_RESERVE_BYTES, True),
        (DISK_RESERVE_BYTES, True),
    ):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        async with asyncio.timeout(10):
            while rig.executor.agent.accepts_work is not accepts:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)  # a tick more: it stays so
        assert rig.executor.agent.accepts_work is accepts
