"""Every limit ends a stage with its own reason, and names itself and the value observed."""

from __future__ import annotations

import asyncio
import time

import pytest

from khala.model.enforcement import Unenforced
from khala.model.limits import KIB, MIB
from khala.model.outcome import Reason, StreamCut
from khala.model.spec import OnOutputLimit, Stage
from tests.sandbox.harness import BOX_BYTES, BOX_INODES, PACE, TMP_BYTES, Runner

_ALLOCATE = "python3 -c 'x = bytearray(200 << 20); print(len(x))'"
_SPIN = "while :; do :; done"


async def test_wall_time(runner: Runner) -> None:
    limit = 300 * PACE
    ran = await runner.run("echo before; sleep 600; echo after", wall_ms=limit)
    outcome = ran.outcome
    assert outcome.reason is Reason.WALL_TIME
    assert outcome.limit == limit and outcome.observed is not None
    assert limit <= outcome.observed < 10 * limit
    assert outcome.exit_code is None
    assert ran.stdout == b"before\n"
    assert outcome.note is not None and f"limit {limit / 1000:.2f} s" in outcome.note


async def test_cpu_time(runner: Runner) -> None:
    outcome = (await runner.run(_SPIN, cpu_ms=200)).outcome
    assert outcome.reason is Reason.CPU_TIME
    assert outcome.limit == 200 and outcome.observed is not None
    assert 200 <= outcome.observed < 600
    assert outcome.cpu_user_ms + outcome.cpu_system_ms == outcome.observed


async def test_cpu_time_is_that_of_all_processes(runner: Runner) -> None:
    outcome = (await runner.run(f"({_SPIN}) & ({_SPIN}) & wait", cpu_ms=400)).outcome
    assert outcome.reason is Reason.CPU_TIME
    assert outcome.observed is not None and outcome.observed < 1000


@pytest.mark.enforced(Unenforced.CPU_TOTAL)
async def test_cpu_time_of_a_program_that_ends_between_two_looks(runner: Runner) -> None:
    outcome = (await runner.run("python3 -c 'pass'", cpu_ms=1)).outcome
    assert outcome.reason is Reason.CPU_TIME


@pytest.mark.enforced(Unenforced.CPU_SHARE)
async def test_cpu_share(runner: Runner) -> None:
    outcome = (await runner.run(_SPIN, wall_ms=1000, cpus=0.3)).outcome
    assert outcome.reason is Reason.WALL_TIME
    assert outcome.cpu_user_ms + outcome.cpu_system_ms < 600


@pytest.mark.enforced(
    Unenforced.MEMORY_TOTAL,
    Unenforced.SHARED_MEMORY,
    Unenforced.FILE_MEMORY,
    Unenforced.LIMIT_REASONS,
)
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(_ALLOCATE, id="anonymous"),
        pytest.param("head -c 40M /dev/zero > /dev/shm/f; sleep 20", id="shared memory"),
        pytest.param("head -c 40M /dev/zero > /tmp/f; sleep 20", id="tmp"),
        pytest.param("head -c 30M /dev/zero > f; sleep 20", id="box"),
        pytest.param(
            "for i in 1 2 3 4; do python3 -c 'import time; x = bytearray(12 << 20);"
            " time.sleep(20)' & done; wait",
            id="sum of processes",
        ),
        pytest.param(
            "python3 -c 'import mmap; m = mmap.mmap(-1, 99 << 20); m.write(bytes(90 << 20))'",
            id="shared anonymous",
        ),
    ],
)
async def test_memory(runner: Runner, command: str) -> None:
    outcome = (await runner.run(command, memory_bytes=28 * MIB)).outcome
    assert outcome.reason is Reason.MEMORY
    assert outcome.limit == 28 * MIB and outcome.observed is not None
    assert 25 * MIB < outcome.observed <= 28 * MIB


@pytest.mark.enforced(Unenforced.LIMIT_REASONS)
async def test_less_memory_than_the_jail_itself_needs(runner: Runner) -> None:
    outcome = (await runner.run("true", memory_bytes=64 * KIB)).outcome
    assert outcome.reason is Reason.MEMORY
    assert outcome.limit == 64 * KIB and outcome.exit_code is None


@pytest.mark.enforced(Unenforced.LIMIT_REASONS)
async def test_memory_of_a_child_ends_the_whole_stage(runner: Runner) -> None:
    ran = await runner.run(f"{_ALLOCATE}; sleep 30; echo survived", memory_bytes=32 * MIB)
    assert ran.outcome.reason is Reason.MEMORY
    assert ran.stdout == b""
    assert ran.outcome.wall_ms < 10_000


async def test_output_of_exactly_the_limit(runner: Runner) -> None:
    ran = await runner.run("head -c 4096 /dev/zero", output_bytes=4096)
    assert ran.outcome.reason is Reason.OK
    assert len(ran.stdout) == 4096


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_output_limit(runner: Runner, stream: str) -> None:
    ran = await runner.run(
        f"head -c 4097 /dev/zero >/dev/{stream}; echo x >/dev/null", output_bytes=4096
    )
    outcome = ran.outcome
    assert outcome.reason is Reason.OUTPUT_LIMIT
    assert outcome.limit == 4096 and outcome.observed == 4097
    assert len(getattr(ran, stream)) == 4096
    assert outcome.note is not None and stream in outcome.note


async def test_an_output_that_is_stopped_keeps_its_end(runner: Runner) -> None:
    ran = await runner.run(
        "echo first; yes filler | head -c 20000; echo last; exec sleep 60", output_bytes=1000
    )
    outcome = ran.outcome
    assert outcome.reason is Reason.OUTPUT_LIMIT
    assert len(ran.stdout) == outcome.stdout_bytes == 1000
    assert ran.stdout.startswith(b"first\n")
    assert outcome.stdout_cut is not None
    assert outcome.stdout_cut.gap_at == 500
    assert outcome.observed == outcome.stdout_cut.seen_bytes > 1000


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_an_output_that_is_cut_is_no_failure(runner: Runner, stream: str) -> None:
    ran = await runner.run(
        f"{{ echo first; yes filler | head -c 2999997; echo last; }} >/dev/{stream}",
        output_bytes=700_000,
        on_output_limit=OnOutputLimit.TRUNCATE,
    )
    outcome = ran.outcome
    assert (outcome.reason, outcome.exit_code) == (Reason.OK, 0)
    kept = getattr(ran, stream)
    assert len(kept) == 700_000
    assert kept.startswith(b"first\nfiller\n") and kept.endswith(b"filler\nlast\n")
    cut = StreamCut(seen_bytes=3_000_008, gap_at=350_000)
    assert getattr(outcome, f"{stream}_cut") == cut
    assert outcome.note is not None and stream in outcome.note
    other = "stderr" if stream == "stdout" else "stdout"
    assert getattr(outcome, f"{other}_cut") is None


async def test_a_cut_output_does_not_hide_another_limit(runner: Runner) -> None:
    ran = await runner.run(
        "yes", wall_ms=400 * PACE, output_bytes=5000, on_output_limit=OnOutputLimit.TRUNCATE
    )
    outcome = ran.outcome
    assert outcome.reason in (Reason.WALL_TIME, Reason.CPU_TIME)
    assert len(ran.stdout) == 5000
    assert outcome.stdout_cut is not None and outcome.stdout_cut.seen_bytes > 5000


async def test_endless_output_ends_and_leaves_the_loop_free(runner: Runner) -> None:
    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(tick())
        ran = await runner.run("cat /dev/zero", output_bytes=16 * MIB)
        ticking.cancel()
    assert ran.outcome.reason is Reason.OUTPUT_LIMIT
    assert ran.outcome.stdout_bytes == 16 * MIB
    # One slice of 64 KiB per turn.
    assert turns >= 16 * MIB // (64 * KIB)


@pytest.mark.enforced(Unenforced.LIMIT_REASONS)
async def test_process_limit(runner: Runner) -> None:
    program = (
        "import os, time\nfor i in range(20):\n    if os.fork() == 0: time.sleep(20); os._exit(0)\n"
    )
    outcome = (await runner.run(f"python3 -c '{program}'", pids=10)).outcome
    assert outcome.reason is Reason.PROCESS_LIMIT
    assert outcome.limit == 10 and outcome.observed == 10
    assert outcome.pids_peak == 10


async def test_exactly_as_many_processes_as_allowed(runner: Runner) -> None:
    outcome = (await runner.run("for i in 1 2 3 4; do sleep 0.1 & done; wait", pids=5)).outcome
    assert outcome.reason is Reason.OK
    assert outcome.pids_peak == 5 and outcome.note is None


async def test_fork_bomb(runner: Runner) -> None:
    outcome = (await runner.run("perl -e 'fork while 1'", wall_ms=700 * PACE)).outcome
    assert outcome.reason in (Reason.WALL_TIME, Reason.CPU_TIME)
    assert outcome.pids_peak == 64


async def test_file_size(runner: Runner) -> None:
    outcome = (await runner.run("head -c 2M /dev/zero > f", file_bytes=1 * MIB)).outcome
    assert outcome.reason is Reason.FILE_SIZE
    assert outcome.limit == outcome.observed == 1 * MIB


@pytest.mark.parametrize("path", ["f", "/tmp/f"])
async def test_file_size_that_a_program_is_told_by_an_error(runner: Runner, path: str) -> None:
    """Python ignores the signal, as do programs that handle it themselves."""
    command = f'python3 -c \'open("{path}", "wb").write(bytes(2 << 20))\''
    outcome = (await runner.run(command, file_bytes=1 * MIB)).outcome
    assert (outcome.reason, outcome.exit_code) == (Reason.FILE_SIZE, 1)
    assert outcome.limit == outcome.observed == 1 * MIB


async def test_a_failure_beside_large_files_is_not_blamed_on_them(runner: Runner) -> None:
    command = "head -c 1048577 /dev/zero > f; ln -s f g; exit 3"
    outcome = (await runner.run(command, file_bytes=2 * MIB)).outcome
    assert (outcome.reason, outcome.exit_code) == (Reason.EXIT_NONZERO, 3)


async def test_a_full_disk_that_a_program_got_over_is_noted(runner: Runner) -> None:
    outcome = (await runner.run("head -c 40M /dev/zero > f; exit 0")).outcome
    assert outcome.reason is Reason.OK and outcome.limit is None
    assert outcome.note is not None and "/box/source is full" in outcome.note


@pytest.mark.parametrize(
    ("command", "written"),
    [
        ("true", 0),
        ("head -c 3M /dev/zero > f; rm f", 3 * MIB),
        ("for i in 1 2; do head -c 1M /dev/zero > /tmp/$i & done; wait", 2 * MIB),
        ("setsid -f head -c 1M /dev/zero > f; sleep 0.3", MIB),
        ("head -c 1M /dev/zero", MIB),
    ],
    ids=["nothing", "a file", "children", "a daemon", "an output"],
)
async def test_bytes_written(runner: Runner, command: str, written: int) -> None:
    outcome = (await runner.run(command)).outcome
    assert outcome.reason is Reason.OK
    if outcome.written_bytes is None:
        # Older kernels show the counters of a process that has ended to root alone.
        assert not runner.sandbox.enforcement.root
        return
    # Shells tell each other a few bytes.
    assert written <= outcome.written_bytes < written + 100


async def test_bytes_written_by_what_was_killed(runner: Runner) -> None:
    command = "head -c 1M /dev/zero > f; sleep 60"
    outcome = (await runner.run(command, wall_ms=500 * PACE)).outcome
    assert outcome.reason is Reason.WALL_TIME
    assert outcome.written_bytes is not None and outcome.written_bytes >= MIB


async def test_file_of_exactly_the_limit(runner: Runner) -> None:
    ran = await runner.run("head -c 51200 /dev/zero > f; wc -c < f", file_bytes=50 * KIB)
    assert ran.outcome.reason is Reason.OK and ran.stdout == b"51200\n"


@pytest.mark.parametrize(
    ("command", "limit"),
    [
        pytest.param("head -c 40M /dev/zero > f", BOX_BYTES, id="bytes"),
        pytest.param("head -c 60M /dev/zero > /tmp/f", TMP_BYTES, id="bytes of tmp"),
        pytest.param(f"seq {2 * BOX_INODES} | xargs touch", BOX_INODES, id="files"),
        pytest.param(f"cd /tmp; seq {2 * BOX_INODES} | xargs touch", BOX_INODES, id="tmp files"),
    ],
)
async def test_disk(runner: Runner, command: str, limit: int) -> None:
    outcome = (await runner.run(command)).outcome
    assert outcome.reason is Reason.DISK
    assert outcome.limit == outcome.observed == limit


async def test_shared_memory_is_bounded(runner: Runner) -> None:
    ran = await runner.run("head -c 60M /dev/zero > /dev/shm/f; stat -c %s /dev/shm/f")
    assert int(ran.stdout) == TMP_BYTES


async def test_a_full_box_before_the_second_stage(runner: Runner) -> None:
    async with runner.sandbox.box(0) as box:
        fill = runner.job("head -c 40M /dev/zero > f; exit 0", stage=Stage.COMPILE)
        assert (await runner.finish(box, fill)).outcome.reason is Reason.OK
        ran = await box.run(runner.job("echo never"), asyncio.Event())
    assert ran.reason is Reason.DISK
    assert ran.limit == BOX_BYTES


@pytest.mark.enforced(Unenforced.MEMORY_TOTAL)
async def test_measures(runner: Runner) -> None:
    ran = await runner.run(
        "python3 -c 'x = bytearray(64 << 20)'; sleep 0.2", memory_bytes=128 * MIB
    )
    outcome = ran.outcome
    assert outcome.reason is Reason.OK and outcome.exit_code == 0
    assert 64 * MIB < outcome.memory_peak_bytes < 128 * MIB
    assert outcome.wall_ms >= 200
    assert 0 < outcome.cpu_user_ms + outcome.cpu_system_ms < outcome.wall_ms
    assert outcome.pids_peak == 2


async def test_exit_codes_and_signals(runner: Runner) -> None:
    async with runner.sandbox.box(0) as box:
        for command, reason, code, number in [
            ("exit 0", Reason.OK, 0, None),
            ("", Reason.OK, 0, None),
            ("exit 1", Reason.EXIT_NONZERO, 1, None),
            ("exit 255", Reason.EXIT_NONZERO, 255, None),
            ("no-such-program", Reason.EXIT_NONZERO, 127, None),
            ("kill -SEGV $$", Reason.SIGNAL, 139, 11),
            ("bash -c 'kill -ABRT $$'", Reason.SIGNAL, 134, 6),
            ("kill -KILL $$", Reason.SIGNAL, 137, 9),
            ("kill -TERM $$", Reason.SIGNAL, 143, 15),
        ]:
            ran = await runner.finish(box, runner.job(command))
            outcome = ran.outcome
            assert (outcome.reason, outcome.exit_code, outcome.signal) == (reason, code, number)
            assert outcome.limit is None and outcome.observed is None
            if command.startswith("kill"):
                assert ran.stderr == b"", "only the task writes to its stderr"


async def test_time_limits_do_not_wait_for_signal_handlers(runner: Runner) -> None:
    started = time.monotonic()
    outcome = (await runner.run("trap '' TERM INT HUP ALRM; sleep 50", wall_ms=200)).outcome
    assert outcome.reason is Reason.WALL_TIME
    assert time.monotonic() - started < 5
