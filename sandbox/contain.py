"""Namespaces around the whole service, where root's own means are missing.

Without root, everything happens in a user namespace in which this process has root's rights over
its own mounts and jails, and only there. Without cgroups, a PID namespace around the service is
what makes its end complete: it has a first process that does nothing but wait, the service is its
child, and when either of them is gone, killed or not, the kernel ends everything in the namespace
at once. That needs two forks, so it happens before there are threads or an event loop.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType

from khala.model.errors import Rejected
from sandbox import mounts

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWPID = 0x20000000
_CLONE_NEWNS = 0x00020000
_PR_SET_PDEATHSIG = 1
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_SHELL_SIGNAL = 128

#: The service that lives in a PID namespace of its own, if it is this process.
_contained: list[int] = []
#: How to run in a container.
IN_DOCKER = (
    "in Docker add --cap-add SYS_ADMIN --cap-add NET_ADMIN --security-opt seccomp=unconfined"
    " --security-opt apparmor=unconfined --security-opt systempaths=unconfined"
)


def owns_ids(first: int, count: int) -> bool:
    """Whether this process may act as all of these uids and gids."""
    return os.geteuid() == 0 and all(
        any(
            start <= first and first + count <= start + length
            for start, _, length in _ranges(f"/proc/self/{kind}_map")
        )
        for kind in ("uid", "gid")
    )


def _ranges(path: str) -> list[tuple[int, int, int]]:
    lines = (line.split() for line in Path(path).read_text().splitlines())
    return [(int(start), int(outside), int(length)) for start, outside, length in lines]


def is_contained() -> bool:
    """Whether everything that this process starts dies with it."""
    return _contained == [os.getpid()]


def enter_user_namespace() -> None:
    """Become root of a user namespace; nothing is done where this process is root of one already.

    Raises Rejected naming the command that repairs it.
    """
    if os.geteuid() != 0:
        _unshare(_CLONE_NEWUSER | _CLONE_NEWNS)


def contain() -> None:
    """Go on in a child, in namespaces that end with it. The calling process stays behind,
    passes signals on and ends as the child does. Before threads and event loops.

    Raises Rejected naming the command that repairs it.
    """
    if is_contained():
        return
    sys.stdout.flush()
    sys.stderr.flush()
    user = _CLONE_NEWUSER if os.geteuid() != 0 else 0
    _unshare(user | _CLONE_NEWNS | _CLONE_NEWPID)
    ours, theirs = os.pipe()
    first = os.fork()
    if first:
        os.close(ours)
        _stand_in_for(first)
    # From here on this is process 1 of the namespace.
    os.close(theirs)
    _die_with_parent(ours)
    mounts.mount("none", "/", flags=mounts.RECURSIVE | mounts.SLAVE)
    try:
        flags = mounts.NOSUID | mounts.NODEV | mounts.NOEXEC
        mounts.mount("proc", "/proc", "proc", flags=flags)
    except OSError as error:
        sys.stderr.write(
            f"a /proc of its own cannot be mounted ({error.strerror}): another one must be visible"
            f" as a whole; {IN_DOCKER}\n"
        )
        os._exit(1)
    service = os.fork()
    if service:
        _stand_in_for(service)
    _contained[:] = [os.getpid()]


def _unshare(flags: int) -> None:
    uid, gid = os.geteuid(), os.getegid()
    try:
        mounts.unshare(flags)
        if flags & _CLONE_NEWUSER:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
            Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    except OSError as error:
        raise Rejected(explain(error)) from error


def explain(error: OSError) -> str:
    """Which of the many switches it is."""
    what = f"user namespaces cannot be used ({error.strerror}): "
    if os.geteuid() == 0:
        return f"namespaces cannot be used ({error.strerror}); CAP_SYS_ADMIN is needed: {IN_DOCKER}"
    if error.errno == errno.EINVAL:
        return what + "this process has threads already; open the sandbox before they start"
    for switch, closed, repair in (
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ):
        with suppress(OSError):
            if Path(f"/proc/sys/{switch}").read_text().strip() == closed:
                return f"{what}repair as root with: sysctl -w {repair}"
    return what + IN_DOCKER


def _die_with_parent(theirs_gone: int) -> None:
    """Also when the parent was gone before this was said: then the pipe has ended."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.set_blocking(theirs_gone, False)
    with suppress(BlockingIOError):
        if os.read(theirs_gone, 1) == b"":
            os._exit(_SHELL_SIGNAL + signal.SIGKILL)
    os.close(theirs_gone)


def _stand_in_for(child: int) -> None:
    """Pass signals on, reap whatever is adopted, and end as the child does. Never returns."""

    def forward(number: int, _: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, number)

    for number in _FORWARDED:
        signal.signal(number, forward)
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else _SHELL_SIGNAL - code)
