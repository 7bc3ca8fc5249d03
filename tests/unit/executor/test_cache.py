"""Keys and entries of the compile cache; boxes are doubles here, `tests/sandbox` has real ones."""

from __future__ import annotations

import asyncio
import os
import shutil
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from khala.model.outcome import CacheUse, Reason, StageOutcome, Stream
from khala.model.spec import Network, Part, PartRef, StageLimits, TaskSpec
from roles.executor import cache as module
from roles.executor.attempt import unless_cancelled
from roles.executor.cache import FREE_BYTES, CompileCache, Lookup, NotRestored
from roles.executor.cache_key import Surroundings, key_of, surroundings_of
from roles.executor.reserve import Reserve
from sandbox import Snapshot

LIMITS = StageLimits(wall_ms=1, cpu_ms=1, memory_bytes=1, pids=1, output_bytes=1, file_bytes=1)
OUTCOME = StageOutcome(reason=Reason.OK, exit_code=0, wall_ms=400, memory_peak_bytes=7)
HERE = Surroundings(version="1", sandbox="root", machine="m")


def part(data: bytes) -> PartRef:
    return PartRef(size_bytes=len(data), sha256=f"{zlib.crc32(data):064x}", inline=data)


SPEC = TaskSpec(
    user=0,
    compile_timeout_s=1,
    execute_timeout_s=1,
    compile_limits=LIMITS,
    execute_limits=LIMITS,
    parts={
        Part.COMPILE_SOURCE: part(b"zip"),
        Part.COMPILE_COMMAND: part(b"make"),
        Part.EXECUTE_INPUT: part(b"1"),
        Part.EXECUTE_COMMAND: part(b"./main"),
    },
    environment={"A": "1", "B": "2"},
)


def with_part(name: Part, data: bytes) -> TaskSpec:
    return replace(SPEC, parts={**SPEC.parts, name: part(data)})


@pytest.mark.parametrize(
    "other",
    [
        with_part(Part.COMPILE_SOURCE, b"other"),
        with_part(Part.COMPILE_COMMAND, b"make all"),
        with_part(Part.EXECUTE_DATA, b"zip"),
        replace(SPEC, parts={Part.COMPILE_COMMAND: part(b"make")}),
        replace(SPEC, environment={"A": "1"}),
        replace(SPEC, environment={"A": "2", "B": "1"}),
        replace(SPEC, image="gcc-13"),
        replace(SPEC, network=Network.NONE),
        replace(SPEC, compile_limits=replace(LIMITS, memory_bytes=2)),
        replace(SPEC, compile_limits=replace(LIMITS, disk_files=2**20)),
        replace(SPEC, execute_limits=replace(LIMITS, disk_bytes=2**40)),
    ],
)
def test_what_a_compilation_may_depend_on_is_in_the_key(other: TaskSpec) -> None:
    assert key_of(other, "t", HERE) != key_of(SPEC, "t", HERE)


@pytest.mark.parametrize(
    "other",
    [
        with_part(Part.EXECUTE_INPUT, b"2"),
        with_part(Part.EXECUTE_COMMAND, b"./main -v"),
        with_part(Part.EXECUTE_STANDARD, b"3"),
        replace(SPEC, user=1),
        replace(SPEC, execute_limits=replace(LIMITS, memory_bytes=2)),
        replace(SPEC, environment={"B": "2", "A": "1"}),
    ],
)
def test_what_differs_between_its_users_is_not(other: TaskSpec) -> None:
    assert key_of(other, "t", HERE) == key_of(SPEC, "t", HERE)


def test_the_place_is_in_the_key() -> None:
    keys = {
        key_of(SPEC, "t", HERE),
        key_of(SPEC, "u", HERE),
        key_of(SPEC, "t", replace(HERE, version="2")),
        key_of(SPEC, "t", replace(HERE, sandbox="degraded")),
        key_of(SPEC, "t", replace(HERE, machine="n")),
    }
    assert len(keys) == 5
    assert surroundings_of("root") == surroundings_of("root") != surroundings_of("other")


class FakeBox:
    """Holds one file's worth of bytes."""

    def __init__(self, data: bytes = b"", *, whole: bool = True) -> None:
        self.data, self.whole = data, whole
        self.broken = False

    async def capture(self, sink_fd: int, leave: object, max_bytes: int) -> Snapshot | None:
        os.write(sink_fd, self.data)
        await asyncio.sleep(0)
        if not self.whole or len(self.data) > max_bytes:
            return None
        return Snapshot(items=[], size_bytes=len(self.data), crc32=zlib.crc32(self.data))

    async def restore(self, snapshot: Snapshot, source_fd: int) -> None:
        if self.broken:
            raise OSError(28, "No space left on device")
        self.data = os.read(source_fd, snapshot.size_bytes)


class Rig:
    def __init__(self, top: Path, max_bytes: int = 100_000) -> None:
        self.folder = top / "cache"
        self.attempt = top / "attempt"
        self.attempt.mkdir(exist_ok=True)
        self.max_bytes = max_bytes
        self.restart()

    def restart(self) -> None:
        self.cache = CompileCache(self.folder, self.max_bytes, Reserve(self.attempt))
        self.cache.open()

    async def keep(self, key: str, data: bytes, box: FakeBox | None = None) -> None:
        missed = Lookup(CacheUse.MISS, key)
        (self.attempt / Stream.COMPILE_OUTPUT).write_bytes(b"out of " + key.encode())
        (self.attempt / Stream.COMPILE_ERROR).write_bytes(b"")
        fake: Any = box or FakeBox(data)
        await self.cache.keep(missed, fake, self.attempt, OUTCOME)

    async def get(self, key: str) -> bytes | None:
        """What comes out for `key`; None for a miss."""
        found = await self.cache.look_up(key)
        try:
            if found.use is not CacheUse.HIT:
                return None
            box: Any = FakeBox()
            outcome = await self.cache.restore(found, box, self.attempt)
            assert outcome == replace(OUTCOME, cache=CacheUse.HIT)
            output = (self.attempt / Stream.COMPILE_OUTPUT).read_bytes()
            assert output == b"out of " + key.encode()
            assert isinstance(box.data, bytes)
            return box.data
        finally:
            found.close()

    def files(self) -> list[str]:
        return sorted(os.listdir(self.folder))


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


async def test_what_was_kept_comes_back_also_after_a_restart(rig: Rig) -> None:
    assert await rig.get("a") is None
    await rig.keep("a", b"main")
    assert await rig.get("a") == b"main"
    assert await rig.get("b") is None
    counts = rig.cache.counts
    assert (counts.hits, counts.misses, counts.stored, counts.entries) == (1, 2, 1, 1)
    assert counts.size_bytes == (rig.folder / "a").stat().st_size
    rig.restart()
    assert await rig.get("a") == b"main"
    assert rig.cache.counts.size_bytes == counts.size_bytes


async def test_the_one_used_longest_ago_goes_first(rig: Rig) -> None:
    for key in ("a", "b", "c", "d"):
        await rig.keep(key, key.encode() * 24_000)
        os.utime(rig.folder / key, ns=(0, ord(key)))
    assert await rig.get("a") == b"a" * 24_000
    await rig.keep("e", b"e" * 24_000)
    assert rig.files() == ["a", "c", "d", "e"]
    assert rig.cache.counts.evicted == 1
    # The order survives a restart.
    os.utime(rig.folder / "e", ns=(0, ord("e")))
    rig.restart()
    await rig.keep("f", b"f" * 24_000)
    assert rig.files() == ["a", "d", "e", "f"]


async def test_a_smaller_bound_holds_from_the_start(rig: Rig) -> None:
    for number, key in enumerate(("a", "b", "c")):
        await rig.keep(key, b"x" * 20_000)
        os.utime(rig.folder / key, ns=(0, number))
    rig.max_bytes = 45_000
    rig.restart()
    assert rig.files() == ["b", "c"]
    rig.max_bytes = 0
    rig.restart()
    assert rig.files() == []
    assert (await rig.cache.look_up("b")).use is CacheUse.OFF


async def test_entries_are_counted_too(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CACHE_ENTRIES", 3)
    for key in "abcde":
        await rig.keep(key, b"")
    assert rig.files() == ["c", "d", "e"]


async def test_an_equal_entry_is_replaced_and_counted_once(rig: Rig) -> None:
    await asyncio.gather(rig.keep("a", b"x" * 1000), rig.keep("a", b"x" * 1000))
    assert rig.files() == ["a"]
    assert rig.cache.counts.size_bytes == (rig.folder / "a").stat().st_size
    assert await rig.get("a") == b"x" * 1000


async def test_a_quarter_of_the_cache_is_the_most_for_one(rig: Rig) -> None:
    await rig.keep("a", b"x" * 25_001)
    assert rig.files() == [] and rig.cache.counts.entries == 0


async def test_what_is_not_whole_is_not_kept(rig: Rig) -> None:
    await rig.keep("a", b"", FakeBox(b"half", whole=False))
    assert rig.files() == [] and rig.cache.counts.stored == 0


@pytest.mark.parametrize("position", ["contents", "outputs", "head", "tail"])
async def test_a_flipped_bit_is_a_miss_and_the_entry_goes(rig: Rig, position: str) -> None:
    await rig.keep("a", b"main" * 100)
    path = rig.folder / "a"
    data = bytearray(path.read_bytes())
    at = {"contents": 17, "outputs": 402, "head": 450, "tail": len(data) - 1}[position]
    data[at] ^= 1
    path.write_bytes(data)
    assert await rig.get("a") is None
    assert rig.files() == [] and rig.cache.counts.size_bytes == 0


async def test_no_cut_is_taken_for_a_whole_entry(rig: Rig) -> None:
    await rig.keep("a", b"main" * 10)
    data = (rig.folder / "a").read_bytes()
    for length in range(len(data)):
        (rig.folder / "a").write_bytes(data[:length])
        rig.restart()
        assert await rig.get("a") is None, length
    (rig.folder / "a").write_bytes(data)
    rig.restart()
    assert await rig.get("a") == b"main" * 10


async def test_an_entry_under_another_name_is_no_entry(rig: Rig) -> None:
    await rig.keep("a", b"main")
    (rig.folder / "a").rename(rig.folder / "b")
    rig.restart()
    assert await rig.get("b") is None


async def test_drafts_of_a_killed_process_go(rig: Rig) -> None:
    await rig.keep("a", b"main")
    (rig.folder / "b.0.new").write_bytes(b"half")
    rig.restart()
    assert rig.files() == ["a"]


async def test_an_entry_that_goes_while_it_is_read_is_still_whole(rig: Rig) -> None:
    await rig.keep("a", b"main")
    found = await rig.cache.look_up("a")
    await rig.cache.clear()
    assert rig.files() == []
    box: Any = FakeBox()
    await rig.cache.restore(found, box, rig.attempt)
    found.close()
    assert box.data == b"main"
    assert rig.cache.counts.entries == 0 and rig.cache.counts.size_bytes == 0


async def test_an_entry_that_does_not_fit_into_a_box_goes(rig: Rig) -> None:
    await rig.keep("a", b"main")
    found = await rig.cache.look_up("a")
    box: Any = FakeBox()
    box.broken = True
    with pytest.raises(NotRestored, match="No space"):
        await rig.cache.restore(found, box, rig.attempt)
    found.close()
    assert rig.files() == []
    counts = rig.cache.counts
    assert (counts.hits, counts.misses) == (0, 1)


async def test_the_executor_needs_the_disk_more(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    entry_bytes = rig.max_bytes // 4
    free = SimpleNamespace(free=FREE_BYTES + entry_bytes - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    await rig.keep("a", b"main")
    assert rig.files() == []
    free.free += 1
    # Another slot writes artifacts.
    with rig.cache.reserve.promised(1):
        await rig.keep("a", b"main")
        assert rig.files() == []
    await rig.keep("a", b"main")
    assert rig.files() == ["a"]


async def test_a_cancelled_task_does_not_wait_for_its_entry(rig: Rig) -> None:
    class SlowBox(FakeBox):
        async def capture(self, sink_fd: int, leave: object, max_bytes: int) -> Snapshot | None:
            cancel.set()
            await asyncio.sleep(3600)
            return None

    cancel = asyncio.Event()
    await unless_cancelled(rig.keep("a", b"", SlowBox()), cancel)
    assert rig.files() == []


async def test_a_full_disk_is_no_trouble_of_the_attempt(rig: Rig) -> None:
    class FullBox(FakeBox):
        async def capture(self, sink_fd: int, leave: object, max_bytes: int) -> Snapshot | None:
            raise OSError(28, "No space left on device")

    await rig.keep("a", b"", FullBox())
    assert rig.files() == []
