"""The order in which a stage's facts are judged, for the cases that no test can bring about."""

from __future__ import annotations

import os
import signal

import msgspec
import pytest

from khala.model.limits import MIB
from khala.model.outcome import Reason, StreamCut
from khala.model.spec import OnOutputLimit, StageLimits
from sandbox import SandboxLost
from sandbox.group import Usage
from sandbox.nsjail import JailReport
from sandbox.verdict import Facts, Room, blame_file_size, judge

_LIMITS = StageLimits(
    wall_ms=1000,
    cpu_ms=1000,
    memory_bytes=64 * MIB,
    pids=8,
    output_bytes=100,
    file_bytes=1 * MIB,
)
_USAGE = Usage(
    cpu_ns=10_000_000,
    cpu_user_ns=4_000_000,
    memory_peak_bytes=MIB,
    oom_kills=0,
    pids_peak=1,
    pids_refused=0,
)
_EXITED = JailReport(exit_status=0, signal=None, fault=None)
_ROOM = Room(path="/tmp", bytes_limit=100, bytes_used=0, inodes_limit=10, inodes_used=1)
_FULL = msgspec.structs.replace(_ROOM, bytes_used=100)
_FACTS = Facts(
    limits=_LIMITS,
    stopped_for=None,
    wait_status=0,
    report=_EXITED,
    usage=_USAGE,
    wall_ms=20,
    stdout_seen=0,
    stderr_seen=0,
    stdout_kept=0,
    stderr_kept=0,
    rooms=(_ROOM,),
)
_OOM = msgspec.structs.replace(_USAGE, oom_kills=1, memory_peak_bytes=64 * MIB)
_CPU = msgspec.structs.replace(_USAGE, cpu_ns=1_001_000_000)
_FORKS = msgspec.structs.replace(_USAGE, pids_refused=3, pids_peak=8)


def _facts(**changes: object) -> Facts:
    return msgspec.structs.replace(_FACTS, **changes)


def _exit(status: int) -> JailReport:
    return msgspec.structs.replace(_EXITED, exit_status=status)


def _killed(number: int) -> JailReport:
    return msgspec.structs.replace(_EXITED, exit_status=None, signal=number)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        pytest.param(_facts(), Reason.OK, id="ok"),
        pytest.param(_facts(rooms=(_FULL,)), Reason.OK, id="full, but content"),
        pytest.param(_facts(usage=_FORKS), Reason.OK, id="refused forks, but content"),
        pytest.param(
            _facts(stopped_for=Reason.CANCELLED, usage=_OOM), Reason.CANCELLED, id="ours first"
        ),
        pytest.param(
            _facts(stopped_for=Reason.WALL_TIME, wall_ms=1001, report=_killed(9), wait_status=9),
            Reason.WALL_TIME,
            id="nsjail killed by us",
        ),
        pytest.param(_facts(usage=_OOM, report=_exit(137)), Reason.MEMORY, id="memory over status"),
        pytest.param(_facts(usage=_OOM, wait_status=9), Reason.MEMORY, id="nsjail out of memory"),
        pytest.param(
            _facts(stopped_for=Reason.MEMORY, usage=_OOM), Reason.MEMORY, id="stopped for memory"
        ),
        pytest.param(_facts(stdout_seen=101), Reason.OUTPUT_LIMIT, id="output seen at the end"),
        pytest.param(_facts(usage=_CPU, report=_exit(0)), Reason.CPU_TIME, id="time over success"),
        pytest.param(
            _facts(report=_exit(255), wait_status=255 << 8), Reason.EXIT_NONZERO, id="255 of task"
        ),
        pytest.param(
            _facts(report=msgspec.structs.replace(_EXITED, exit_status=None)),
            Reason.INTERNAL,
            id="no word of the end",
        ),
        pytest.param(_facts(report=_exit(139), usage=_FORKS), Reason.PROCESS_LIMIT, id="forks"),
        pytest.param(_facts(report=_exit(1), rooms=(_FULL,)), Reason.DISK, id="disk"),
        pytest.param(_facts(report=_exit(153), rooms=(_FULL,)), Reason.FILE_SIZE, id="file size"),
        pytest.param(_facts(report=_exit(159)), Reason.SYSCALL, id="system call"),
        pytest.param(_facts(report=_exit(139)), Reason.SIGNAL, id="signal"),
        pytest.param(_facts(report=_exit(128)), Reason.EXIT_NONZERO, id="128 is no signal"),
        pytest.param(_facts(report=_exit(128 + 99)), Reason.EXIT_NONZERO, id="no such signal"),
    ],
)
def test_order(facts: Facts, reason: Reason) -> None:
    outcome = judge(facts)
    assert outcome.reason is reason
    remarkable = facts.usage.pids_refused or _FULL in facts.rooms
    assert (outcome.note is None) == (reason is Reason.OK and not remarkable)
    with_limit = {
        Reason.WALL_TIME,
        Reason.CPU_TIME,
        Reason.MEMORY,
        Reason.OUTPUT_LIMIT,
        Reason.PROCESS_LIMIT,
        Reason.FILE_SIZE,
        Reason.DISK,
    }
    assert (outcome.limit is not None) == (reason in with_limit)
    assert (outcome.observed is not None) == (reason in with_limit)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        pytest.param(
            _facts(wait_status=int(signal.SIGKILL), report=_EXITED),
            "nsjail was killed from outside by signal 9",
            id="nsjail",
        ),
        pytest.param(
            _facts(
                wait_status=int(signal.SIGTERM),
                report=JailReport(exit_status=None, signal=None, fault=None),
            ),
            "nsjail was killed from outside by signal 15",
            id="nsjail before its jail",
        ),
        pytest.param(
            _facts(wait_status=(128 + 9) << 8, report=_killed(9)),
            "the jail was killed from outside by signal 9",
            id="first process",
        ),
        pytest.param(
            _facts(
                usage=msgspec.structs.replace(_OOM, memory_peak_bytes=20 * MIB), report=_exit(137)
            ),
            "the host ran out of memory while the task used 20 MiB of its 64 MiB",
            id="memory of the host",
        ),
    ],
)
def test_destroyed_from_outside(facts: Facts, message: str) -> None:
    assert os.WIFSIGNALED(facts.wait_status) or os.WIFEXITED(facts.wait_status)
    with pytest.raises(SandboxLost, match=message):
        judge(facts)


def test_processor_time_is_split_so_that_it_adds_up() -> None:
    usage = msgspec.structs.replace(_USAGE, cpu_ns=10_900_000, cpu_user_ns=10_950_000)
    outcome = judge(_facts(usage=usage))
    assert (outcome.cpu_user_ms, outcome.cpu_system_ms) == (10, 0)


def test_an_output_beyond_its_limit_fails_only_what_is_to_be_stopped() -> None:
    facts = _facts(stdout_seen=150, stdout_kept=100)
    outcome = judge(facts)
    assert (outcome.reason, outcome.limit, outcome.observed) == (Reason.OUTPUT_LIMIT, 100, 150)
    goes_on = msgspec.structs.replace(_LIMITS, on_output_limit=OnOutputLimit.TRUNCATE)
    outcome = judge(msgspec.structs.replace(facts, limits=goes_on))
    assert outcome.reason is Reason.OK
    assert outcome.stdout_cut == StreamCut(seen_bytes=150, gap_at=50)
    assert outcome.stderr_cut is None
    assert outcome.note == "of the 150 bytes of stdout the first and last are kept, 100"


def test_a_file_at_its_limit_explains_a_failure() -> None:
    outcome = blame_file_size(judge(_facts(report=_exit(3))), _LIMITS)
    assert (outcome.reason, outcome.exit_code) == (Reason.FILE_SIZE, 3)
    assert outcome.limit == outcome.observed == _LIMITS.file_bytes
    assert outcome.note is not None and "exit status 3" in outcome.note


def test_what_nobody_counted_is_not_zero() -> None:
    usage = msgspec.structs.replace(_USAGE, pids_peak=None)
    outcome = judge(_facts(usage=usage))
    assert (outcome.pids_peak, outcome.written_bytes) == (None, None)
    outcome = judge(_facts(usage=msgspec.structs.replace(_FORKS, pids_peak=None), report=_exit(1)))
    assert (outcome.reason, outcome.observed) == (Reason.PROCESS_LIMIT, _LIMITS.pids)
