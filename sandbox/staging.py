"""The root file system that every jail sees, put together once and then read-only.

A jail needs a system to run programs of, and nothing else of the host. What is shown is named
here: programs and libraries (/usr), the few files of /etc that programs cannot do without, five
devices. What is not named does not exist inside: no /home, /root, /var, /run, /sys, no cgroups,
no terminal. One staged tree costs each jail a single bind mount; binding the parts one by one
took twice as long as the rest of the jail's set-up.
"""

from __future__ import annotations

import glob
import os
import shutil
import stat
from pathlib import Path

from khala.model.errors import Rejected
from sandbox import mounts

#: Used when the work root lies below a directory that the slots' users may not traverse: nsjail
#: opens what it mounts as the slot's user. Only an empty directory is ever left there.
FALLBACK_WORK_ROOT = "/run/khala"
#: Where things are inside the jail.
BOX = "/box"
SOURCE = "/box/source"

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC_BINDS = ("/etc/alternatives", "/etc/ssl/certs", "/etc/java-*")
_ETC_COPIES = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d/*", "localtime", "mime.types")
_DEVICES = ("null", "zero", "full", "random", "urandom")
_DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
_ETC_TEXTS = {
    "passwd": (
        "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n"
        "task:x:1000:1000:task:/tmp:/bin/bash\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    ),
    "group": "root:x:0:\ntask:x:1000:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost khala\n::1 localhost khala\n",
    "resolv.conf": "",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
_MOUNT_POINTS = ("proc", "tmp", "dev/shm", SOURCE.lstrip("/"))
#: Mounted without nosuid, which nsjail could not repeat; it sets that for each jail.
_ROOT_OPTIONS = "size=16m,nr_inodes=8192,mode=0755"


def choose_work_root(wanted: str, name: str) -> str:
    """Create and return the mount point: `<wanted>/<name>`, or below FALLBACK_WORK_ROOT."""
    chosen = wanted if _is_traversable(wanted) else FALLBACK_WORK_ROOT
    if not _is_traversable(chosen):
        raise Rejected(
            f"--work-root: neither {wanted} nor {FALLBACK_WORK_ROOT} can be reached by the"
            " slots' users; repair with: chmod o+x on every directory above one of them",
            field="--work-root",
        )
    path = os.path.join(chosen, name)
    try:
        os.makedirs(path, mode=0o711, exist_ok=True)
        for made in (chosen, path):
            os.chmod(made, os.stat(made).st_mode | 0o111)
    except OSError as error:
        raise Rejected(
            f"--work-root: cannot make {path} ({error.strerror}); name a writable place",
            field="--work-root",
        ) from error
    return path


def _is_traversable(path: str) -> bool:
    """Whether others may pass every existing directory on the way to (and not including) it."""
    parents = [parent for parent in Path(os.path.abspath(path)).parents if parent.exists()]
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in parents)


def stage_root(root: str, exposed: tuple[str, ...]) -> None:
    """Build the tree at the existing directory `root`. Raises Rejected for a bad exposed path."""
    mounts.mount("khala-root", root, "tmpfs", options=_ROOT_OPTIONS)
    for point in _MOUNT_POINTS:
        os.makedirs(f"{root}/{point}", mode=0o755)
    for path in _SYSTEM:
        if os.path.islink(path):
            os.symlink(os.readlink(path), root + path)
        elif os.path.isdir(path):
            _bind(root, path)
    _stage_etc(root)
    _stage_devices(root)
    for path in exposed:
        _expose(root, path)
    flags = mounts.REMOUNT | mounts.RDONLY
    mounts.mount("none", root, flags=flags, options=_ROOT_OPTIONS)


def _expose(root: str, path: str) -> None:
    wanted = os.path.normpath(path)
    if not os.path.isabs(path) or not os.path.isdir(path):
        raise Rejected(f"--expose: {path} is not the absolute path of a folder", field="--expose")
    own = ("/", "/tmp", "/proc", "/dev", BOX, *_SYSTEM)
    if wanted in own or wanted.startswith(tuple(f"{taken}/" for taken in own[1:])):
        raise Rejected(
            f"--expose: {path} is part of every jail or shadowed by it; copy or mount what is"
            " needed to a place such as /opt",
            field="--expose",
        )
    _bind(root, wanted)


def _stage_etc(root: str) -> None:
    for pattern in _ETC_BINDS:
        for path in glob.glob(pattern):
            if os.path.isdir(path):
                _bind(root, path)
    for pattern in _ETC_COPIES:
        for path in glob.glob(f"/etc/{pattern}"):
            if os.path.isfile(path):
                os.makedirs(os.path.dirname(root + path), exist_ok=True)
                shutil.copyfile(path, root + path)
    for name, text in _ETC_TEXTS.items():
        Path(f"{root}/etc/{name}").write_text(text)


def _stage_devices(root: str) -> None:
    for name in _DEVICES:
        target = f"{root}/dev/{name}"
        Path(target).touch()
        mounts.mount(f"/dev/{name}", target, flags=mounts.BIND)
        flags = mounts.REMOUNT | mounts.BIND | mounts.RDONLY | mounts.NOSUID | mounts.NOEXEC
        mounts.mount("none", target, flags=flags)
    for name, target in _DEVICE_LINKS.items():
        os.symlink(target, f"{root}/dev/{name}")


def _bind(root: str, path: str) -> None:
    os.makedirs(root + path, mode=0o755, exist_ok=True)
    mounts.bind_read_only(path, root + path)
