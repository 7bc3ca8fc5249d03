"""The compile cache on real boxes: what is run once, what must be run every time."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import zipfile
from pathlib import Path

import pytest
from msgspec.structs import replace

from khala.model.ids import AttemptNo, mint_task_id
from khala.model.outcome import CacheUse, Ending, Outcome, Reason, Stream
from khala.model.spec import Part, PartRef, TaskSpec
from khala.protocol.executor import Run
from roles.executor.attempt import Attempt
from roles.executor.cache import CompileCache
from roles.executor.cache_key import Surroundings
from roles.executor.live import LiveAttempt
from roles.executor.reserve import Reserve
from roles.executor.runner import Runner as AttemptRunner
from sandbox import Box, Snapshot
from tests.sandbox.harness import LIMITS, Runner

MIB = 1024 * 1024
#: Shows whether it was run again.
STAMP = "head -c 16 /dev/urandom | od -An -tx1 > stamp; echo compiled; echo odd >&2"
HERE = Surroundings(version="1", sandbox="s", machine="m")


def open_cache(top: Path, max_bytes: int = 64 * MIB) -> CompileCache:
    cache = CompileCache(top / "cache", max_bytes, Reserve(top))
    cache.open()
    return cache


class Executor:
    """Runs tasks in one slot, with a cache."""

    def __init__(self, runner: Runner, top: Path, cache: CompileCache | None = None) -> None:
        self.top = top
        self.cache = cache or open_cache(top)
        payloads = None  # everything travels with the task
        self._runner = AttemptRunner(runner.sandbox, payloads, self.cache, HERE)  # type: ignore[arg-type]
        self.folder = top / "attempt"
        self.folder.mkdir(exist_ok=True, parents=True)
        self.cancel = asyncio.Event()

    async def run(self, spec: TaskSpec, slot: int = 0) -> Outcome:
        for path in self.folder.iterdir():
            path.unlink()

        async def journal(_: Run) -> None:
            return

        attempt = Attempt(
            run=(mint_task_id(), AttemptNo(1)),
            spec=spec,
            slot=slot,
            folder=self.folder,
            on_progress=lambda *_: None,
            journal=journal,
            live=LiveAttempt((mint_task_id(), AttemptNo(1)), self.folder),
            cancel=self.cancel,
        )
        return await self._runner.run(attempt)

    async def use(self, spec: TaskSpec, slot: int = 0) -> CacheUse | None:
        compiled = (await self.run(spec, slot)).compile
        assert compiled is not None
        return compiled.cache

    def output(self, stream: Stream = Stream.EXECUTE_OUTPUT) -> bytes:
        return (self.folder / stream).read_bytes()


@pytest.fixture
def executor(runner: Runner, tmp_path: Path) -> Executor:
    return Executor(runner, tmp_path)


def task(compile_command: str, execute_command: str = "cat stamp", **more: bytes) -> TaskSpec:
    parts = {
        Part.COMPILE_COMMAND: compile_command.encode(),
        Part.EXECUTE_COMMAND: execute_command.encode(),
        **{Part(name): data for name, data in more.items()},
    }
    return TaskSpec(
        user=0,
        compile_timeout_s=10,
        execute_timeout_s=10,
        compile_limits=LIMITS,
        execute_limits=LIMITS,
        parts={
            name: PartRef(
                size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), inline=data
            )
            for name, data in parts.items()
            if data
        },
    )


def archive(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for name, data in files.items():
            opened.writestr(name.replace("_", "."), data)
    return buffer.getvalue()


async def test_the_same_sources_are_compiled_once(executor: Executor) -> None:
    source = b'#include <stdio.h>\nint main(){int a;scanf("%d",&a);printf("%d\\n",2*a);}'
    sources = archive(main_c=source)
    command = "gcc -Wall -o main main.c; echo done; echo warned >&2"
    first = await executor.run(task(command, "./main", compile_source=sources, execute_input=b"1"))
    assert first.ending is Ending.SUCCEEDED and first.compile is not None
    assert first.compile.cache is CacheUse.MISS
    assert executor.output() == b"2\n"
    for number in (2, 3):
        second = task(command, "./main; ls", compile_source=sources, execute_input=b"%d" % number)
        again = await executor.run(second, slot=number % 2)
        assert again.compile == replace(first.compile, cache=CacheUse.HIT)
        listed = b"compile.sh\ndata\nexecute.in\nexecute.sh\nmain\nmain.c\n"
        assert executor.output() == b"%d\n" % (2 * number) + listed
        assert executor.output(Stream.COMPILE_OUTPUT) == b"done\n"
        assert executor.output(Stream.COMPILE_ERROR) == b"warned\n"
    other = archive(main_c=source.replace(b"2*a", b"3*a"))
    changed = task(command, "./main", compile_source=other, execute_input=b"2")
    assert await executor.use(changed) is CacheUse.MISS
    assert executor.output() == b"6\n"
    counts = executor.cache.counts
    assert (counts.hits, counts.misses, counts.stored) == (2, 2, 2)


async def test_a_task_that_wants_none_gets_none(executor: Executor) -> None:
    spec = replace(task(STAMP), cache=False)
    outputs = set()
    for _ in range(2):
        assert await executor.use(spec) is CacheUse.OFF
        outputs.add(executor.output())
    assert len(outputs) == 2
    assert await executor.use(replace(spec, cache=True)) is CacheUse.MISS
    # Without a compile stage there is nothing to say.
    assert (await executor.run(task("", "true"))).compile is None


async def test_a_cache_that_is_turned_off(runner: Runner, tmp_path: Path) -> None:
    executor = Executor(runner, tmp_path, open_cache(tmp_path, max_bytes=0))
    assert [await executor.use(task(STAMP)) for _ in range(2)] == [CacheUse.OFF] * 2
    assert executor.cache.counts.misses == 0


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("touch made; exit 1", Reason.EXIT_NONZERO),
        ("touch made; kill -9 $$", Reason.SIGNAL),
        ("touch made; sleep 60", Reason.WALL_TIME),
        ("touch made; yes", Reason.OUTPUT_LIMIT),
        ("mkfifo pipe", Reason.OK),
        ("cat execute.in > made", Reason.OK),
        ("echo 'echo mine' > execute.sh", Reason.OK),
        ("rm execute.in", Reason.OK),
    ],
)
async def test_what_is_never_kept(executor: Executor, command: str, reason: Reason) -> None:
    spec = task(f"{STAMP}; {command}", execute_input=b"x")
    spec = replace(spec, compile_limits=replace(LIMITS, wall_ms=1500, output_bytes=MIB))
    for _ in range(2):
        outcome = await executor.run(spec)
        assert outcome.compile is not None
        assert (outcome.compile.reason, outcome.compile.cache) == (reason, CacheUse.MISS)
    assert executor.cache.counts.entries == 0
    assert os.listdir(executor.top / "cache") == []


async def test_a_cancelled_compilation_is_not_kept(executor: Executor) -> None:
    running = asyncio.ensure_future(executor.run(task(f"{STAMP}; sleep 60")))
    while not (executor.folder / Stream.COMPILE_OUTPUT).exists():
        await asyncio.sleep(0.01)
    executor.cancel.set()
    outcome = await running
    assert outcome.compile is not None and outcome.compile.reason is Reason.CANCELLED
    assert executor.cache.counts.entries == 0


async def test_no_task_can_change_what_the_next_one_gets(executor: Executor) -> None:
    """Neither the one that compiled nor one that got it from the cache."""
    wreck = "cat stamp; chmod -R 777 .; echo changed > stamp; rm -f compile.sh; ln -s / root"
    outputs = []
    for expected in (CacheUse.MISS, CacheUse.HIT, CacheUse.HIT):
        assert await executor.use(task(STAMP, wreck)) is expected
        outputs.append(executor.output())
    assert await executor.use(task(STAMP, "cat stamp; ls")) is CacheUse.HIT
    stamp = outputs[0]
    assert outputs == [stamp] * 3
    assert executor.output() == stamp + b"compile.sh\ndata\nexecute.in\nexecute.sh\nstamp\n"


async def test_what_lies_in_tmp_belongs_to_it(executor: Executor) -> None:
    spec = task("mkdir /tmp/cache; echo 1 > /tmp/cache/x", "cat /tmp/cache/x")
    assert [await executor.use(spec) for _ in range(2)] == [CacheUse.MISS, CacheUse.HIT]
    assert executor.output() == b"1\n"


async def test_the_task_has_its_own_name_after_a_hit(executor: Executor) -> None:
    """The trap that users are told of: what the compile stage read of itself stays."""
    spec = task("echo $KHALA_TASK_ID > id", "cat id; echo $KHALA_TASK_ID")
    seen = []
    for _ in range(2):
        await executor.run(spec)
        seen.append(executor.output().split())
    assert seen[0][0] == seen[0][1] == seen[1][0] != seen[1][1]


async def test_a_broken_entry_costs_a_compilation_and_no_more(executor: Executor) -> None:
    assert await executor.use(task(STAMP)) is CacheUse.MISS
    (entry,) = (executor.top / "cache").iterdir()
    data = bytearray(entry.read_bytes())
    data[3] ^= 0xFF
    entry.write_bytes(data)
    assert await executor.use(task(STAMP)) is CacheUse.MISS
    assert await executor.use(task(STAMP)) is CacheUse.HIT


async def test_an_entry_that_cannot_be_put_back_costs_a_compilation(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await executor.use(task(STAMP)) is CacheUse.MISS
    whole = Box.restore

    async def restore(box: Box, snapshot: Snapshot, source_fd: int) -> None:
        await whole(box, snapshot, source_fd)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Box, "restore", restore)
    assert await executor.use(task(STAMP)) is CacheUse.MISS
    monkeypatch.undo()
    assert await executor.use(task(STAMP, "ls")) is CacheUse.HIT
    # In a box of its own: nothing of the first try is there twice, or missing.
    assert executor.output().split() == [
        *(b"compile.sh", b"data", b"execute.in", b"execute.sh", b"stamp")
    ]


async def test_two_at_once_both_compile(runner: Runner, tmp_path: Path) -> None:
    executor = Executor(runner, tmp_path)
    other = Executor(runner, tmp_path / "other", executor.cache)
    spec = task(f"sleep 0.3; {STAMP}")
    uses = await asyncio.gather(executor.use(spec, 0), other.use(spec, 1))
    assert list(uses) == [CacheUse.MISS] * 2
    assert await executor.use(spec) is CacheUse.HIT
    assert executor.cache.counts.entries == 1
