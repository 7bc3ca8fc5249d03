"""Calls of the kernel that a task may not make, whatever it passes to them."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from pathlib import Path

import pytest

from khala.model.outcome import Reason
from tests.sandbox.attacks.attack import Attack, strike
from tests.sandbox.attacks.probe import PROBE
from tests.sandbox.harness import Runner

_NUMBERS = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
#: The policy names calls as the kernel's functions are called.
_ALIASES = {
    "newstat": "stat",
    "newfstat": "fstat",
    "newlstat": "lstat",
    "newuname": "uname",
    "sendfile64": "sendfile",
    "umount": "umount2",
    "sysctl": "_sysctl",
}
_NEW_NAMESPACES = {
    "mount": 0x20000,
    "cgroup": 0x2000000,
    "uts": 0x4000000,
    "ipc": 0x8000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "net": 0x40000000,
}
#: From 451 on, the calls that the headers of the oldest supported system do not know.
_LATER = (
    *("cachestat", "fchmodat2", "map_shadow_stack", "futex_wake", "futex_wait", "futex_requeue"),
    *("statmount", "listmount", "lsm_get_self_attr", "lsm_set_self_attr", "lsm_list_modules"),
    *("mseal", "setxattrat", "getxattrat", "listxattrat", "removexattrat", "open_tree_attr"),
    *("file_getattr", "file_setattr"),
)
_NEWTIME = 0x80
_UPROBES = {335, 336}

#: Name: the call with its arguments, and the answer if it is not EPERM.
_DENIED: dict[str, tuple[str, str]] = {
    "ptrace itself": ("101 0 0 0 0", "EPERM"),
    "ptrace the first process": ("101 16 1 0 0", "EPERM"),
    "process_vm_readv": ("310 1 0 0 0 0 0", "EPERM"),
    "process_vm_writev": ("311 1 0 0 0 0 0", "EPERM"),
    "process_madvise": ("440 0 0 0 21 0", "EPERM"),
    "process_mrelease": ("448 0 0", "EPERM"),
    "pidfd_getfd": ("438 0 0 0", "EPERM"),
    "kcmp": ("312 1 1 0 0 0", "EPERM"),
    "move_pages": ("279 1 0 0 0 0 0", "EPERM"),
    "migrate_pages": ("256 1 0 0 0", "EPERM"),
    "add_key": ("248 @user @khala-attack @secret 6 -3", "EPERM"),
    "add_key to the user's ring": ("248 @user @khala-attack @secret 6 -4", "EPERM"),
    "request_key": ("249 @user @khala-attack 0 -3", "EPERM"),
    "keyctl new session": ("250 1 @khala-attack", "EPERM"),
    "keyctl read": ("250 11 -4 0 0", "EPERM"),
    "io_uring_setup": ("425 8 0", "EPERM"),
    "io_uring_enter": ("426 0 0 0 0 0", "EPERM"),
    "io_uring_register": ("427 -1 0 0 0", "EPERM"),
    "bpf map": ("321 0 0 0", "EPERM"),
    "bpf program": ("321 5 0 0", "EPERM"),
    "perf_event_open": ("298 0 0 -1 -1 0", "EPERM"),
    "userfaultfd": ("323 1", "EPERM"),
    "fanotify_init": ("300 0 0", "EPERM"),
    "fanotify_mark": ("301 0 0 0 0 0", "EPERM"),
    "name_to_handle_at": ("303 -100 @/ 0 0 0", "EPERM"),
    "open_by_handle_at": ("304 0 0 0", "EPERM"),
    "memfd_secret": ("447 0", "EPERM"),
    "lookup_dcookie": ("212 0 0 0", "EPERM"),
    "mount a tmpfs": ("165 @none @/tmp @tmpfs 0 0", "EPERM"),
    "mount proc": ("165 @none @/tmp @proc 0 0", "EPERM"),
    "mount sysfs": ("165 @none @/tmp @sysfs 0 0", "EPERM"),
    "mount cgroups": ("165 @none @/tmp @cgroup 0 0", "EPERM"),
    "mount cgroups of version 2": ("165 @none @/tmp @cgroup2 0 0", "EPERM"),
    "mount the disk": ("165 @/dev/vda @/tmp @ext4 0 0", "EPERM"),
    "bind mount": ("165 @/usr @/tmp 0 4096 0", "EPERM"),
    "remount for writing": ("165 @none @/usr 0 4128 0", "EPERM"),
    "make the root shared": ("165 @none @/ 0 1064960 0", "EPERM"),
    "umount2": ("166 @/proc 2", "EPERM"),
    "fsopen": ("430 @tmpfs 0", "EPERM"),
    "fsconfig": ("431 -1 0 0 0 0", "EPERM"),
    "fsmount": ("432 -1 0 0", "EPERM"),
    "fspick": ("433 -100 @/ 0", "EPERM"),
    "open_tree": ("428 -100 @/ 1", "EPERM"),
    "move_mount": ("429 -1 @/ -100 @/tmp 0", "EPERM"),
    "mount_setattr": ("442 -100 @/ 0 0 0", "EPERM"),
    "statmount": ("457 0 0 0 0", "EPERM"),
    "listmount": ("458 0 0 0 0", "EPERM"),
    "pivot_root": ("155 @/ @/tmp", "EPERM"),
    "chroot": ("161 @/tmp", "EPERM"),
    "setns": ("308 0 0", "EPERM"),
    "unshare time": (f"272 {_NEWTIME}", "EPERM"),
    "unshare files": ("272 0x400", "EPERM"),
    "clone3": ("435 @xxxxxxxxxxxxxxxx 88", "ENOSYS"),
    "clone with a high bit": ("56 0x8000000010000011 0 0 0 0", "EPERM"),
    "init_module": ("175 0 0 @", "EPERM"),
    "finit_module": ("313 0 @ 0", "EPERM"),
    "delete_module": ("176 @loop 0", "EPERM"),
    "kexec_load": ("246 0 0 0 0", "EPERM"),
    "kexec_file_load": ("320 0 0 0 0 0", "EPERM"),
    "reboot": ("169 0xfee1dead 672274793 0x01234567 0", "EPERM"),
    "swapon": ("167 @/tmp/x 0", "EPERM"),
    "swapoff": ("168 @/dev/zram0", "EPERM"),
    "syslog": ("103 3 0 0", "EPERM"),
    "clear the kernel's log": ("103 5 0 0", "EPERM"),
    "acct": ("163 @/tmp/x", "EPERM"),
    "quotactl": ("179 0x800002 0 0 0", "EPERM"),
    "quotactl_fd": ("443 0 0x800002 0 0", "EPERM"),
    "sethostname": ("170 @khala-attack 12", "EPERM"),
    "setdomainname": ("171 @khala-attack 12", "EPERM"),
    "settimeofday": ("164 0 0", "EPERM"),
    "clock_settime": ("227 0 0", "EPERM"),
    "clock_adjtime": ("305 0 0", "EPERM"),
    "adjtimex": ("159 0", "EPERM"),
    "iopl": ("172 3", "EPERM"),
    "ioperm": ("173 0x70 1 1", "EPERM"),
    "modify_ldt": ("154 0 0 0", "EPERM"),
    "vhangup": ("153", "EPERM"),
    "ustat": ("136 0 0", "EPERM"),
    "sysfs": ("139 3", "EPERM"),
    "_sysctl": ("156 0", "EPERM"),
    "uselib": ("134 @/lib/x", "EPERM"),
    "nfsservctl": ("180 0 0 0", "EPERM"),
    "lsm_list_modules": ("461 0 0 0", "EPERM"),
    "inotify_init": ("253", "ENOSYS"),
    "inotify_init1": ("294 0", "ENOSYS"),
    "io_setup": ("206 1 @xxxxxxxx", "ENOSYS"),
    "io_submit": ("209 0 0 0", "ENOSYS"),
    "a call that does not exist": ("1000", "ENOSYS"),
    "a negative call": ("-1", "ENOSYS"),
    "socket vsock": ("41 40 1 0", "EAFNOSUPPORT"),
    "socket vsock datagram": ("41 40 2 0", "EAFNOSUPPORT"),
    "socket packet": ("41 17 3 768", "EAFNOSUPPORT"),
    "socket alg": ("41 38 5 0", "EAFNOSUPPORT"),
    "socket bluetooth": ("41 31 3 1", "EAFNOSUPPORT"),
    "socket tipc": ("41 30 5 0", "EAFNOSUPPORT"),
    "socket rds": ("41 21 5 0", "EAFNOSUPPORT"),
    "socket can": ("41 29 3 1", "EAFNOSUPPORT"),
    "socket xdp": ("41 44 3 0", "EAFNOSUPPORT"),
    "socket smc": ("41 43 1 0", "EAFNOSUPPORT"),
    "socket kcm": ("41 41 5 0", "EAFNOSUPPORT"),
    "socket qrtr": ("41 42 2 0", "EAFNOSUPPORT"),
    "socket vsock with high bits": ("41 0x100000028 1 0", "EAFNOSUPPORT"),
    "socketpair tipc": ("53 30 5 0 @xxxxxxxxxxxx", "EAFNOSUPPORT"),
    "socketpair vsock": ("53 40 1 0 @xxxxxxxxxxxx", "EAFNOSUPPORT"),
    "socket raw": ("41 2 3 1", "EPERM"),
    "socket raw of version 6": ("41 10 3 58", "EPERM"),
    "socket packet, the old way": ("41 2 10 0", "EPERM"),
    "socket sctp": ("41 2 1 132", "EPROTONOSUPPORT"),
    "socket dccp": ("41 2 6 33", "EPROTONOSUPPORT"),
    "socket mptcp": ("41 2 1 262", "EPROTONOSUPPORT"),
    "socket sctp with high bits": ("41 2 1 0x100000084", "EPROTONOSUPPORT"),
    "netlink netfilter": ("41 16 3 12", "EPROTONOSUPPORT"),
    "netlink audit": ("41 16 3 9", "EPROTONOSUPPORT"),
    "netlink uevents": ("41 16 3 15", "EPROTONOSUPPORT"),
    "netlink generic": ("41 16 3 16", "EPROTONOSUPPORT"),
    "netlink xfrm": ("41 16 3 6", "EPROTONOSUPPORT"),
    "netlink sock_diag": ("41 16 3 4", "EPROTONOSUPPORT"),
    "typing into a terminal": ("16 0 0x5412 @x", "EPERM"),
    "typing with high bits": ("16 0 0x100005412 @x", "EPERM"),
    "typing with all high bits": ("16 0 0xffffffff00005412 @x", "EPERM"),
    "TIOCLINUX": ("16 0 0x541c @x", "EPERM"),
    "TIOCLINUX with high bits": ("16 0 0x10000541c @x", "EPERM"),
    "personality: read implies exec": ("135 0x400000", "EPERM"),
    "personality: map page zero": ("135 0x100000", "EPERM"),
    "personality: compat layout": ("135 0x200000", "EPERM"),
    "personality with high bits": ("135 0x100000000", "EPERM"),
    "socket filter": ("54 3 1 26 0 0", "EPERM"),
    "socket filter with high bits": ("54 3 0x100000001 0x10000001a 0 0", "EPERM"),
    "socket filter for a group": ("54 3 1 51 0 0", "EPERM"),
    "core scheduling": ("157 62 1 0 0 0", "EPERM"),
    "core scheduling with high bits": ("157 0x10000003e 1 0 0 0", "EPERM"),
    "large pages": ("9 0 0x200000 3 0x40022 -1 0", "ENOMEM"),
    "large pages of a file": ("319 @x 4", "ENOMEM"),
    "large pages, shared": ("29 0 0x200000 0xb80", "ENOMEM"),
    "merging equal pages": ("28 0 4096 12", "EINVAL"),
    **{f"unshare {n}": (f"272 {flag}", "EPERM") for n, flag in _NEW_NAMESPACES.items()},
    **{f"clone {n}": (f"56 {flag | 17} 0 0 0 0", "EPERM") for n, flag in _NEW_NAMESPACES.items()},
    # These the kernel denies by itself: the jail has no capabilities and one user.
    "setuid": ("105 0", "EINVAL"),
    "setgid": ("106 0", "EINVAL"),
    "setresuid": ("117 0 0 0", "EINVAL"),
    "setgroups": ("116 0 0", "EPERM"),
    "mknod of memory": ("133 @m 0x21b6 0x101", "EPERM"),
    "mknod of a disk": ("133 @d 0x61b6 0xfe00", "EPERM"),
    "open a link's target by descriptor": ("265 0 @ -100 @l 0x1000", "ENOENT"),
    "a deadline for itself": ("314 0 0 0", "EINVAL"),
    "kill a process of the host": ("62 99999 9", "ESRCH"),
    "mlockall": ("151 3", "ENOMEM"),
    "prctl: keep capabilities": ("157 28 0x10 0 0 0", "EPERM"),
    "prctl: a file for /proc/self/exe": ("157 35 13 0 0 0", "EPERM"),
    "prctl: io flusher": ("157 57 1 0 0 0", "EPERM"),
    "prctl: drop the bounding set": ("157 24 0 0 0 0", "EPERM"),
    "prctl: tsc": ("157 26 3 0 0 0", "EINVAL"),
    "prctl: undo no_new_privs": ("157 38 0 0 0 0", "EINVAL"),
    "prctl: undo seccomp": ("157 22 0 0 0 0", "EINVAL"),
    "seccomp: unload": ("317 9 0 0", "EINVAL"),
    "raise the process limit": ("302 0 6 @\xff\xff\xff\xff\xff\xff\xff\x7f\xff 0", "EPERM"),
}


@pytest.mark.parametrize("name", _DENIED)
async def test_denied(runner: Runner, name: str) -> None:
    call, answer = _DENIED[name]
    await strike(runner, Attack(name=name, command=f"./probe call {call}", says=f"call: {answer}"))


@cache
def _policy() -> dict[str, list[str]]:
    """Names by what the policy does with them, without those it judges by argument."""
    text = files("sandbox").joinpath("profiles", "khala.kafel").read_text()
    text = re.sub(r"//.*", "", text)
    found: dict[str, list[str]] = {}
    for action, body in re.findall(r"(ERRNO\(\d+\)|ALLOW)\s*\{((?:[^{}]|\{[^{}]*\})*)\}", text):
        plain = re.sub(r"\w+\([^)]*\)\s*\{[^{}]*\}", "", body)
        found.setdefault(action, []).extend(re.findall(r"\w+", plain))
    return found


async def test_every_number_that_is_not_allowed(runner: Runner) -> None:
    """Up to a thousand, and again by the numbers of x32, which walk past a list of denials."""
    numbers = {name: number for number, name in enumerate(_LATER, 451)}
    numbers |= {
        name: int(number)
        for name, number in re.findall(r"#define __NR_(\w+) (\d+)", _NUMBERS.read_text())
    }
    policy = _policy()
    allowed = {numbers.get(_ALIASES.get(name, name)) for name in policy["ALLOW"]}
    denied = {numbers.get(_ALIASES.get(name, name)) for name in policy["ERRNO(1)"]}
    # These do nothing, or go by every filter of recent kernels, to their caller's harm alone.
    harmless = {numbers["sync"], numbers["syncfs"]} | _UPROBES
    expected = {
        number: "EPERM" if number in denied else "ENOSYS"
        for number in range(1000)
        if number not in allowed | harmless
    }
    expected |= {0x4000_0000 | number: "ENOSYS" for number in range(1000)}
    job = runner.job("chmod +x probe; ./probe numbers", stdin=" ".join(map(str, expected)).encode())
    async with runner.sandbox.box(0) as box:
        await box.put("probe", PROBE.path())
        ran = await runner.finish(box, job)
    assert ran.outcome.reason is Reason.OK
    seen = dict(line.split() for line in ran.text.splitlines())
    assert {number: seen.get(str(number)) for number in expected} == expected
