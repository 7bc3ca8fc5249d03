"""What the host looks like from outside, before and after: an attack must not change any of it.

Other programs of the machine go on meanwhile, so only what an attack could be the cause of is
looked at: things of the slots' users, things with the attacks' names, and settings that nobody
else changes while tests run.
"""

from __future__ import annotations

import hashlib
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

from sandbox import SandboxConfig
from tests.sandbox.harness import waiting_jails

#: In the names of everything an attack makes where it could be seen by others.
MARK = "khala-attack"
_SETTINGS = (
    "kernel/core_pattern",
    "kernel/hostname",
    "kernel/domainname",
    "kernel/modprobe",
    "kernel/sysrq",
    "kernel/randomize_va_space",
    "kernel/dmesg_restrict",
    "kernel/shmmax",
    "kernel/msgmax",
    "kernel/pid_max",
    "kernel/threads-max",
    "fs/file-max",
    "fs/suid_dumpable",
    "fs/mqueue/queues_max",
    "fs/pipe-max-size",
    "user/max_user_namespaces",
    "vm/overcommit_memory",
    "vm/drop_caches",
    "vm/nr_hugepages",
    "vm/swappiness",
    "net/ipv4/ip_forward",
    "net/ipv4/ping_group_range",
)
_FILES = (
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/ld.so.cache",
    "/usr/bin/bash",
    "/usr/bin/env",
    "/bin/sh",
)
_PUBLIC_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run", "/run/user", "/run/lock")
_DEVICES = ("null", "zero", "full", "random", "urandom")
_CLOCK_SLACK_S = 2.0


def fingerprint(config: SandboxConfig, sentinel: Path) -> dict[str, object]:
    """By name, everything that is compared."""
    uids = range(config.uid_base, config.uid_base + config.slots)
    views: dict[str, Callable[[], object]] = {
        "mounts of the host": lambda: _mounts("/proc/1/mountinfo"),
        "mounts of the service": lambda: _mounts("/proc/self/mountinfo"),
        "processes of the slots": lambda: _processes(config, uids),
        "settings": lambda: {name: _read(f"/proc/sys/{name}") for name in _SETTINGS},
        "files": lambda: {path: _file(Path(path)) for path in (*_FILES, config.nsjail)},
        "the operator's files": lambda: _tree(sentinel),
        "devices": lambda: {name: _file(Path("/dev", name)) for name in _DEVICES},
        "public folders": lambda: [each for one in _PUBLIC_FOLDERS for each in _owned(one, uids)],
        "cgroups": _cgroups,
        "disks": lambda: sorted(os.listdir("/sys/block")) if os.path.isdir("/sys/block") else [],
        "swap": lambda: _read("/proc/swaps"),
        "modules": lambda: _names("/proc/modules"),
        "keys": lambda: _keys(uids),
        "System V objects": lambda: _system_v(uids),
        "abstract sockets": lambda: _marked("/proc/net/unix"),
        "interfaces": _interfaces,
        "routes": lambda: _marked("/proc/net/route"),
        "executor": _executor,
        "clock": lambda: round((time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)) / 3600),
    }
    return {name: view() for name, view in views.items()}


def differences(before: dict[str, object], after: dict[str, object]) -> list[str]:
    found = []
    for name, was in before.items():
        now = after.get(name)
        if isinstance(was, dict) and isinstance(now, dict):
            found += [f"{name}: {each}" for each in differences(was, now)]
            found += [f"{name}: {each} is new" for each in now.keys() - was.keys()]
        elif was != now:
            found.append(f"{name}: {was} -> {now}")
    return found


def _read(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except OSError:
        return None


def _mounts(path: str) -> list[str]:
    """Containers of others come and go."""
    lines = (_read(path) or b"").decode(errors="replace").splitlines()
    points = [line.split(" ")[4] for line in lines]
    foreign = ("/var/lib/docker", "/run/docker", "/var/lib/containerd", "/run/containerd")
    return sorted(point for point in points if not point.startswith(foreign))


def _processes(config: SandboxConfig, uids: range) -> list[str]:
    """But those of jails that wait for their task: each attack has had one."""
    waiting = [str(pid) for pids in waiting_jails(config).values() for pid in pids]
    found = []
    for entry in Path("/proc").iterdir():
        try:
            number = entry.name
            if number.isdigit() and entry.stat().st_uid in uids and number not in waiting:
                found.append(f"{number} {(entry / 'comm').read_text()}")
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _file(path: Path) -> object:
    try:
        found = path.lstat()
        small = path.is_file() and found.st_size < 4_000_000
        content = hashlib.sha256(path.read_bytes()).hexdigest() if small else ""
    except OSError as error:
        return error.errno
    facts = (found.st_mode, found.st_uid, found.st_gid, found.st_nlink, found.st_size)
    # Devices are written to by everybody.
    return (*facts, found.st_mtime_ns if small else 0, content)


def _tree(top: Path) -> dict[str, object]:
    return {str(path): _file(path) for path in [top, *sorted(top.rglob("*"))]}


def _owned(folder: str, uids: range) -> list[str]:
    found = []
    try:
        for entry in os.scandir(folder):
            try:
                if entry.stat(follow_symlinks=False).st_uid in uids or MARK in entry.name:
                    found.append(entry.path)
            except FileNotFoundError:
                continue
    except OSError:
        return []
    return found


def _cgroups() -> list[str]:
    """The groups beside ours, whose names others do not change while tests run."""
    top = Path("/sys/fs/cgroup")
    found = [path for path in top.glob("*") if path.is_dir()]
    return sorted(map(str, [*found, *top.glob(f"*/*{MARK}*")]))


def _names(path: str) -> list[str]:
    return sorted(line.split()[0] for line in (_read(path) or b"").decode().splitlines())


def _keys(uids: range) -> list[str]:
    lines = (_read("/proc/keys") or b"").decode(errors="replace").splitlines()
    return [line for line in lines if int(line.split()[5]) in uids or MARK in line]


def _system_v(uids: range) -> list[str]:
    found = []
    for kind in ("shm", "sem", "msg"):
        lines = (_read(f"/proc/sysvipc/{kind}") or b"").decode().splitlines()[1:]
        found += [line for line in lines if set(map(int, line.split())) & set(uids)]
    return found


def _marked(path: str) -> list[str]:
    lines = (_read(path) or b"").decode(errors="replace").splitlines()
    return [line for line in lines if MARK in line]


def _interfaces() -> list[str]:
    foreign = ("veth", "docker", "br-", "tap")
    return [name for name in sorted(os.listdir("/sys/class/net")) if not name.startswith(foreign)]


def _executor() -> dict[str, object]:
    """What a task could have done to the process that runs it."""
    status = (_read("/proc/self/status") or b"").decode().splitlines()
    kept = ("Umask", "Uid", "Gid", "Groups", "CapEff", "SigIgn", "NoNewPrivs", "Seccomp")
    return {
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "scheduler": os.sched_getscheduler(0),
        "processors": os.sched_getaffinity(0),
        "oom score": _read("/proc/self/oom_score_adj"),
        "folder": os.getcwd(),
        **{
            name: resource.getrlimit(getattr(resource, name))
            for name in dir(resource)
            if name.startswith("RLIMIT_")
        },
        **{line.partition(":")[0]: line for line in status if line.startswith(kept)},
    }
