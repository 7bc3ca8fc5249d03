"""Python, kernel, memory and clock."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from pathlib import Path

from khala.config.settings import Settings
from khala.model.limits import MIB
from roles.doctor.finding import Finding, good, missing, warning

_PYTHONS = ((3, 11), (3, 12), (3, 13))
#: Process descriptors, which the sandbox waits with, came with this one.
_KERNEL = (5, 3)
#: `memory.peak` of cgroup v2, without which a task's peak is not known there.
_KERNEL_MEASURES = (5, 19)
_ARCHITECTURE = "x86_64"
#: What the databases and the roles take.
_SERVICES_BYTES = 1024 * MIB
_GIB = 1024 * MIB
_UNSYNCHRONISED = 0x40
#: `struct timex`: what lies before its field `status`; the whole of it is smaller than 256 bytes.
_TIMEX_STATUS = "I4xqqqqi"
_TIMEX_BYTES = 256


def check_python(_: Settings) -> Finding:
    return judge_python(sys.version_info[:2], f"{platform.python_version()}, {sys.executable}")


def judge_python(version: tuple[int, ...], found: str) -> Finding:
    if version in _PYTHONS:
        return good(found)
    return missing(f"{found}: 3.11 to 3.13 is needed", "apt-get install python3")


def check_kernel(_: Settings) -> Finding:
    return judge_kernel(platform.release(), platform.machine())


def judge_kernel(release: str, machine: str) -> Finding:
    found = f"Linux {release}, {machine}"
    if machine != _ARCHITECTURE:
        return missing(f"{found}: the servers inside the file are for {_ARCHITECTURE}")
    digits = [part for part in release.replace("-", ".").split(".")[:2] if part.isdigit()]
    version = tuple(int(part) for part in digits)
    if version < _KERNEL:
        return missing(f"{found}: 5.3 or later is needed", "upgrade the system")
    if version < _KERNEL_MEASURES:
        return warning(f"{found}: before 5.19, cgroup v2 does not know a task's peak memory")
    return good(found)


def check_memory(settings: Settings) -> Finding:
    facts = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        facts[name] = int(value.split()[0]) * 1024
    stage = max(settings.limits.compile_memory, settings.limits.execute_memory)
    return judge_memory(facts["MemTotal"], facts["SwapTotal"], settings.executor.slots, stage)


def judge_memory(total: int, swap: int, slots: int, stage: int) -> Finding:
    found = f"{total / _GIB:.1f} GiB, swap {f'{swap / _GIB:.1f} GiB' if swap else 'off'}"
    if _SERVICES_BYTES + slots * stage <= total:
        return good(found)
    fitting = (total - _SERVICES_BYTES) // stage
    return warning(
        f"{found}: {slots} slots of up to {stage // MIB} MiB and the databases' 1 GiB do not fit",
        f"--slots {fitting}" if fitting > 0 else "a host with more memory, or smaller limits",
    )


def check_clock(_: Settings) -> Finding:
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)
    if ctypes.CDLL(None, use_errno=True).adjtimex(buffer) < 0:
        return warning(f"the kernel does not say: {os.strerror(ctypes.get_errno())}")
    return judge_clock(struct.unpack_from(_TIMEX_STATUS, buffer)[5])


def judge_clock(status: int) -> Finding:
    if not status & _UNSYNCHRONISED:
        return good("synchronised")
    return warning(
        "not synchronised by NTP: dates of tasks may be wrong; decisions are not affected",
        "timedatectl set-ntp true, or apt-get install chrony (of a container, on its host)",
    )
