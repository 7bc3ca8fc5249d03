"""From what was measured of a stage to what is said about it: pure, and in one place.

The order is the point. What Khala did itself comes first; then what the kernel counted; then
whether the jail came into being at all; only then the exit status, because the same number stands
for several things (137 is an out-of-memory kill, a limit, or `exit 137`; 255 may be the program's
or nsjail's). A jail that died of a signal that neither Khala nor a limit sent was destroyed from
outside: that is no statement about the task, so it is raised and not returned.
"""

from __future__ import annotations

import os
import signal

import msgspec
from msgspec import Struct

from khala.model.limits import KIB, MIB
from khala.model.outcome import Reason, StageOutcome, StreamCut
from khala.model.spec import OnOutputLimit, StageLimits
from sandbox.errors import SandboxLost
from sandbox.group import Usage
from sandbox.nsjail import JailReport
from sandbox.output import head_bytes

_NS_PER_MS = 1_000_000
_SHELL_SIGNAL = 128
#: An out-of-memory kill below this share of the limit was the host's, not the limit's. (The
#: kernel's own counters of limit hits are not kept any more by recent versions.)
_OWN_LIMIT_SHARE = 0.9


class Room(Struct, frozen=True, kw_only=True):
    """How much of a file system that the task may fill is used."""

    path: str
    bytes_limit: int
    bytes_used: int
    inodes_limit: int
    inodes_used: int


class Facts(Struct, frozen=True, kw_only=True):
    """Everything known about a stage after its last process is gone."""

    limits: StageLimits
    #: Why Khala ended it; None if it ended by itself.
    stopped_for: Reason | None
    #: nsjail's own wait status.
    wait_status: int
    report: JailReport
    usage: Usage
    wall_ms: int
    #: Bytes the task wrote, as far as they were read, and bytes kept.
    stdout_seen: int
    stderr_seen: int
    stdout_kept: int
    stderr_kept: int
    rooms: tuple[Room, ...]
    #: Bytes that its processes handed to write calls; None if the kernel does not count them.
    written_bytes: int | None = None


class _Finding(Struct, frozen=True, kw_only=True):
    reason: Reason
    limit: int | None = None
    observed: int | None = None
    note: str | None = None


def judge(facts: Facts) -> StageOutcome:
    """Raises SandboxLost when the jail was destroyed from outside."""
    finding = (
        _stopped(facts)
        or _out_of_memory(facts)
        or _destroyed(facts)
        or _over_a_limit(facts)
        or _exited(facts)
    )
    status = facts.report.exit_status if facts.stopped_for is None else None
    usage = facts.usage
    cpu_ms, user_ms = usage.cpu_ns // _NS_PER_MS, usage.cpu_user_ns // _NS_PER_MS
    return StageOutcome(
        reason=finding.reason,
        exit_code=status,
        signal=_signal_of(status) if finding.reason is not Reason.OK else None,
        limit=finding.limit,
        observed=finding.observed,
        wall_ms=facts.wall_ms,
        cpu_user_ms=min(user_ms, cpu_ms),
        cpu_system_ms=max(0, cpu_ms - user_ms),
        memory_peak_bytes=usage.memory_peak_bytes,
        pids_peak=usage.pids_peak,
        written_bytes=facts.written_bytes,
        stdout_bytes=facts.stdout_kept,
        stderr_bytes=facts.stderr_kept,
        stdout_cut=_cut(facts.stdout_seen, facts.stdout_kept),
        stderr_cut=_cut(facts.stderr_seen, facts.stderr_kept),
        note=finding.note,
    )


def _cut(seen: int, kept: int) -> StreamCut | None:
    return StreamCut(seen_bytes=seen, gap_at=head_bytes(kept)) if seen > kept else None


def _stopped(facts: Facts) -> _Finding | None:
    limits, reason = facts.limits, facts.stopped_for
    if reason is Reason.CANCELLED:
        return _Finding(reason=reason, note="cancelled")
    if reason is Reason.WALL_TIME:
        return _wall_time(facts)
    if reason is Reason.CPU_TIME:
        return _cpu_time(facts)
    if reason is Reason.MEMORY and not facts.usage.oom_kills:
        return _Finding(
            reason=reason,
            limit=limits.memory_bytes,
            observed=facts.usage.memory_peak_bytes,
            note=f"{_size(limits.memory_bytes)} of memory is not enough to start the command",
        )
    seen = max(facts.stdout_seen, facts.stderr_seen)
    beyond = limits.on_output_limit is OnOutputLimit.STOP and seen > limits.output_bytes
    if reason is Reason.OUTPUT_LIMIT or (reason is None and beyond):
        stream = "stdout" if facts.stdout_seen > limits.output_bytes else "stderr"
        return _Finding(
            reason=Reason.OUTPUT_LIMIT,
            limit=limits.output_bytes,
            observed=seen,
            note=f"killed for writing more than {_size(limits.output_bytes)} to {stream}",
        )
    return None


def _wall_time(facts: Facts) -> _Finding:
    limit = facts.limits.wall_ms
    return _Finding(
        reason=Reason.WALL_TIME,
        limit=limit,
        observed=facts.wall_ms,
        note=f"killed after {_time(facts.wall_ms)} of wall time (limit {_time(limit)})",
    )


def _cpu_time(facts: Facts) -> _Finding:
    limit, used = facts.limits.cpu_ms, facts.usage.cpu_ns // _NS_PER_MS
    return _Finding(
        reason=Reason.CPU_TIME,
        limit=limit,
        observed=used,
        note=f"used {_time(used)} of processor time (limit {_time(limit)})",
    )


def _out_of_memory(facts: Facts) -> _Finding | None:
    if facts.usage.oom_kills == 0:
        return None
    limit, peak = facts.limits.memory_bytes, facts.usage.memory_peak_bytes
    if peak < limit * _OWN_LIMIT_SHARE:
        raise SandboxLost(
            f"the host ran out of memory while the task used {_size(peak)} of its {_size(limit)}"
        )
    return _Finding(
        reason=Reason.MEMORY,
        limit=limit,
        observed=peak,
        note=f"killed for using more than {_size(limit)} of memory",
    )


def _destroyed(facts: Facts) -> _Finding | None:
    report = facts.report
    if os.WIFSIGNALED(facts.wait_status):
        number = os.WTERMSIG(facts.wait_status)
        raise SandboxLost(f"nsjail was killed from outside by signal {number}")
    if report.signal is not None:
        raise SandboxLost(f"the jail was killed from outside by signal {report.signal}")
    if report.exit_status is None:
        return _Finding(
            reason=Reason.INTERNAL,
            note=f"nsjail did not say how the command ended: {report.fault or 'no message'}",
        )
    return None


def _over_a_limit(facts: Facts) -> _Finding | None:
    if facts.usage.cpu_ns > facts.limits.cpu_ms * _NS_PER_MS:
        return _cpu_time(facts)
    return None


def _exited(facts: Facts) -> _Finding:
    status, limits, usage = facts.report.exit_status or 0, facts.limits, facts.usage
    forks = (
        f"the limit of {limits.pids} processes was met {usage.pids_refused} times"
        if usage.pids_refused
        else None
    )
    if status == 0:
        return _Finding(reason=Reason.OK, note=_remarks(facts, forks))
    number = _signal_of(status)
    if number == signal.SIGXFSZ:
        return _Finding(
            reason=Reason.FILE_SIZE,
            limit=limits.file_bytes,
            observed=limits.file_bytes,
            note=f"killed for writing a file larger than {_size(limits.file_bytes)}",
        )
    if number == signal.SIGSYS:
        return _Finding(reason=Reason.SYSCALL, note="killed for a forbidden system call")
    if forks:
        return _Finding(
            reason=Reason.PROCESS_LIMIT,
            limit=limits.pids,
            observed=max(usage.pids_peak or 0, limits.pids),
            note=f"{forks}; exit status {status}",
        )
    full = _full(facts.rooms)
    if full is not None:
        return msgspec.structs.replace(full, note=f"{full.note}; exit status {status}")
    if number is not None:
        name = signal.Signals(number).name
        return _Finding(reason=Reason.SIGNAL, note=f"killed by signal {number} ({name})")
    return _Finding(reason=Reason.EXIT_NONZERO, note=f"exit status {status}")


def blame_file_size(outcome: StageOutcome, limits: StageLimits) -> StageOutcome:
    """The outcome of a stage that failed and left a file as large as a file may be. Programs that
    ignore SIGXFSZ, Python's among them, are told by an error and end as they like."""
    return msgspec.structs.replace(
        outcome,
        reason=Reason.FILE_SIZE,
        limit=limits.file_bytes,
        observed=limits.file_bytes,
        note=f"a file has reached the limit of {_size(limits.file_bytes)};"
        f" exit status {outcome.exit_code}",
    )


def _remarks(facts: Facts, forks: str | None) -> str | None:
    """What a program met and got over: no failure, but often why its result is not the expected."""
    remarks = [forks] if forks else []
    full = _full(facts.rooms)
    if full is not None and full.note:
        remarks.append(full.note)
    for stream, seen, kept in (
        ("stdout", facts.stdout_seen, facts.stdout_kept),
        ("stderr", facts.stderr_seen, facts.stderr_kept),
    ):
        if seen > kept:
            remarks.append(f"of the {seen} bytes of {stream} the first and last are kept, {kept}")
    return "; ".join(remarks) or None


def _full(rooms: tuple[Room, ...]) -> _Finding | None:
    for room in rooms:
        for unit, limit, used in (
            ("bytes", room.bytes_limit, room.bytes_used),
            ("files", room.inodes_limit, room.inodes_used),
        ):
            if used >= limit:
                return _Finding(
                    reason=Reason.DISK,
                    limit=limit,
                    observed=used,
                    note=f"{room.path} is full ({limit} {unit})",
                )
    return None


def _signal_of(status: int | None) -> int | None:
    """The signal in a shell's exit status, if it is one that ends processes."""
    if status is None or status <= _SHELL_SIGNAL:
        return None
    try:
        return signal.Signals(status - _SHELL_SIGNAL).value
    except ValueError:
        return None


def _time(ms: int) -> str:
    return f"{ms / 1000:.2f} s"


def _size(count: int) -> str:
    if count % MIB == 0 or count >= 10 * MIB:
        return f"{count / MIB:.0f} MiB"
    if count >= KIB:
        return f"{count / KIB:.0f} KiB"
    return f"{count} bytes"
