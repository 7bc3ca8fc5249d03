"""What holds in mode `degraded` only; `test_degraded` runs it."""

from __future__ import annotations

from khala.model.enforcement import Unenforced
from khala.model.limits import MIB
from tests.sandbox.harness import Runner


async def test_a_process_has_the_memory_limit_for_itself(runner: Runner) -> None:
    ran = await runner.run(
        "python3 -c 'bytearray(100 << 20)'; python3 -c 'print(len(bytearray(9 << 20)))'",
        memory_bytes=64 * MIB,
    )
    assert b"MemoryError" in ran.stderr
    assert ran.stdout == b"9437184\n"
    assert Unenforced.LIMIT_REASONS in runner.sandbox.enforcement.unenforced


async def test_processes_are_limited_in_each_jail_alone(runner: Runner) -> None:
    command = "for i in $(seq 30); do sleep 1 & done; wait"
    ran = await runner.run(command, pids=10)
    assert b"Resource temporarily unavailable" in ran.stderr
    assert (await runner.run(command, pids=40)).stderr == b""


async def test_every_gap_is_stated(runner: Runner) -> None:
    assert set(runner.sandbox.enforcement.unenforced) == set(Unenforced)
    assert "shared memory" in runner.sandbox.warnings[0]
