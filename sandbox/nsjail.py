"""nsjail as a child process: its configuration, its start, what its log says.

The configuration is a file and not flags, because paths may hold ':' and nosuid and nodev have no
flag. It lives in memory (memfd), as does nsjail's log. Nothing in it belongs to a task, because a
jail is made before its task is known: see `sandbox.orders` for what comes later. Two details carry
the rest:

- *The policy is the gate.* nsjail reads the system call policy before it makes the jail, and gets
  it through a pipe. The caller moves nsjail into its cgroups and only then sends the policy, so
  that nothing of the task can run outside them, without a shell in between to arrange it.
- *Two shells.* The command is not the first process of the jail: that one ignores the signals a
  program sends itself. The first shell waits for its orders, and says nothing of its own on the
  task's stderr.
"""

from __future__ import annotations

import os
import re
import resource
import signal
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from msgspec import Struct

from khala.model.spec import Network, StageLimits
from sandbox.group import Leaf
from sandbox.orders import FIRST_SHELL, GATE_FD, ORDERS_FD
from sandbox.staging import SOURCE, host_names

_POLICY = "khala.kafel"
_UID_INSIDE = 1000
_OPEN_FILES = 1024
_PENDING_SIGNALS = 1024
#: Two queues of the usual size: like pending signals, they are counted for root too.
_QUEUE_BYTES = 200_000
#: The first shell; nsjail itself is outside of the jail's user namespace.
_OWN_PIDS = 1
_FAULT_CHARS = 1000
_ENVIRONMENT = {
    "HOME": "/tmp",
    "TMPDIR": "/tmp",
    "LANG": "C.UTF-8",
    "USER": "task",
    # The leak check needs ptrace, which the policy denies; without this it fails correct programs.
    "ASAN_OPTIONS": "detect_leaks=0",
}
#: Out-of-memory kills of the whole host take tasks before services.
_OOM_SCORE = b"1000"
_RESET_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_EXITED = re.compile(r"^\[I\]\[[^]]*\] pid=\d+ .* exited with status: (\d+), ", re.M)
_KILLED = re.compile(r"^\[I\]\[[^]]*\] pid=\d+ .* terminated with signal: \S+ \((\d+)\), ", re.M)
_PLAIN = re.compile(r"[\w /:=.,@+-]*", re.ASCII)
_FAULT = re.compile(r"^\[[WEF]\]\[[^]]*\](?:\[\d+\])? (.*)$", re.M)


class Place(Struct, frozen=True, kw_only=True):
    """Where a slot's jails find their files, and whom they run as."""

    nsjail: str
    root: str
    #: Where programs are looked for.
    path: str
    source: str
    tmp: str
    shm_bytes: int
    shm_inodes: int
    #: As seen by the service; without root, its own.
    uid: int
    #: Whether a cgroup holds the limits; if not, each process has them for itself.
    grouped: bool = True
    network: Network = Network.LOOPBACK


class Channels(Struct, frozen=True, kw_only=True):
    """What a jail has from the service: descriptors of the service, copied for it."""

    stdin: int
    stdout: int
    stderr: int
    #: A socket: the first shell says when it waits, and is told to go.
    gate: int
    #: A file that is read when it is told to go.
    orders: int


class JailReport(Struct, frozen=True, kw_only=True):
    """What nsjail's log says about the first process of the jail."""

    exit_status: int | None
    signal: int | None
    #: Its complaints, for people.
    fault: str | None


@dataclass(slots=True)
class Child:
    """A started nsjail; it waits for its policy until `open_gate`."""

    pid: int
    pidfd: int
    log_fd: int
    gate_fd: int

    def open_gate(self) -> None:
        """Let the jail be made. A child that is gone already is noticed when it is reaped."""
        try:
            os.write(self.gate_fd, policy())
        except BrokenPipeError:
            pass
        finally:
            os.close(self.gate_fd)
            self.gate_fd = -1

    def log_bytes(self) -> int:
        """How long its log is by now."""
        return os.fstat(self.log_fd).st_size

    def report(self) -> JailReport:
        text = os.pread(self.log_fd, 65536, 0).decode(errors="replace")
        exited, killed = _EXITED.search(text), _KILLED.search(text)
        faults = _FAULT.findall(text)
        return JailReport(
            exit_status=int(exited[1]) if exited else None,
            signal=int(killed[1]) if killed else None,
            fault="; ".join(faults)[:_FAULT_CHARS] or None,
        )

    def close(self) -> None:
        for fd in (self.pidfd, self.log_fd, self.gate_fd):
            if fd >= 0:
                os.close(fd)


@cache
def policy() -> bytes:
    """The policy without its comments, short enough for one write to a pipe."""
    text = files("sandbox").joinpath("profiles", _POLICY).read_text()
    return re.sub(r"\s+", " ", re.sub(r"//.*", "", text)).encode()


def start(place: Place, leaf: Leaf, channels: Channels) -> Child:
    """Start an nsjail in `leaf`; after `open_gate`, it makes a jail whose first shell waits.

    Blocks for some milliseconds. Must be called by a thread in the mount namespace that `place`
    lives in. Raises OSError.
    """
    child = _spawn(place, channels)
    try:
        child.pidfd = os.pidfd_open(child.pid)
        _prepare(child.pid)
        leaf.attach(child.pid)
    except BaseException:
        # No policy was sent, so there is no jail: nsjail alone can be killed and reaped.
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
        child.close()
        raise
    return child


def _spawn(place: Place, channels: Channels) -> Child:
    opened: list[int] = []
    try:
        config = os.memfd_create("nsjail.cfg", os.MFD_CLOEXEC)
        opened.append(config)
        log = os.memfd_create("nsjail.log", os.MFD_CLOEXEC)
        opened.append(log)
        policy_end, gate = os.pipe()
        opened += [policy_end, gate]
        own = {0: channels.stdin, 1: channels.stdout, 2: channels.stderr}
        own |= {GATE_FD: channels.gate, ORDERS_FD: channels.orders}
        sources = [*own.values(), log, policy_end, config]
        # First above everything in use, so that no dup2 overwrites the source of a later one.
        free = max(sources) + 1
        high = range(free, free + len(sources))
        log_fd, policy_fd, config_fd = high[-3:]
        os.write(config, configuration(place, log_fd=log_fd, policy_fd=policy_fd).encode())
        moves = list(zip(sources, high, strict=True)) + list(zip(high, own, strict=False))
        actions = [(os.POSIX_SPAWN_DUP2, source, target) for source, target in moves]
        pid = os.posix_spawn(
            place.nsjail,
            ["nsjail", "-C", f"/proc/self/fd/{config_fd}", "--", "/bin/sh", "-c", FIRST_SHELL],
            {},
            file_actions=[*actions, *((os.POSIX_SPAWN_CLOSE, fd) for fd in high[: len(own)])],
            # A terminal's Ctrl-C is for the executor, which then ends its jails in order.
            setsid=True,
            setsigmask=(),
            setsigdef=_RESET_SIGNALS,
        )
    except BaseException:
        for fd in opened:
            os.close(fd)
        raise
    os.close(config)
    os.close(policy_end)
    return Child(pid, -1, log, gate)


def _prepare(pid: int) -> None:
    """Set what the jail inherits from nsjail and nsjail has no option for."""
    # Signals and timers in waiting are counted for root too, in whose name the jail was made: one
    # task could leave the host's services none.
    resource.prlimit(pid, resource.RLIMIT_SIGPENDING, (_PENDING_SIGNALS, _PENDING_SIGNALS))
    # One byte, not none: a limit of 0 does not stop core handlers that are fed by a pipe.
    hard = resource.prlimit(pid, resource.RLIMIT_CORE)[1]
    core = 0 if hard == 0 else 1
    resource.prlimit(pid, resource.RLIMIT_CORE, (core, core))
    _write_oom_score(pid, _OOM_SCORE)


def limit(place: Place, first_pid: int, limits: StageLimits) -> None:
    """Set what every process of a jail inherits from its first one: all come from it. Not through
    that shell, so that nothing of a task can have a hand in it."""
    most = {
        resource.RLIMIT_FSIZE: limits.file_bytes,
        # Of each process; the executor watches their sum.
        resource.RLIMIT_CPU: -(-limits.cpu_ms // 1000) + 2,
    }
    if not place.grouped:
        # Not the address space: node reserves a gigabyte of that, java more, and use next to
        # nothing.
        most[resource.RLIMIT_DATA] = limits.memory_bytes
        # Counted for this jail alone, because its user namespace is its own.
        most[resource.RLIMIT_NPROC] = limits.pids + _OWN_PIDS
    for what, value in most.items():
        hard = resource.prlimit(first_pid, what)[1]
        lowered = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.prlimit(first_pid, what, (lowered, lowered))


def spare(pid: int) -> None:
    """Let an out-of-memory kill take the jail and not nsjail, its largest process at first.

    Without nsjail nobody would reap the jail's first process, and where the service is process 1
    of a container, the zombies would pile up.
    """
    with suppress(ProcessLookupError, FileNotFoundError):
        _write_oom_score(pid, _own_oom_score())


@cache
def _own_oom_score() -> bytes:
    return Path("/proc/self/oom_score_adj").read_bytes()


def _write_oom_score(pid: int, score: bytes) -> None:
    fd = os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, score)
    finally:
        os.close(fd)


def configuration(place: Place, *, log_fd: int, policy_fd: int) -> str:
    """The nsjail configuration of a slot's jails, in protobuf's text format."""
    shm = f"size={place.shm_bytes},nr_inodes={place.shm_inodes},mode=1777"
    envars = "\n".join(
        f"envar: {_quote(f'{name}={value}')}"
        for name, value in {"PATH": place.path, **_ENVIRONMENT}.items()
    )
    return f"""\
mode: ONCE
hostname: "khala"
cwd: "{SOURCE}"
time_limit: 0
log_fd: {log_fd}
log_level: INFO
pass_fd: {GATE_FD}
pass_fd: {ORDERS_FD}
keep_env: false
nice_level: 0
{envars}
rlimit_as_type: HARD
rlimit_core_type: SOFT
rlimit_cpu_type: HARD
rlimit_fsize_type: HARD
rlimit_nofile: {_OPEN_FILES}
rlimit_nproc_type: HARD
rlimit_stack_type: HARD
rlimit_memlock_type: VALUE
rlimit_memlock: 64
rlimit_rtprio_type: VALUE
rlimit_rtprio: 0
rlimit_msgqueue_type: VALUE
rlimit_msgqueue: {_QUEUE_BYTES}
uidmap {{ inside_id: "{_UID_INSIDE}" outside_id: "{place.uid}" }}
gidmap {{ inside_id: "{_UID_INSIDE}" outside_id: "{place.uid}" }}
mount {{ src: {_quote(place.root)} dst: "/" is_bind: true rw: false nosuid: true }}
mount {{ dst: "/proc" fstype: "proc" rw: false nosuid: true nodev: true noexec: true }}
mount {{ src: {_quote(place.tmp)} dst: "/tmp" is_bind: true rw: true nosuid: true nodev: true }}
mount {{ dst: "/dev/shm" fstype: "tmpfs" rw: true nosuid: true nodev: true options: "{shm}" }}
mount {{ src: {_quote(place.source)} dst: "{SOURCE}" is_bind: true rw: true nosuid: true \
nodev: true }}
mount_proc: false
seccomp_policy_file: "/proc/self/fd/{policy_fd}"
{_network(place.network)}
"""


def _network(network: Network) -> str:
    match network:
        case Network.NONE:
            return "iface_no_lo: true"
        case Network.LOOPBACK:
            return ""  # what nsjail makes by itself
        case Network.FULL:
            names = "\n".join(
                f"mount {{ src_content: {_quote(text)} dst: {_quote(path)} is_bind: true rw: false"
                " nosuid: true nodev: true }"
                for path, text in host_names().items()
            )
            return f"clone_newnet: false\n{names}"


def _quote(text: str) -> str:
    """A protobuf text literal: every byte that is not plain is written as octal."""
    if _PLAIN.fullmatch(text):
        return f'"{text}"'
    return (
        '"'
        + "".join(
            chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03o}"
            for byte in os.fsencode(text)
        )
        + '"'
    )
